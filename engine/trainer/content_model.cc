#include "engine/trainer/content_model.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxSampledUsers = 2000;
constexpr size_t kMaxScores = 20'000'000;  // about a second
constexpr size_t kHeldOutPart = 5;         // one in so many items is taken for new

// The last fifth of the items by their first event, ties at random, into held_out; with them the part of the
// events from the first of theirs on that they had.
void HoldOutNewItems(const Dataset& data, uint64_t seed, ContentTargets* targets) {
  std::vector<int64_t> first(data.num_items(), std::numeric_limits<int64_t>::max());
  for (const TrainingEvent& e : data.events) first[e.item] = std::min(first[e.item], e.timestamp_ms);
  std::vector<uint32_t> order(data.num_items());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return first[a] < first[b]; });
  targets->held_out.assign(data.num_items(), false);
  const size_t begin = order.size() - order.size() / kHeldOutPart;
  if (begin == order.size()) return;
  for (size_t i = begin; i < order.size(); ++i) targets->held_out[order[i]] = true;
  double all = 0, of_held_out = 0;
  for (const TrainingEvent& e : data.events) {
    if (e.timestamp_ms < first[order[begin]]) continue;
    all += 1;
    of_held_out += targets->held_out[e.item] ? 1 : 0;
  }
  targets->held_out_share = all > 0 ? of_held_out / all : 0;
}

// Up to kMaxSampledUsers users; those who have some before others. Before their first event with an item that
// is held out they have no long-term vector, which was fitted to these events too.
absl::Status SampleUsers(const Dataset& data, const TrainedModel& model, uint64_t seed,
                         ContentTargets* targets) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> scratch_dir, MakeTemporaryDirectory());
  SnapshotContents contents = model.contents;
  contents.index = IndexMode::kNever;
  contents.manifest.version = 1;
  if (contents.manifest.embedding_space.empty()) contents.manifest.embedding_space = "sample";
  contents.manifest.num_users = 0;
  SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(scratch_dir->path(), contents));
  SWIFTLET_ASSIGN_OR_RETURN(
      const std::shared_ptr<const ModelSnapshot> snapshot,
      ModelSnapshot::Load(scratch_dir->path(), {.verify_checksums = false, .verify_contents = false}));
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(*snapshot, {});
  std::vector<uint32_t> not_held_out;
  for (uint32_t row = 0; row < data.num_items(); ++row) {
    if (!targets->held_out[row]) not_held_out.push_back(row);
  }
  std::vector<uint32_t> order(data.num_users());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed);
  std::shuffle(order.begin(), order.end(), random);
  const auto first_held_out = [&](size_t user) {
    const std::span<const TrainingEvent> events = data.EventsOf(user);
    return static_cast<size_t>(
        std::find_if(events.begin(), events.end(),
                     [&](const TrainingEvent& e) { return targets->held_out[e.item]; }) -
        events.begin());
  };
  std::stable_partition(order.begin(), order.end(), [&](uint32_t u) {
    const size_t first = first_held_out(u);
    return first > 0 && first < data.EventsOf(u).size();
  });
  if (order.size() > kMaxSampledUsers) order.resize(kMaxSampledUsers);
  const size_t num_scored = std::max<size_t>(1, kMaxScores / data.num_items());
  const auto dim = static_cast<Eigen::Index>(snapshot->dim());
  ContentUsers& users = targets->users;
  users.vectors.resize(static_cast<Eigen::Index>(order.size()), dim);
  users.final_vectors.resize(static_cast<Eigen::Index>(std::min(order.size(), num_scored)), dim);
  Eigen::Index count = 0;
  Scratch scratch;
  Recommendation scored;
  std::vector<HistoryEvent> history;
  std::vector<bool> seen(data.num_items());
  for (const uint32_t u : order) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    const std::span<const TrainingEvent> events = data.EventsOf(u);
    const size_t first = first_held_out(u);
    history.clear();
    for (const TrainingEvent& e : events.first(first)) {
      history.push_back({ItemKeyOf(data.item_ids[e.item]), e.timestamp_ms, e.value, e.type});
    }
    SWIFTLET_RETURN_IF_ERROR(ScoreItems(*snapshot, *view, {}, {.history = history}, {}, scratch, &scored));
    if (scratch.slots.empty()) continue;
    std::copy_n(scratch.user_vector.begin(), static_cast<size_t>(dim), users.vectors.row(count++).data());
    std::vector<uint32_t>& picks = users.picks.emplace_back();
    for (const TrainingEvent& e : events.subspan(first)) {
      const EventType* type = data.event_types.FindById(e.type);
      if (targets->held_out[e.item] && (type == nullptr || type->weight > 0)) picks.push_back(e.item);
    }
    std::sort(picks.begin(), picks.end());
    picks.erase(std::unique(picks.begin(), picks.end()), picks.end());
    if (users.best_scores.size() == num_scored) continue;
    for (const TrainingEvent& e : events.subspan(first)) {
      history.push_back({ItemKeyOf(data.item_ids[e.item]), e.timestamp_ms, e.value, e.type});
    }
    UserState now{.history = history};
    if (u < model.long_term.rows()) {
      now.long_term = {model.long_term.row(u).data(), static_cast<size_t>(dim)};
    }
    SWIFTLET_RETURN_IF_ERROR(ScoreItems(*snapshot, *view, {}, now, not_held_out, scratch, &scored));
    std::copy_n(scratch.user_vector.begin(), static_cast<size_t>(dim),
                users.final_vectors.row(static_cast<Eigen::Index>(users.best_scores.size())).data());
    for (const TrainingEvent& e : events) seen[e.item] = true;
    std::vector<float> scores;
    for (const RecommendedItem& item : scored.items) {
      if (!seen[item.row]) scores.push_back(item.score);
    }
    for (const TrainingEvent& e : events) seen[e.item] = false;
    const size_t k = std::min(kContentShown, scores.size());
    std::partial_sort(scores.begin(), scores.begin() + static_cast<ptrdiff_t>(k), scores.end(),
                      std::greater<>());
    scores.resize(k);
    users.best_scores.push_back(std::move(scores));
  }
  users.vectors.conservativeResize(count, Eigen::NoChange);
  users.final_vectors.conservativeResize(static_cast<Eigen::Index>(users.best_scores.size()),
                                         Eigen::NoChange);
  return absl::OkStatus();
}

void AppendZeros(size_t per_item, std::vector<float>* values) {
  if (!values->empty()) values->resize(values->size() + per_item, 0.0f);
}

void AppendItem(const ItemDescription& item, const ContentPlace& place, SnapshotContents* c) {
  const size_t n = c->item_ids.size();
  c->item_ids.push_back(item.item_id);
  c->item_vectors.insert(c->item_vectors.end(), place.vector.begin(), place.vector.end());
  c->item_input_vectors.insert(c->item_input_vectors.end(), place.input_vector.begin(),
                               place.input_vector.end());
  if (!c->item_bias.empty()) c->item_bias.push_back(place.bias);
  if (!c->item_attention_logits.empty()) c->item_attention_logits.push_back(place.attention_logit);
  c->item_popularity.push_back(0);
  c->item_titles.resize(n);
  c->item_titles.push_back(item.title);
  c->item_categories.resize(n);
  c->item_categories.push_back(item.categories);
  if (c->neighbours.has_value()) c->neighbours->offsets.push_back(c->neighbours->offsets.back());
  if (c->rating.has_value()) {
    const size_t width = c->rating->parameters.dim + size_t{1};
    AppendZeros(width, &c->rating->items);
    AppendZeros(width, &c->rating->item_variances);
    AppendZeros(width, &c->rating->implicit);
    c->rating->counts.push_back(0);
  }
}

}  // namespace

ItemContent ContentOf(const ItemDescription& item) {
  return {.title = item.title, .categories = item.categories, .attributes = item.attributes};
}

ItemContent ContentOf(const Dataset& data, size_t item) {
  ItemContent content;
  if (!data.item_titles.empty()) content.title = data.item_titles[item];
  if (!data.item_categories.empty()) content.categories = data.item_categories[item];
  if (!data.item_attributes.empty()) content.attributes = data.item_attributes[item];
  return content;
}

absl::Status AddContent(const Dataset& data, std::span<const ExternalVectors> externals,
                        const ContentOptions& options, ThreadPool* pool, Progress* progress,
                        TrainedModel* model) {
  if (!options.enabled) return absl::OkStatus();
  if (data.item_titles.empty() && data.item_categories.empty() && data.item_attributes.empty() &&
      externals.empty()) {
    return absl::OkStatus();
  }
  SnapshotContents& contents = model->contents;
  if (contents.encoders.size() == 1 && contents.encoders[0].encoder.kind == kNoVectorKind) {
    progress->Say("no content tower: this kind of model has no item vectors");
    return absl::OkStatus();
  }
  if (contents.item_ids != data.item_ids) {
    return absl::InternalError("content: the model's items are not those of the data set");
  }
  const absl::Time begin = absl::Now();
  std::vector<ItemContent> content;
  for (size_t i = 0; i < data.num_items(); ++i) content.push_back(ContentOf(data, i));
  ContentTargets targets{.dim = contents.dim,
                         .item_ids = data.item_ids,
                         .vectors = contents.item_vectors,
                         .input_vectors = contents.item_input_vectors,
                         .bias = contents.item_bias,
                         .attention_logits = contents.item_attention_logits,
                         .popularity = contents.item_popularity};
  HoldOutNewItems(data, options.fit.seed, &targets);
  SWIFTLET_RETURN_IF_ERROR(SampleUsers(data, *model, options.fit.seed, &targets));
  absl::StatusOr<FittedContent> fitted = FitContent(targets, content, externals, options.fit, pool);
  if (absl::IsFailedPrecondition(fitted.status())) {
    progress->Say(absl::StrCat("no content tower: ", std::string(fitted.status().message())));
    return absl::OkStatus();
  }
  SWIFTLET_RETURN_IF_ERROR(fitted.status());
  size_t placed = 0;
  {
    const ContentTower tower = fitted->tower.View(contents.dim);
    ContentScratch scratch;
    ContentPlace place;
    std::vector<ExternalVector> vectors;
    for (const ItemDescription& item : data.unseen_items) {
      vectors.clear();
      for (const ExternalVectors& x : externals) {
        if (const auto it = x.rows.find(item.item_id); it != x.rows.end()) {
          const auto row = x.vectors.row(static_cast<Eigen::Index>(it->second));
          vectors.push_back({x.name, {row.data(), static_cast<size_t>(row.size())}});
        }
      }
      if (!tower.Place(ContentOf(item), vectors, scratch, &place)) continue;
      AppendItem(item, place, &contents);
      ++placed;
    }
  }
  if (!contents.item_titles.empty()) contents.item_titles.resize(contents.item_ids.size());
  if (!contents.item_categories.empty()) contents.item_categories.resize(contents.item_ids.size());
  std::map<std::string, std::string>& p = contents.manifest.training_parameters;
  p["content.features"] = absl::StrCat(fitted->tower.buckets.size());
  p["content.score_r2"] = absl::StrCat(fitted->score_r2);
  p["content.bias_r2"] = absl::StrCat(fitted->bias_r2);
  p["content.bias_shift"] = absl::StrCat(fitted->bias_shift);
  p["content.scales"] =
      absl::StrCat(fitted->scales.bias, " ", fitted->scales.shared, " ", fitted->scales.personal);
  if (!fitted->choices.empty()) p["content.choices"] = fitted->choices;
  progress->Say(absl::StrFormat(
      "content: %s features of %s items explain %.1f %% of the scores and %.1f %% of the biases of items "
      "held out; %s of %s items without events placed (%.1f s)",
      WithCommas(fitted->tower.buckets.size()), WithCommas(fitted->num_items), 100 * fitted->score_r2,
      100 * fitted->bias_r2, WithCommas(placed), WithCommas(data.unseen_items.size()),
      absl::ToDoubleSeconds(absl::Now() - begin)));
  if (fitted->num_picks > 0) {
    progress->Say(absl::StrFormat(
        "content: chosen on %s picks of items that were new then, %.3f nats each better than chance: biases "
        "by "
        "%.2f, vectors by %.2f where users agree and %.2f where they differ; biases shifted by %.2f, which "
        "gives such items %.1f instead of %.1f %% of what is shown",
        WithCommas(fitted->num_picks), fitted->log_likelihood, fitted->scales.bias, fitted->scales.shared,
        fitted->scales.personal, fitted->bias_shift, 100 * fitted->share, 100 * fitted->share_before));
  }
  contents.content = std::move(fitted->tower);
  return absl::OkStatus();
}

}  // namespace swiftlet

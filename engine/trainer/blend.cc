#include "engine/trainer/blend.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/encoders/attention.h"
#include "engine/recommender.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/metrics.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxUsers = 5000;     // that weights are chosen by
constexpr uint32_t kCandidates = 200;  // of each part for a user

// options.chosen of part k, and back.
std::string Prefix(size_t k) { return absl::StrCat("part", k, "."); }

TrainingOptions OptionsOfPart(const TrainingOptions& options, size_t k) {
  TrainingOptions part = options;
  part.kind = options.blend[k];
  part.chosen.clear();
  const std::string prefix = Prefix(k);
  for (const auto& [name, value] : options.chosen) {
    if (name.starts_with(prefix)) part.chosen[name.substr(prefix.size())] = value;
  }
  if (const auto it = options.chosen.find(prefix + "epochs"); it != options.chosen.end()) {
    part.epochs = static_cast<uint32_t>(it->second);
    part.chosen.erase("epochs");
  }
  if (!part.checkpoint_dir.empty()) absl::StrAppend(&part.checkpoint_dir, "/part", k);
  return part;
}

bool IsNeighboursOnly(const SnapshotContents& c) {
  return c.encoders.size() == 1 && c.encoders[0].encoder.kind == kNoVectorKind && c.neighbours.has_value();
}

// A snapshot in a directory of its own.
struct Written {
  std::unique_ptr<ScopedDirectory> directory;
  std::shared_ptr<const ModelSnapshot> snapshot;
  std::shared_ptr<const CatalogView> view;
  UserVectors users;
};
absl::StatusOr<Written> Write(TrainedModel model, const Dataset& data) {
  Written written;
  model.contents.index = IndexMode::kNever;
  SWIFTLET_ASSIGN_OR_RETURN(written.directory, MakeTemporaryDirectory());
  SWIFTLET_RETURN_IF_ERROR(WriteTrainedModel(written.directory->path(), std::move(model), data, 1, 0));
  SWIFTLET_ASSIGN_OR_RETURN(written.snapshot, ModelSnapshot::Load(written.directory->path(), {}));
  SWIFTLET_ASSIGN_OR_RETURN(written.users, LoadUserVectors(*written.snapshot));
  written.view = CatalogView::Build(*written.snapshot, {});
  return written;
}

absl::StatusOr<std::vector<BlendUser>> Score(std::span<const Written> parts, std::span<const TestUser> users,
                                             ThreadPool* pool) {
  const size_t count = std::min(kMaxUsers, users.size());
  std::vector<BlendUser> result(count);
  std::vector<absl::Status> statuses(count);
  ForPieces(pool, count, 16, [&](size_t begin, size_t end, size_t) {
    Scratch scratch;
    Recommendation answer;
    for (size_t n = begin; n < end; ++n) {
      if (statuses[n] = CheckInterrupted(); !statuses[n].ok()) return;
      const TestUser& user = users[n * users.size() / count];
      const auto state_for = [&](const Written& part) {
        UserState state{.history = user.history};
        if (const auto it = part.users.find(user.user_id); it != part.users.end())
          state.long_term = it->second;
        return state;
      };
      std::set<uint32_t> candidates;
      for (const Written& part : parts) {
        statuses[n] =
            Recommend(*part.snapshot, *part.view, {.k = kCandidates}, state_for(part), scratch, &answer);
        if (!statuses[n].ok()) return;
        for (const RecommendedItem& item : answer.items) candidates.insert(item.row);
      }
      const std::vector<uint32_t> rows(candidates.begin(), candidates.end());
      for (const Written& part : parts) {
        statuses[n] = ScoreItems(*part.snapshot, *part.view, {}, state_for(part), rows, scratch, &answer);
        if (!statuses[n].ok()) return;
        std::vector<float>& scores = result[n].scores.emplace_back();
        // The popular items of a part that knows nothing of the user are not its opinion.
        const bool counts = answer.source != ItemSource::kPopular;
        for (const RecommendedItem& item : answer.items) scores.push_back(counts ? item.score : 0.0f);
      }
      for (const uint32_t row : rows) {
        const ItemKey key = parts[0].snapshot->Key(row);
        result[n].is_target.push_back(std::find(user.targets.begin(), user.targets.end(), key) !=
                                      user.targets.end());
      }
      result[n].num_targets = user.targets.size();
    }
  });
  for (const absl::Status& status : statuses) SWIFTLET_RETURN_IF_ERROR(status);
  return result;
}

// The classic attention's parameters as an encoder.
void UseEncoders(SnapshotContents* c) {
  if (!c->encoders.empty()) return;
  // What an attention over more events than it was trained with would say, nobody has measured.
  EncoderContents encoder{
      .encoder = {.kind = kAttentionModelKind,
                  .dim = c->dim,
                  .weight = 1,
                  .parameters = {{"max_events", static_cast<double>(c->manifest.max_events)}}},
      .tensors = {}};
  const auto add = [&](const char* name, std::vector<float> values) {
    EncoderTensor tensor{.shape = {values.size()}, .values = std::move(values)};
    encoder.tensors.emplace(name, std::move(tensor));
  };
  add("class_logits", std::move(c->class_logits));
  add("position_logits", std::move(c->position_logits));
  add("recency_logits", std::move(c->recency_logits));
  add("slot_logits", {c->long_term_logit, c->context_logit});
  c->class_logits.clear();
  c->position_logits.clear();
  c->recency_logits.clear();
  c->long_term_logit = c->context_logit = 0;
  c->encoders.push_back(std::move(encoder));
}

// Columns [offset, offset + rows of `from`) of `to`.
void PutColumns(const std::vector<float>& from, size_t from_dim, size_t offset, size_t to_dim,
                std::vector<float>* to) {
  for (size_t r = 0; r * from_dim < from.size(); ++r) {
    std::copy_n(from.begin() + static_cast<ptrdiff_t>(r * from_dim), from_dim,
                to->begin() + static_cast<ptrdiff_t>(r * to_dim + offset));
  }
}

}  // namespace

double BlendNdcg(std::span<const BlendUser> users, std::span<const double> weights, uint32_t k) {
  double total = 0;
  std::vector<double> sums;
  for (const BlendUser& user : users) {
    sums.assign(user.is_target.size(), 0.0);
    for (size_t p = 0; p < weights.size(); ++p) {
      for (size_t i = 0; i < sums.size(); ++i) sums[i] += weights[p] * double{user.scores[p][i]};
    }
    double gain = 0;
    for (size_t i = 0; i < sums.size(); ++i) {
      if (!user.is_target[i]) continue;
      uint32_t rank = 0;
      for (size_t j = 0; j < sums.size() && rank < k; ++j)
        rank += sums[j] > sums[i] || (sums[j] == sums[i] && j < i);
      if (rank < k) gain += RankGain(rank);
    }
    if (user.num_targets > 0) total += gain / IdealDcg(user.num_targets, k);
  }
  return users.empty() ? 0 : total / static_cast<double>(users.size());
}

std::vector<double> ChooseWeights(std::span<const BlendUser> users, size_t num_parts, double* ndcg) {
  // By the mean over users of the standard deviation among candidates, a score of one part is worth
  // another's.
  std::vector<double> scale(num_parts, 1.0);
  for (size_t p = 0; p < num_parts; ++p) {
    double sum = 0;
    for (const BlendUser& user : users) {
      double mean = 0, squares = 0;
      const auto n = std::max<double>(1, static_cast<double>(user.scores[p].size()));
      for (const float s : user.scores[p]) mean += double{s} / n;
      for (const float s : user.scores[p]) squares += (s - mean) * (s - mean) / n;
      sum += std::sqrt(squares);
    }
    if (sum > 0) scale[p] = static_cast<double>(users.size()) / sum;
  }
  std::vector<double> weights(num_parts, 1.0), product(num_parts);
  const auto measure = [&] {
    for (size_t p = 0; p < num_parts; ++p) product[p] = weights[p] * scale[p];
    return BlendNdcg(users, product, 10);
  };
  double best = measure();
  constexpr double kGrid[] = {0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1, 1.35, 1.8, 2.5, 3.5, 5, 7, 10};
  for (int round = 0; round < 3; ++round) {
    bool changed = false;
    for (size_t p = 0; p < num_parts; ++p) {
      double kept = weights[p];
      for (const double w : kGrid) {
        weights[p] = w;
        if (std::all_of(weights.begin(), weights.end(), [](double x) { return x == 0; })) continue;
        const double found = measure();
        if (found <= best) continue;
        best = found;
        kept = w;
        changed = true;
      }
      weights[p] = kept;
    }
    if (!changed) break;
  }
  measure();
  double first = 1;
  for (const double w : product) {
    if (w != 0) {
      first = w;
      break;
    }
  }
  for (double& w : product) w /= first;
  *ndcg = best;
  return product;
}

absl::StatusOr<TrainedModel> Combine(std::vector<TrainedModel> parts, std::span<const double> weights) {
  TrainedModel result;
  SnapshotContents& all = result.contents;
  // Ids and metadata are the same in all parts.
  all = parts[0].contents;
  const size_t n = all.item_ids.size();
  all.encoders.clear();
  all.neighbours.reset();
  all.item_vectors.clear();
  all.item_input_vectors.clear();
  all.item_bias.clear();
  all.item_attention_logits.clear();
  all.input_map.clear();
  all.sample_user_vectors.clear();
  all.class_logits.clear();
  all.position_logits.clear();
  all.recency_logits.clear();
  all.long_term_logit = all.context_logit = 0;
  all.manifest.model_kind.clear();
  uint32_t dim = 0, num_neighbours = 0;
  bool has_inputs = false, has_users = false;
  for (TrainedModel& part : parts) {
    SnapshotContents& c = part.contents;
    if (c.item_ids != all.item_ids)
      return absl::InvalidArgumentError("the parts of a blend have different items");
    if (c.manifest.event_classes != all.manifest.event_classes) {
      return absl::InvalidArgumentError("the parts of a blend have different classes of events");
    }
    if (c.neighbours.has_value()) ++num_neighbours;
    all.manifest.max_events = std::max(all.manifest.max_events, c.manifest.max_events);
    UseEncoders(&c);
    if (IsNeighboursOnly(c)) continue;
    dim += c.dim;
    has_inputs = has_inputs || !c.item_input_vectors.empty() || !c.input_map.empty();
    has_users = has_users || part.long_term.rows() > 0;
  }
  if (num_neighbours > 1) {
    return absl::InvalidArgumentError("at most one part of a blend can score by neighbours");
  }
  all.dim = std::max(dim, 1u);
  all.item_vectors.assign(n * all.dim, 0.0f);
  if (has_inputs) {
    all.item_input_vectors.assign(n * all.dim, 0.0f);
    all.input_map.assign(size_t{all.dim} * all.dim, 0.0f);
  }
  Eigen::Index num_users = 0;
  for (const TrainedModel& part : parts) num_users = std::max(num_users, part.long_term.rows());
  if (has_users) result.long_term = MatrixF::Zero(num_users, all.dim);
  uint32_t offset = 0;
  for (size_t k = 0; k < parts.size(); ++k) {
    SnapshotContents& c = parts[k].contents;
    const auto weight = static_cast<float>(weights[k]);
    for (const auto& [name, value] : c.manifest.training_parameters)
      all.manifest.training_parameters[name] = value;
    if (c.neighbours.has_value()) {
      all.neighbours = std::move(c.neighbours);
      all.neighbours->neighbours.scale *= weight;
      if (IsNeighboursOnly(c) || c.encoders[0].encoder.kind == kNoVectorKind) continue;
    }
    PutColumns(c.item_vectors, c.dim, offset, all.dim, &all.item_vectors);
    if (has_inputs) {
      PutColumns(c.item_input_vectors.empty() ? c.item_vectors : c.item_input_vectors, c.dim, offset, all.dim,
                 &all.item_input_vectors);
      for (size_t i = 0; i < c.dim; ++i) {
        for (size_t j = 0; j < c.dim; ++j) {
          all.input_map[(offset + i) * all.dim + offset + j] =
              c.input_map.empty() ? static_cast<float>(i == j) : c.input_map[i * c.dim + j];
        }
      }
    }
    if (!c.item_bias.empty()) {
      all.item_bias.resize(n);
      for (size_t i = 0; i < n; ++i) all.item_bias[i] += weight * c.item_bias[i];
    }
    if (!c.item_attention_logits.empty()) all.item_attention_logits = std::move(c.item_attention_logits);
    if (parts[k].long_term.rows() > 0) result.long_term.middleCols(offset, c.dim) = parts[k].long_term;
    for (EncoderContents& encoder : c.encoders) {
      encoder.encoder.weight *= weight;
      all.encoders.push_back(std::move(encoder));
    }
    offset += c.dim;
  }
  if (all.encoders.empty())
    all.encoders.push_back(
        {.encoder = {.kind = kNoVectorKind, .dim = 1, .weight = 1, .parameters = {}}, .tensors = {}});
  return result;
}

absl::StatusOr<TrainedModel> TrainBlend(const TrainingData& training, const TrainingOptions& options,
                                        ThreadPool* pool, Progress* progress) {
  const size_t num_parts = options.blend.size();
  if (num_parts < 2) return absl::InvalidArgumentError("--blend: expected two kinds of models or more");
  for (const std::string& kind : options.blend) {
    if (kind == "blend") return absl::InvalidArgumentError("--blend: a blend cannot be part of a blend");
  }
  TrainedModel result;
  std::map<std::string, double> chosen = options.chosen;
  std::vector<double> seconds(num_parts);  // of the parts' last fits
  const auto train_parts = [&](const TrainingData& data) -> absl::StatusOr<std::vector<TrainedModel>> {
    std::vector<TrainedModel> parts;
    TrainingOptions with = options;
    with.chosen = chosen;
    for (size_t k = 0; k < num_parts; ++k) {
      progress->Say(absl::StrCat("blend: training ", options.blend[k]));
      const absl::Time begin = absl::Now();
      SWIFTLET_ASSIGN_OR_RETURN(TrainedModel part, TrainModel(data, OptionsOfPart(with, k), pool, progress));
      seconds[k] = absl::ToDoubleSeconds(absl::Now() - begin);
      for (const auto& [name, value] : part.chosen) chosen[Prefix(k) + name] = value;
      if (part.epochs > 0) chosen[Prefix(k) + "epochs"] = part.epochs;
      parts.push_back(std::move(part));
    }
    return parts;
  };
  std::vector<TrainedModel> parts;
  // Fitted to what the validation users' targets are no part of.
  Split carved;
  TrainingData choosing = training;
  if (!chosen.contains("weight0") && training.validation.empty()) {
    absl::StatusOr<Split> made = CarveValidation(*training.data, 0.1, options.seed);
    if (made.ok()) {
      carved = *std::move(made);
      choosing = {.data = &carved.train, .validation = carved.validation};
    } else if (absl::IsFailedPrecondition(made.status())) {
      progress->Say(absl::StrCat("blend: no weights can be chosen (", std::string(made.status().message()),
                                 "): ", options.blend[0], " counts alone"));
      for (size_t k = 0; k < num_parts; ++k) chosen[absl::StrCat("weight", k)] = k == 0 ? 1 : 0;
    } else {
      return made.status();
    }
  }
  if (!chosen.contains("weight0")) {
    SWIFTLET_ASSIGN_OR_RETURN(parts, train_parts(choosing));
    std::vector<Written> written;
    for (const TrainedModel& part : parts) {
      SWIFTLET_ASSIGN_OR_RETURN(Written one, Write(part, *choosing.data));
      written.push_back(std::move(one));
    }
    SWIFTLET_ASSIGN_OR_RETURN(const std::vector<BlendUser> users, Score(written, choosing.validation, pool));
    std::vector<double> weights(num_parts, 0.0);
    for (size_t k = 0; k < num_parts; ++k) {
      std::fill(weights.begin(), weights.end(), 0.0);
      weights[k] = 1;
      progress->Say(absl::StrFormat("blend: %s alone: validation NDCG@10 %.4f", options.blend[k],
                                    BlendNdcg(users, weights, 10)));
    }
    weights = ChooseWeights(users, num_parts, &result.validation_ndcg);
    std::string text;
    for (size_t k = 0; k < num_parts; ++k) {
      chosen[absl::StrCat("weight", k)] = weights[k];
      absl::StrAppendFormat(&text, " %s %.3g", options.blend[k], weights[k]);
    }
    progress->Say(
        absl::StrFormat("blend: validation NDCG@10 %.4f with weights%s", result.validation_ndcg, text));
    // Trained on everything, unless a part of it was set aside here.
    if (choosing.data != training.data) parts.clear();
  }
  if (parts.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(parts, train_parts(training));
  }
  std::vector<double> weights;
  for (size_t k = 0; k < num_parts; ++k) weights.push_back(chosen.at(absl::StrCat("weight", k)));
  const double ndcg = result.validation_ndcg;
  std::vector<TrainedModel::Part> kept;
  for (size_t k = 0; k < num_parts && options.keep_parts; ++k)
    kept.push_back({options.blend[k], parts[k], seconds[k]});
  SWIFTLET_ASSIGN_OR_RETURN(result, Combine(std::move(parts), weights));
  result.validation_ndcg = ndcg;
  result.parts = std::move(kept);
  for (size_t k = 0; k < num_parts; ++k) {
    result.contents.manifest.training_parameters[absl::StrCat("blend.", options.blend[k])] =
        absl::StrCat(weights[k]);
  }
  result.chosen = std::move(chosen);
  return result;
}

}  // namespace swiftlet

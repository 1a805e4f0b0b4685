#include "engine/trainer/evaluate_cold.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/interrupt.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

std::shared_ptr<const CatalogView> UpsertUnseen(const ModelSnapshot& snapshot, const ColdSplit& split,
                                                std::span<const ExternalVectors> externals) {
  std::vector<CatalogItem> items;
  for (const ItemDescription& item : split.train.unseen_items) {
    items.push_back({.item_id = item.item_id,
                     .has_metadata = true,
                     .title = item.title,
                     .categories = item.categories,
                     .attributes = item.attributes});
    for (const ExternalVectors& x : externals) {
      const auto it = x.rows.find(item.item_id);
      if (it == x.rows.end()) continue;
      const auto row = x.vectors.row(static_cast<Eigen::Index>(it->second));
      items.back().content_vectors.emplace_back(x.name,
                                                std::vector<float>(row.data(), row.data() + row.size()));
    }
  }
  return CatalogView::Build(snapshot, items);
}

// How many of the best k of `scores` (rows of the view) are targets, and how many are new items. Rows whose
// score is -infinity are never among them.
struct Hits {
  size_t targets = 0, unseen = 0;
};
Hits CountHits(std::vector<ScoredRow>& scores, uint32_t k, std::span<const uint32_t> targets,
               uint32_t first_unseen) {
  std::erase_if(scores,
                [](const ScoredRow& s) { return s.score == -std::numeric_limits<float>::infinity(); });
  const size_t count = SelectTopK(scores.data(), scores.size(), k);
  Hits hits;
  for (size_t i = 0; i < count; ++i) {
    hits.targets += std::binary_search(targets.begin(), targets.end(), scores[i].row) ? 1 : 0;
    hits.unseen += scores[i].row >= first_unseen ? 1 : 0;
  }
  return hits;
}

}  // namespace

absl::StatusOr<ColdSplit> MakeColdSplit(const Dataset& data, const ColdSplitOptions& options) {
  if (!(options.train_fraction > 0 && options.train_fraction <= options.test_begin &&
        options.test_begin < options.test_end && options.test_end <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("split: expected 0 < train fraction <= test begin < test end <= 1, found ",
                     options.train_fraction, ", ", options.test_begin, ", ", options.test_end));
  }
  std::vector<int64_t> times;
  for (const TrainingEvent& e : data.events) times.push_back(e.timestamp_ms);
  std::sort(times.begin(), times.end());
  const auto time_at = [&](double part) {
    const auto at = static_cast<size_t>(part * static_cast<double>(times.size()));
    return at < times.size() ? times[at] : std::numeric_limits<int64_t>::max();
  };
  const int64_t train_end = time_at(options.train_fraction), begin = time_at(options.test_begin),
                end = time_at(options.test_end);
  std::vector<bool> keep, trained(data.num_items());
  for (const TrainingEvent& e : data.events) {
    keep.push_back(e.timestamp_ms < train_end);
    if (keep.back()) trained[e.item] = true;
  }
  if (std::find(keep.begin(), keep.end(), true) == keep.end()) {
    return absl::FailedPreconditionError("the split leaves no event to train on");
  }
  ColdSplit split;
  split.train = Subset(data, keep);
  for (size_t u = 0; u < data.num_users(); ++u) {
    TestUser user{.user_id = data.user_ids[u], .history = {}, .targets = {}};
    std::vector<uint32_t> known;
    for (const TrainingEvent& e : data.EventsOf(u)) {
      const ItemKey key = ItemKeyOf(data.item_ids[e.item]);
      if (e.timestamp_ms < begin) user.history.push_back({key, e.timestamp_ms, e.value, e.type});
      const EventType* type = data.event_types.FindById(e.type);
      const bool is_target = e.timestamp_ms >= begin && e.timestamp_ms < end &&
                             (type == nullptr || type->weight > 0) &&
                             std::find(known.begin(), known.end(), e.item) == known.end();
      if (is_target) {
        user.targets.push_back(key);
        ++split.num_test_events;
        split.num_unseen_events += trained[e.item] ? 0 : 1;
      }
      if (e.timestamp_ms < end) known.push_back(e.item);
    }
    if (!user.targets.empty()) split.test.push_back(std::move(user));
  }
  if (split.num_unseen_events == 0) {
    return absl::FailedPreconditionError(absl::StrCat("none of the ", split.num_test_events,
                                                      " test events has an item without training events"));
  }
  return split;
}

absl::StatusOr<ColdResult> EvaluateCold(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                                        const ColdSplit& split, ColdRanker ranker,
                                        const ColdOptions& options) {
  const std::shared_ptr<const CatalogView> view = UpsertUnseen(snapshot, split, options.externals);
  const uint32_t num_trained = snapshot.num_items(), num_rows = view->num_rows();
  std::mt19937_64 random(options.seed);
  std::vector<uint32_t> rows;
  std::vector<float> constant;
  for (uint32_t row = 0; row < num_rows; ++row) {
    if (view->IsMasked(row)) continue;
    rows.push_back(row);
    const float noise = std::uniform_real_distribution<float>(0, 0.5f)(random);
    constant.push_back(ranker == ColdRanker::kBias         ? view->Bias(row)
                       : ranker == ColdRanker::kPopularity ? view->Popularity(row) + noise
                                                           : noise);
  }
  ColdResult result;
  Scratch scratch;
  Recommendation scored;
  std::vector<ScoredRow> all, unseen;
  for (const TestUser& user : split.test) {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    std::vector<uint32_t> targets, unseen_targets;
    size_t num_unseen = 0;
    for (const ItemKey key : user.targets) {
      const std::optional<uint32_t> row = view->FindRow(key);
      if (!snapshot.FindRow(key).has_value()) ++num_unseen;
      if (!row.has_value()) continue;
      targets.push_back(*row);
      if (*row >= num_trained) unseen_targets.push_back(*row);
    }
    UserState state{.history = user.history};
    if (const auto it = user_vectors.find(user.user_id); it != user_vectors.end())
      state.long_term = it->second;
    SWIFTLET_RETURN_IF_ERROR(ScoreItems(snapshot, *view, {}, state, rows, scratch, &scored));
    if (scored.source == ItemSource::kPopular) {
      result.num_without_history += num_unseen > 0 ? 1 : 0;
      continue;
    }
    std::sort(targets.begin(), targets.end());
    std::sort(unseen_targets.begin(), unseen_targets.end());
    std::vector<uint32_t> seen;
    for (const HistoryEvent& e : user.history) {
      if (const std::optional<uint32_t> row = view->FindRow(e.item_key); row.has_value())
        seen.push_back(*row);
    }
    std::sort(seen.begin(), seen.end());
    all.clear();
    unseen.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      if (std::binary_search(seen.begin(), seen.end(), rows[i])) continue;
      const float score = ranker == ColdRanker::kModel ? scored.items[i].score : constant[i];
      all.push_back({rows[i], score});
      if (rows[i] >= num_trained) unseen.push_back({rows[i], score});
    }
    ++result.num_users;
    const Hits among_all = CountHits(all, options.k, targets, num_trained);
    result.recall_of_all += static_cast<double>(among_all.targets) / static_cast<double>(user.targets.size());
    result.unseen_share += static_cast<double>(among_all.unseen) / options.k;
    if (num_unseen == 0) continue;
    ++result.num_cold_users;
    const auto n = static_cast<double>(num_unseen);
    result.recall_among_all +=
        static_cast<double>(CountHits(all, options.k, unseen_targets, num_trained).targets) / n;
    result.recall_among_unseen +=
        static_cast<double>(CountHits(unseen, options.k, unseen_targets, num_trained).targets) / n;
  }
  const auto mean = [](double& sum, uint64_t count) {
    sum = count > 0 ? sum / static_cast<double>(count) : 0;
  };
  mean(result.recall_of_all, result.num_users);
  mean(result.unseen_share, result.num_users);
  mean(result.recall_among_all, result.num_cold_users);
  mean(result.recall_among_unseen, result.num_cold_users);
  return result;
}

std::string FormatColdResults(std::span<const NamedColdResult> results, uint32_t k) {
  std::string table;
  if (!results.empty()) {
    const ColdResult& first = results[0].result;
    absl::StrAppend(&table, "Recall@", k, " of items without training events: ", first.num_cold_users,
                    " users with a history and such a target (", first.num_without_history,
                    " more have no history), and of all targets: ", first.num_users, " users\n");
  }
  absl::StrAppend(&table, absl::StrFormat("%-24s %13s %13s %13s %13s\n", "ranker", "among unseen",
                                          "among all", "all targets", "share unseen"));
  for (const auto& [name, r] : results) {
    absl::StrAppend(&table,
                    absl::StrFormat("%-24s %13.4f %13.4f %13.4f %13.4f\n", name, r.recall_among_unseen,
                                    r.recall_among_all, r.recall_of_all, r.unseen_share));
  }
  return table;
}

std::string ColdResultsToJson(std::span<const NamedColdResult> results, uint32_t k) {
  nlohmann::ordered_json json{{"k", k}};
  for (const auto& [name, r] : results) {
    json["results"].push_back({{"ranker", name},
                               {"num_users", r.num_users},
                               {"num_cold_users", r.num_cold_users},
                               {"num_without_history", r.num_without_history},
                               {"recall_among_unseen", r.recall_among_unseen},
                               {"recall_among_all", r.recall_among_all},
                               {"recall_of_all", r.recall_of_all},
                               {"unseen_share", r.unseen_share}});
  }
  return json.dump(2) + "\n";
}

absl::StatusOr<std::string> ShowPlaces(const ModelSnapshot& snapshot, const ColdSplit& split,
                                       std::span<const ExternalVectors> externals, uint32_t num_items) {
  constexpr uint32_t kNeighbours = 5;
  const std::shared_ptr<const CatalogView> view = UpsertUnseen(snapshot, split, externals);
  std::map<uint32_t, size_t> wanted;
  for (const TestUser& user : split.test) {
    for (const ItemKey key : user.targets) {
      const std::optional<uint32_t> row = view->FindRow(key);
      if (row.has_value() && *row >= snapshot.num_items()) ++wanted[*row];
    }
  }
  std::vector<std::pair<size_t, uint32_t>> order;
  for (const auto& [row, count] : wanted) order.emplace_back(count, row);
  std::sort(order.begin(), order.end(), std::greater<>());
  std::vector<ItemKey> added;
  for (uint32_t row = snapshot.num_items(); row < view->num_rows(); ++row) {
    if (!view->IsMasked(row)) added.push_back(ItemKeyOf(view->ItemId(row)));
  }
  std::string text;
  Scratch scratch;
  Recommendation similar;
  for (size_t i = 0; i < std::min<size_t>(num_items, order.size()); ++i) {
    const auto [count, row] = order[i];
    absl::StrAppend(&text, "\n", std::string(view->ItemId(row)), " ", std::string(view->Title(row)), " (",
                    count, absl::StrFormat(" test users), bias %.2f, near to\n", view->Bias(row)));
    RecommendQuery query;
    query.k = kNeighbours;
    query.exclude_items = added;
    SWIFTLET_RETURN_IF_ERROR(SimilarItems(snapshot, *view, query, row, scratch, &similar));
    for (const RecommendedItem& item : similar.items) {
      absl::StrAppend(&text,
                      absl::StrFormat("  %.3f  %s  %s\n", item.score, std::string(view->ItemId(item.row)),
                                      std::string(view->Title(item.row))));
    }
  }
  return text;
}

}  // namespace swiftlet

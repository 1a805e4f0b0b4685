#include "engine/trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/matrix.h"
#include "nlohmann/json.hpp"
#include "storage/user_vector_file.h"

namespace swiftlet {

MetricsAtK MetricsOfList(std::span<const ItemKey> ranked, std::span<const ItemKey> targets, uint32_t k) {
  MetricsAtK metrics;
  double gain = 0, best = 0;
  uint32_t hits = 0;
  for (uint32_t rank = 0; rank < std::min<size_t>(k, ranked.size()); ++rank) {
    if (std::find(targets.begin(), targets.end(), ranked[rank]) == targets.end()) continue;
    ++hits;
    gain += 1 / std::log2(rank + 2.0);
  }
  for (uint32_t rank = 0; rank < std::min<size_t>(k, targets.size()); ++rank)
    best += 1 / std::log2(rank + 2.0);
  metrics.recall = static_cast<double>(hits) / static_cast<double>(targets.size());
  metrics.precision = static_cast<double>(hits) / k;
  metrics.ndcg = gain / best;
  metrics.hit_rate = hits > 0 ? 1 : 0;
  return metrics;
}

absl::StatusOr<UserVectors> LoadUserVectors(const ModelSnapshot& snapshot) {
  UserVectors vectors;
  if (snapshot.user_vectors_path().empty()) return vectors;
  SWIFTLET_RETURN_IF_ERROR(ReadUserVectorFile(
      snapshot.user_vectors_path(), snapshot.dim(),
      [&](std::string_view user, std::span<const float> vector) {
        vectors.emplace(std::string(user), std::vector<float>(vector.begin(), vector.end()));
        return absl::OkStatus();
      }));
  return vectors;
}

absl::StatusOr<EvaluationResult> Evaluate(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                                          std::span<const TestUser> test, const EvaluationOptions& options,
                                          ThreadPool* pool) {
  if (options.cutoffs.empty() || *std::min_element(options.cutoffs.begin(), options.cutoffs.end()) == 0) {
    return absl::InvalidArgumentError("cut-offs k must be 1 or more");
  }
  constexpr size_t kUsersPerPiece = 16;
  const uint32_t max_k = *std::max_element(options.cutoffs.begin(), options.cutoffs.end());
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(snapshot, {});
  const absl::Time begin_time = absl::Now();
  const size_t num_pieces = (test.size() + kUsersPerPiece - 1) / kUsersPerPiece;
  const size_t num_workers = pool == nullptr ? 1 : pool->num_threads() + 1;

  struct Piece {
    std::map<uint32_t, MetricsAtK> sums;
    uint64_t num_without_history = 0;
    absl::Status status;
  };
  struct Worker {
    Scratch scratch;
    Recommendation recommendation;
    std::map<uint32_t, std::vector<bool>> shown;  // by k: rows in someone's first k
  };
  std::vector<Piece> pieces(num_pieces);
  std::vector<Worker> workers(num_workers);
  for (Worker& worker : workers) {
    for (const uint32_t k : options.cutoffs) worker.shown[k].resize(snapshot.num_items());
  }
  ForPieces(pool, test.size(), kUsersPerPiece, [&](size_t begin, size_t end, size_t w) {
    Piece& piece = pieces[begin / kUsersPerPiece];
    Worker& worker = workers[w];
    std::vector<ItemKey> ranked, seen;
    for (size_t u = begin; u < end && piece.status.ok(); ++u) {
      if (piece.status = CheckInterrupted(); !piece.status.ok()) return;
      const TestUser& user = test[u];
      RecommendQuery query;
      query.k = max_k;
      UserState state;
      std::span<const HistoryEvent> history = user.history;
      if (options.max_history > 0 && history.size() > options.max_history) {
        history = history.last(options.max_history);
      }
      if (options.ranker == Ranker::kPopularity) {
        seen.clear();
        for (const HistoryEvent& e : history) seen.push_back(e.item_key);
        query.exclude_items = seen;
      } else {
        state.history = history;
        if (const auto it = user_vectors.find(user.user_id); it != user_vectors.end())
          state.long_term = it->second;
      }
      piece.status = Recommend(snapshot, *view, query, state, worker.scratch, &worker.recommendation);
      if (!piece.status.ok()) return;
      if (worker.recommendation.source == ItemSource::kPopular) ++piece.num_without_history;
      ranked.clear();
      for (const RecommendedItem& item : worker.recommendation.items)
        ranked.push_back(snapshot.Key(item.row));
      for (const uint32_t k : options.cutoffs) {
        const MetricsAtK m = MetricsOfList(ranked, user.targets, k);
        MetricsAtK& sum = piece.sums[k];
        sum.recall += m.recall;
        sum.precision += m.precision;
        sum.ndcg += m.ndcg;
        sum.hit_rate += m.hit_rate;
        std::vector<bool>& shown = worker.shown[k];
        for (size_t i = 0; i < std::min<size_t>(k, ranked.size()); ++i) {
          shown[worker.recommendation.items[i].row] = true;
        }
      }
    }
  });

  EvaluationResult result;
  result.num_users = test.size();
  for (const Piece& piece : pieces) {
    SWIFTLET_RETURN_IF_ERROR(piece.status);
    result.num_without_history += piece.num_without_history;
    for (const auto& [k, sum] : piece.sums) {
      MetricsAtK& total = result.at[k];
      const double n = static_cast<double>(test.size());
      total.recall += sum.recall / n;
      total.precision += sum.precision / n;
      total.ndcg += sum.ndcg / n;
      total.hit_rate += sum.hit_rate / n;
    }
  }
  for (auto& [k, metrics] : result.at) {
    uint64_t shown = 0;
    for (uint32_t row = 0; row < snapshot.num_items(); ++row) {
      shown += std::any_of(workers.begin(), workers.end(), [&, k = k](Worker& w) { return w.shown[k][row]; })
                   ? 1
                   : 0;
    }
    metrics.coverage = static_cast<double>(shown) / snapshot.num_items();
  }
  result.seconds = absl::ToDoubleSeconds(absl::Now() - begin_time);
  return result;
}

std::string FormatResults(std::span<const NamedResult> results) {
  std::string table = absl::StrFormat("%-28s %4s %9s %11s %9s %9s %10s\n", "ranker", "k", "recall@k",
                                      "precision@k", "ndcg@k", "hr@k", "coverage@k");
  for (const NamedResult& named : results) {
    for (const auto& [k, m] : named.result.at) {
      absl::StrAppend(&table, absl::StrFormat("%-28s %4d %9.4f %11.4f %9.4f %9.4f %10.4f\n", named.name, k,
                                              m.recall, m.precision, m.ndcg, m.hit_rate, m.coverage));
    }
  }
  return table;
}

std::string ResultsToJson(std::span<const NamedResult> results) {
  nlohmann::ordered_json json;
  for (const NamedResult& named : results) {
    nlohmann::ordered_json entry{{"ranker", named.name},
                                 {"num_users", named.result.num_users},
                                 {"num_users_without_history", named.result.num_without_history}};
    for (const auto& [name, value] : ResultsToMetrics(named.result, "")) entry["metrics"][name] = value;
    json["results"].push_back(entry);
  }
  return json.dump(2) + "\n";
}

std::map<std::string, double> ResultsToMetrics(const EvaluationResult& result, const std::string& prefix) {
  std::map<std::string, double> metrics;
  for (const auto& [k, m] : result.at) {
    metrics[absl::StrCat(prefix, "recall@", k)] = m.recall;
    metrics[absl::StrCat(prefix, "precision@", k)] = m.precision;
    metrics[absl::StrCat(prefix, "ndcg@", k)] = m.ndcg;
    metrics[absl::StrCat(prefix, "hr@", k)] = m.hit_rate;
    metrics[absl::StrCat(prefix, "coverage@", k)] = m.coverage;
  }
  return metrics;
}

}  // namespace swiftlet

#include "engine/trainer/evaluate.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/matrix.h"
#include "storage/user_vector_file.h"

namespace swiftlet {

namespace {

absl::Status RankForUser(const ModelSnapshot& snapshot, const CatalogView& view,
                         const UserVectors& user_vectors, const TestUser& user, uint32_t k,
                         const EvaluationOptions& options, Scratch& scratch, Recommendation* result) {
  RecommendQuery query;
  query.k = k;
  UserState state;
  std::vector<ItemKey> seen;
  std::span<const HistoryEvent> history = user.history;
  if (options.max_history > 0 && history.size() > options.max_history) {
    history = history.last(options.max_history);
  }
  if (options.ranker == Ranker::kPopularity) {
    for (const HistoryEvent& e : history) seen.push_back(e.item_key);
    query.exclude_items = seen;
  } else {
    state.history = history;
    if (const auto it = user_vectors.find(user.user_id); it != user_vectors.end())
      state.long_term = it->second;
  }
  return Recommend(snapshot, view, query, state, scratch, result);
}

}  // namespace

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
    std::vector<TargetRank> targets;
    uint64_t num_without_history = 0;
    absl::Status status;
  };
  struct Worker {
    Scratch scratch;
    Recommendation recommendation;
    std::map<uint32_t, std::vector<uint64_t>> shown;  // by k: how often each row was in someone's first k
  };
  std::vector<Piece> pieces(num_pieces);
  std::vector<Worker> workers(num_workers);
  for (Worker& worker : workers) {
    for (const uint32_t k : options.cutoffs) worker.shown[k].resize(snapshot.num_items());
  }
  EvaluationResult result;
  result.num_users = test.size();
  result.history_lengths.resize(test.size());
  for (const uint32_t k : options.cutoffs) result.users[k].resize(test.size());
  ForPieces(pool, test.size(), kUsersPerPiece, [&](size_t begin, size_t end, size_t w) {
    Piece& piece = pieces[begin / kUsersPerPiece];
    Worker& worker = workers[w];
    std::vector<ItemKey> ranked;
    for (size_t u = begin; u < end && piece.status.ok(); ++u) {
      if (piece.status = CheckInterrupted(); !piece.status.ok()) return;
      const TestUser& user = test[u];
      result.history_lengths[u] = static_cast<uint32_t>(user.history.size());
      piece.status = RankForUser(snapshot, *view, user_vectors, user, max_k, options, worker.scratch,
                                 &worker.recommendation);
      if (!piece.status.ok()) return;
      if (worker.recommendation.source == ItemSource::kPopular) ++piece.num_without_history;
      ranked.clear();
      for (const RecommendedItem& item : worker.recommendation.items)
        ranked.push_back(snapshot.Key(item.row));
      for (const uint32_t k : options.cutoffs) {
        result.users.at(k)[u] = MetricsOfList(ranked, user.targets, k, options.audience);
        std::vector<uint64_t>& shown = worker.shown[k];
        for (size_t i = 0; i < std::min<size_t>(k, ranked.size()); ++i) {
          ++shown[worker.recommendation.items[i].row];
        }
      }
      for (const ItemKey target : user.targets) {
        const auto it = std::find(ranked.begin(), ranked.end(), target);
        piece.targets.push_back(
            {.user = static_cast<uint32_t>(u),
             .rank = it == ranked.end() ? 0 : static_cast<uint32_t>(it - ranked.begin()) + 1,
             .num_training_users = options.audience == nullptr
                                       ? 0
                                       : static_cast<uint32_t>(options.audience->UsersOf(target).size())});
      }
    }
  });

  for (const Piece& piece : pieces) {
    SWIFTLET_RETURN_IF_ERROR(piece.status);
    result.num_without_history += piece.num_without_history;
    result.targets.insert(result.targets.end(), piece.targets.begin(), piece.targets.end());
  }
  for (const uint32_t k : options.cutoffs) {
    MetricsAtK& mean = result.at[k];
    const std::vector<MetricsAtK>& users = result.users.at(k);
    for (const MetricField& field : kMetricFields) {
      double sum = 0;
      for (const MetricsAtK& m : users) sum += m.*field.value;
      mean.*field.value = users.empty() ? 0 : sum / static_cast<double>(users.size());
    }
    std::vector<uint64_t> shown(snapshot.num_items(), 0);
    for (Worker& worker : workers) {
      const std::vector<uint64_t>& own = worker.shown.at(k);
      for (size_t row = 0; row < shown.size(); ++row) shown[row] += own[row];
    }
    const auto distinct = std::count_if(shown.begin(), shown.end(), [](uint64_t n) { return n > 0; });
    mean.coverage = static_cast<double>(distinct) / static_cast<double>(shown.size());
    mean.gini = Gini(std::move(shown));
  }
  result.seconds = absl::ToDoubleSeconds(absl::Now() - begin_time);
  return result;
}

absl::StatusOr<std::vector<std::vector<ItemKey>>> TopItems(const ModelSnapshot& snapshot,
                                                           const UserVectors& user_vectors,
                                                           std::span<const TestUser* const> users, uint32_t k,
                                                           const EvaluationOptions& options) {
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(snapshot, {});
  Scratch scratch;
  Recommendation recommendation;
  std::vector<std::vector<ItemKey>> lists;
  for (const TestUser* user : users) {
    SWIFTLET_RETURN_IF_ERROR(
        RankForUser(snapshot, *view, user_vectors, *user, k, options, scratch, &recommendation));
    std::vector<ItemKey>& list = lists.emplace_back();
    for (const RecommendedItem& item : recommendation.items) list.push_back(snapshot.Key(item.row));
  }
  return lists;
}

std::map<std::string, double> ResultsToMetrics(const EvaluationResult& result, const std::string& prefix) {
  std::map<std::string, double> metrics;
  for (const auto& [k, m] : result.at) {
    for (const MetricField& field : kMetricFields) {
      metrics[absl::StrCat(prefix, std::string(field.name), "@", k)] = m.*field.value;
    }
  }
  for (const auto& [name, value] : result.extra) metrics[prefix + name] = value;
  return metrics;
}

}  // namespace swiftlet

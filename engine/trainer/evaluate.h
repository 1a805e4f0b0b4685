// Offline evaluation through the engine that serves: every ranked list comes from Recommend over a loaded
// snapshot.
#ifndef SWIFTLET_ENGINE_TRAINER_EVALUATE_H_
#define SWIFTLET_ENGINE_TRAINER_EVALUATE_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/base/thread_pool.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/metrics.h"
#include "engine/trainer/split.h"

namespace swiftlet {

// Where a target of a test user came.
struct TargetRank {
  uint32_t user = 0;                // index into the test users
  uint32_t rank = 0;                // from 1; 0: not among the first max(cutoffs)
  uint32_t num_training_users = 0;  // of the item; 0 without an audience
};

struct EvaluationResult {
  std::map<uint32_t, MetricsAtK> at;                  // by k
  std::map<uint32_t, std::vector<MetricsAtK>> users;  // by k: [test users], in their order
  std::vector<uint32_t> history_lengths;              // [test users]
  std::vector<TargetRank> targets;                    // by user
  // Other figures, such as "rmse", that are shown and written as they are.
  std::map<std::string, double> extra;
  uint64_t num_users = 0;
  uint64_t num_without_history = 0;  // users for whom the engine fell back to the popular items
  double seconds = 0;
};

using UserVectors = absl::flat_hash_map<std::string, std::vector<float>>;

// All of a snapshot's user_vectors.sst; empty when it has none.
absl::StatusOr<UserVectors> LoadUserVectors(const ModelSnapshot& snapshot);

enum class Ranker : uint8_t {
  kModel,       // the snapshot's encoder over the user's history and long-term vector
  kPopularity,  // the engine's fallback, without the items that the user has seen
};

struct EvaluationOptions {
  std::vector<uint32_t> cutoffs = {10, 20};
  Ranker ranker = Ranker::kModel;
  uint32_t max_history = 0;  // newest events that the engine is given (a server keeps 200); 0: all
  // Of the training events, for novelty, diversity and the popularity of targets; null: these are 0.
  // Borrowed.
  const ItemAudience* audience = nullptr;
};

// Ranks all items that the user has not seen for every test user. CANCELLED when interrupted.
absl::StatusOr<EvaluationResult> Evaluate(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                                          std::span<const TestUser> test, const EvaluationOptions& options,
                                          ThreadPool* pool);

// The first k items for each of `users`, as Evaluate ranks them.
absl::StatusOr<std::vector<std::vector<ItemKey>>> TopItems(const ModelSnapshot& snapshot,
                                                           const UserVectors& user_vectors,
                                                           std::span<const TestUser* const> users, uint32_t k,
                                                           const EvaluationOptions& options);

// "ndcg@10" -> value, for a manifest.
std::map<std::string, double> ResultsToMetrics(const EvaluationResult& result, const std::string& prefix);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_EVALUATE_H_

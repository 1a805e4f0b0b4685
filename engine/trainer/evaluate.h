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
#include "engine/trainer/split.h"

namespace swiftlet {

// Metrics of one cut-off k, means over users but for the coverage.
struct MetricsAtK {
  double recall = 0;     // targets among the first k, of all targets
  double precision = 0;  // targets among the first k, of k
  double ndcg =
      0;  // sum of 1 / log2(rank + 1) over them, of the best possible sum with min(k, targets) ranks
  double hit_rate = 0;  // 1 when there is any
  double coverage = 0;  // distinct items in anyone's first k, of all items of the snapshot
};

// Metrics of one ranked list; coverage is 0. Requires k >= 1 and targets that are distinct and not empty.
MetricsAtK MetricsOfList(std::span<const ItemKey> ranked, std::span<const ItemKey> targets, uint32_t k);

struct EvaluationResult {
  std::map<uint32_t, MetricsAtK> at;  // by k
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
};

// Ranks all items that the user has not seen for every test user. CANCELLED when interrupted.
absl::StatusOr<EvaluationResult> Evaluate(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                                          std::span<const TestUser> test, const EvaluationOptions& options,
                                          ThreadPool* pool);

struct NamedResult {
  std::string name;
  EvaluationResult result;
};
// A table for people, a row for each result and cut-off.
std::string FormatResults(std::span<const NamedResult> results);
// The same as JSON.
std::string ResultsToJson(std::span<const NamedResult> results);
// "ndcg@10" -> value, for a manifest.
std::map<std::string, double> ResultsToMetrics(const EvaluationResult& result, const std::string& prefix);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_EVALUATE_H_

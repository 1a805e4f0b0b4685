// How well items that had no event in training are recommended, from the moment they are upserted: a split by
// time, and rankings through the serving engine.
#ifndef SWIFTLET_ENGINE_TRAINER_EVALUATE_COLD_H_
#define SWIFTLET_ENGINE_TRAINER_EVALUATE_COLD_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/content_design.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/split.h"

namespace swiftlet {

// Parts of the events in order of time; events of one moment are never parted.
struct ColdSplitOptions {
  double train_fraction = 0.8;
  double test_begin = 0.9, test_end = 1;
};

struct ColdSplit {
  Dataset train;               // the oldest events; unseen_items: all described items without one
  std::vector<TestUser> test;  // users with a test event; their histories are all events before the test
  uint64_t num_test_events = 0, num_unseen_events = 0;  // targets, and those of items without training event
};

// INVALID_ARGUMENT for parts out of order; FAILED_PRECONDITION where nothing is left to train on or to test.
absl::StatusOr<ColdSplit> MakeColdSplit(const Dataset& data, const ColdSplitOptions& options);

enum class ColdRanker : uint8_t {
  kModel,       // the engine
  kBias,        // the bias alone, for trained and new items
  kPopularity,  // events in training, ties at random: new items have none
  kRandom,
};

struct ColdOptions {
  uint32_t k = 20;
  uint64_t seed = 1;  // of what is random
  // Vectors from elsewhere that new items are upserted with. Borrowed.
  std::span<const ExternalVectors> externals = {};
};

struct ColdResult {
  uint64_t num_users = 0;            // with a history and a target
  uint64_t num_cold_users = 0;       // of them with a target without training events
  uint64_t num_without_history = 0;  // users with a target without training events that are left out
  // Means over the users with a target without training events, of those targets.
  double recall_among_unseen = 0;  // in a ranking of items without training events
  double recall_among_all = 0;     // in a ranking of all items
  // Means over all users with a history.
  double recall_of_all = 0;  // all targets in a ranking of all items
  double unseen_share = 0;   // the part of the first k of all items that has no training event
};

// Ranks what the user has not seen. `snapshot` was trained on split.train; its unseen items are upserted.
absl::StatusOr<ColdResult> EvaluateCold(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                                        const ColdSplit& split, ColdRanker ranker,
                                        const ColdOptions& options);

struct NamedColdResult {
  std::string name;
  ColdResult result;
};
std::string FormatColdResults(std::span<const NamedColdResult> results, uint32_t k);
std::string ColdResultsToJson(std::span<const NamedColdResult> results, uint32_t k);

// For people, with the same externals: the most wanted of the new items, each with the trained items that are
// most similar to it.
absl::StatusOr<std::string> ShowPlaces(const ModelSnapshot& snapshot, const ColdSplit& split,
                                       std::span<const ExternalVectors> externals, uint32_t num_items);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_EVALUATE_COLD_H_

// Splits events into what a model may be trained on and what it is tested with.
#ifndef SWIFTLET_ENGINE_TRAINER_SPLIT_H_
#define SWIFTLET_ENGINE_TRAINER_SPLIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/item_key.h"
#include "engine/event_types.h"
#include "engine/trainer/dataset.h"

namespace swiftlet {

enum class SplitKind : uint8_t {
  kLeaveLastOut,  // the last event of every user who has two or more
  kTime,          // all events from a moment on
};

// One user to rank for. The history holds the user's training events and nothing else.
struct TestUser {
  std::string user_id;
  std::vector<HistoryEvent> history;  // oldest first
  std::vector<ItemKey> targets;       // distinct, positive, none of them in the history
};

struct Split {
  Dataset train;
  std::vector<TestUser> test;  // by user id; at least one target each
  uint64_t num_held_out = 0;   // events
  // Held-out events that are no targets: their item is in the user's training history already (it would never
  // be ranked), they count against the item, or they repeat another target.
  uint64_t num_seen = 0, num_negative = 0, num_repeated = 0;
};

// test_fraction: of the events, for kTime; in (0, 1). FAILED_PRECONDITION when nothing is left to train on or
// to test.
absl::StatusOr<Split> MakeSplit(const Dataset& data, SplitKind kind, double test_fraction);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_SPLIT_H_

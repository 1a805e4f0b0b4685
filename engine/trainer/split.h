// Splits events into what a model may be trained on, what it may be chosen by, and what it is tested with.
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
  kLeaveLastOut,  // test: the last event of every user who has two or more; no validation
  // Test: the last event of every user who has two or more; validation: the one before it, of users who have
  // three or more. Training has neither; a test user's history has the validation event, too.
  kLeaveOneOut,
  kTime,  // test: all events from a moment on; no validation
};

// One user to rank for.
struct TestUser {
  std::string user_id;
  // Oldest first: the user's training events, and before a test also the validation events.
  std::vector<HistoryEvent> history;
  std::vector<ItemKey> targets;  // distinct, positive, none of them in the history
  // Everything of the user that was held out, targets or not, oldest first: what ratings are predicted of.
  std::vector<HistoryEvent> held_out = {};
};

struct Split {
  Dataset train;
  std::vector<TestUser> validation;  // by user id; their histories are events of `train`
  std::vector<TestUser> test;        // by user id; at least one target each
  uint64_t num_held_out = 0;         // events of the test, and
  uint64_t num_validation = 0;       // of the validation
  // Test events that are no targets: their item is in the user's history already (it would never be ranked),
  // they count against the item, or they repeat another target.
  uint64_t num_seen = 0, num_negative = 0, num_repeated = 0;
};

// test_fraction: of the events, for kTime; in (0, 1). FAILED_PRECONDITION when nothing is left to train on or
// to test.
absl::StatusOr<Split> MakeSplit(const Dataset& data, SplitKind kind, double test_fraction);

// Everything in `train` is trained on, the events of `test` are the targets, and there is no validation.
// FAILED_PRECONDITION when no event of `test` is a target.
absl::StatusOr<Split> MakeGivenSplit(Dataset train, const Dataset& test);

// Carves validation out of `data`: round(fraction * events) of every user's events, but never all. They are
// the user's newest ones; where no event has a time, they are drawn at random. The result has no test.
// INVALID_ARGUMENT for a fraction that is not in (0, 1); FAILED_PRECONDITION when nobody has a target.
absl::StatusOr<Split> CarveValidation(const Dataset& data, double fraction, uint64_t seed);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_SPLIT_H_

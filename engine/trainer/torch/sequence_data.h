// Events as sequences of items, as sequence models are trained on them.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_DATA_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_DATA_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/trainer/dataset.h"
#include "engine/trainer/item_features.h"
#include "engine/trainer/split.h"

namespace swiftlet {

// Events of all users, a user's own oldest first.
struct SequenceData {
  size_t num_items = 0, num_classes = 1;
  std::vector<size_t> begin;        // [users + 1] into the next ones
  std::vector<uint32_t> items;      // < num_items
  std::vector<uint32_t> classes;    // < num_classes
  std::vector<uint8_t> is_target;   // 0: an event that is never predicted
  ItemFeatures item_features = {};  // or none

  size_t num_users() const { return begin.empty() ? 0 : begin.size() - 1; }
  size_t Length(size_t user) const { return begin[user + 1] - begin[user]; }
};

// One user to rank all items for, but those of the user's sequence.
struct SequenceTarget {
  uint32_t user = 0;
  std::vector<uint32_t> items;  // distinct, not empty, none of the user's sequence
};

// Users and items are those of `data`. Never predicted are events of a class that counts against its item,
// and those of an item that the user had before: what is recommended is new to the user. classes: as
// MakeEventClasses made them of `data`.
SequenceData MakeSequences(const Dataset& data, std::span<const EventClass> classes);

// The targets of users and items that `data` knows. `validation` says nothing about what is in a sequence:
// the users' histories must be their events of `data`.
std::vector<SequenceTarget> MakeTargets(const Dataset& data, std::span<const TestUser> validation);

// Takes the last event of every user that can be a target, where two or more come before it, out of the
// sequences. Returns these as targets; *data then holds the sequences without them and what came later.
std::vector<SequenceTarget> HoldOutLast(SequenceData* data);

// The shortest length that holds the sequences of this share of the users whole.
size_t LengthOfShare(const SequenceData& data, double share);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_DATA_H_

#include "engine/trainer/split.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

enum class Part : uint8_t { kTrain, kValidation, kTest };

struct Dropped {
  uint64_t seen = 0, negative = 0, repeated = 0;
};

HistoryEvent ToHistory(const Dataset& data, const TrainingEvent& event) {
  return {ItemKeyOf(data.item_ids[event.item]), event.timestamp_ms, event.value, event.type};
}

// Adds the target of a held-out event, or counts why it is none. seen: keys of the user's history.
void AddTarget(const Dataset& data, const TrainingEvent& event, const absl::flat_hash_set<ItemKey>& seen,
               TestUser* user, Dropped* dropped) {
  const EventType* type = data.event_types.FindById(event.type);
  const ItemKey key = ItemKeyOf(data.item_ids[event.item]);
  if (type != nullptr && type->weight < 0) {
    ++dropped->negative;
  } else if (seen.contains(key)) {
    ++dropped->seen;
  } else if (std::find(user->targets.begin(), user->targets.end(), key) != user->targets.end()) {
    ++dropped->repeated;
  } else {
    user->targets.push_back(key);
  }
}

// The users who have a target in `part`; events of earlier parts are their history.
std::vector<TestUser> UsersOf(const Dataset& data, const std::vector<Part>& parts, Part part,
                              Dropped* dropped) {
  std::vector<TestUser> users;
  for (size_t u = 0; u < data.num_users(); ++u) {
    const size_t begin = data.user_begin[u], end = data.user_begin[u + 1];
    if (std::find(parts.begin() + static_cast<ptrdiff_t>(begin), parts.begin() + static_cast<ptrdiff_t>(end),
                  part) == parts.begin() + static_cast<ptrdiff_t>(end)) {
      continue;
    }
    TestUser user{.user_id = data.user_ids[u], .history = {}, .targets = {}};
    absl::flat_hash_set<ItemKey> seen;
    for (size_t e = begin; e < end; ++e) {
      if (parts[e] >= part) continue;
      user.history.push_back(ToHistory(data, data.events[e]));
      seen.insert(user.history.back().item_key);
    }
    for (size_t e = begin; e < end; ++e) {
      if (parts[e] != part) continue;
      AddTarget(data, data.events[e], seen, &user, dropped);
      user.held_out.push_back(ToHistory(data, data.events[e]));
    }
    if (!user.targets.empty()) users.push_back(std::move(user));
  }
  return users;
}

Split SplitByParts(const Dataset& data, const std::vector<Part>& parts) {
  Split split;
  Dropped dropped, of_validation;
  split.validation = UsersOf(data, parts, Part::kValidation, &of_validation);
  split.test = UsersOf(data, parts, Part::kTest, &dropped);
  split.num_seen = dropped.seen;
  split.num_negative = dropped.negative;
  split.num_repeated = dropped.repeated;
  split.num_validation = static_cast<uint64_t>(std::count(parts.begin(), parts.end(), Part::kValidation));
  split.num_held_out = static_cast<uint64_t>(std::count(parts.begin(), parts.end(), Part::kTest));
  return split;
}

Dataset TrainingPart(const Dataset& data, const std::vector<Part>& parts) {
  std::vector<bool> keep(parts.size());
  for (size_t e = 0; e < parts.size(); ++e) keep[e] = parts[e] == Part::kTrain;
  return Subset(data, keep);
}

absl::Status NothingToTestWith(const Split& split) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the split leaves nothing to test with: of ", split.num_held_out, " held-out events, ", split.num_seen,
      " have an item that the user had before and ", split.num_negative, " count against their item"));
}

}  // namespace

absl::StatusOr<Split> MakeSplit(const Dataset& data, SplitKind kind, double test_fraction) {
  std::vector<Part> parts(data.events.size(), Part::kTrain);
  if (kind == SplitKind::kTime) {
    if (!(test_fraction > 0 && test_fraction < 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("test fraction: ", test_fraction, " is not between 0 and 1"));
    }
    std::vector<int64_t> times;
    times.reserve(data.events.size());
    for (const TrainingEvent& e : data.events) times.push_back(e.timestamp_ms);
    const size_t at = std::min(times.size() - 1,
                               static_cast<size_t>(static_cast<double>(times.size()) * (1 - test_fraction)));
    std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>(at), times.end());
    const int64_t cutoff_ms = times[at];
    for (size_t e = 0; e < data.events.size(); ++e) {
      if (data.events[e].timestamp_ms >= cutoff_ms) parts[e] = Part::kTest;
    }
  } else {
    for (size_t u = 0; u < data.num_users(); ++u) {
      const size_t begin = data.user_begin[u], end = data.user_begin[u + 1];
      if (end - begin >= 2) parts[end - 1] = Part::kTest;
      if (end - begin >= 3 && kind == SplitKind::kLeaveOneOut) parts[end - 2] = Part::kValidation;
    }
  }
  if (std::find(parts.begin(), parts.end(), Part::kTrain) == parts.end()) {
    return absl::FailedPreconditionError(
        "the split leaves no event to train on: all events have the same time");
  }
  Split split = SplitByParts(data, parts);
  if (split.test.empty()) return NothingToTestWith(split);
  split.train = TrainingPart(data, parts);
  return split;
}

absl::StatusOr<Split> MakeGivenSplit(Dataset train, const Dataset& test) {
  Split split;
  Dropped dropped;
  split.num_held_out = test.events.size();
  for (size_t u = 0; u < test.num_users(); ++u) {
    TestUser user{.user_id = test.user_ids[u], .history = {}, .targets = {}};
    absl::flat_hash_set<ItemKey> seen;
    const auto it = std::lower_bound(train.user_ids.begin(), train.user_ids.end(), user.user_id);
    if (it != train.user_ids.end() && *it == user.user_id) {
      for (const TrainingEvent& e : train.EventsOf(static_cast<size_t>(it - train.user_ids.begin()))) {
        user.history.push_back(ToHistory(train, e));
        seen.insert(user.history.back().item_key);
      }
    }
    for (const TrainingEvent& e : test.EventsOf(u)) {
      AddTarget(test, e, seen, &user, &dropped);
      user.held_out.push_back(ToHistory(test, e));
    }
    if (!user.targets.empty()) split.test.push_back(std::move(user));
  }
  split.num_seen = dropped.seen;
  split.num_negative = dropped.negative;
  split.num_repeated = dropped.repeated;
  if (split.test.empty()) return NothingToTestWith(split);
  split.train = std::move(train);
  return split;
}

absl::StatusOr<Split> CarveValidation(const Dataset& data, double fraction, uint64_t seed) {
  if (!(fraction > 0 && fraction < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("validation fraction: ", fraction, " is not between 0 and 1"));
  }
  const bool any_time = std::any_of(data.events.begin(), data.events.end(),
                                    [](const TrainingEvent& e) { return e.timestamp_ms != 0; });
  std::vector<Part> parts(data.events.size(), Part::kTrain);
  std::mt19937_64 random(seed);
  std::vector<size_t> order;
  for (size_t u = 0; u < data.num_users(); ++u) {
    const size_t count = data.user_begin[u + 1] - data.user_begin[u];
    const auto held_out =
        std::min<size_t>(count - 1, static_cast<size_t>(std::llround(fraction * static_cast<double>(count))));
    order.resize(count);
    std::iota(order.begin(), order.end(), data.user_begin[u]);
    // The first steps of a shuffle from the end, the same with every standard library.
    for (size_t i = 0; i < held_out; ++i) {
      if (!any_time) std::swap(order[count - 1 - i], order[random() % (count - i)]);
      parts[order[count - 1 - i]] = Part::kValidation;
    }
  }
  Split split = SplitByParts(data, parts);
  if (split.validation.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no user has enough events to carve ", fraction, " of them out for validation"));
  }
  split.train = TrainingPart(data, parts);
  return split;
}

}  // namespace swiftlet

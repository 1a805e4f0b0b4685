#include "engine/trainer/split.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace swiftlet {

absl::StatusOr<Split> MakeSplit(const Dataset& data, SplitKind kind, double test_fraction) {
  std::vector<bool> keep(data.events.size(), true);
  if (kind == SplitKind::kLeaveLastOut) {
    for (size_t u = 0; u < data.num_users(); ++u) {
      if (data.user_begin[u + 1] - data.user_begin[u] >= 2) keep[data.user_begin[u + 1] - 1] = false;
    }
  } else {
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
    for (size_t e = 0; e < data.events.size(); ++e) keep[e] = data.events[e].timestamp_ms < cutoff_ms;
  }

  Split split;
  split.num_held_out = static_cast<uint64_t>(std::count(keep.begin(), keep.end(), false));
  if (split.num_held_out == data.events.size()) {
    return absl::FailedPreconditionError(
        "the split leaves no event to train on: all events have the same time");
  }
  for (size_t u = 0; u < data.num_users(); ++u) {
    TestUser user{.user_id = data.user_ids[u], .history = {}, .targets = {}};
    std::vector<uint32_t> seen;
    for (size_t e = data.user_begin[u]; e < data.user_begin[u + 1]; ++e) {
      if (!keep[e]) continue;
      const TrainingEvent& event = data.events[e];
      user.history.push_back(
          {ItemKeyOf(data.item_ids[event.item]), event.timestamp_ms, event.value, event.type});
      seen.push_back(event.item);
    }
    std::sort(seen.begin(), seen.end());
    for (size_t e = data.user_begin[u]; e < data.user_begin[u + 1]; ++e) {
      if (keep[e]) continue;
      const TrainingEvent& event = data.events[e];
      const EventType* type = data.event_types.FindById(event.type);
      const ItemKey key = ItemKeyOf(data.item_ids[event.item]);
      if (type != nullptr && type->weight < 0) {
        ++split.num_negative;
      } else if (std::binary_search(seen.begin(), seen.end(), event.item)) {
        ++split.num_seen;
      } else if (std::find(user.targets.begin(), user.targets.end(), key) != user.targets.end()) {
        ++split.num_repeated;
      } else {
        user.targets.push_back(key);
      }
    }
    if (!user.targets.empty()) split.test.push_back(std::move(user));
  }
  if (split.test.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the split leaves nothing to test with: of ", split.num_held_out, " held-out events, ",
                     split.num_seen, " have an item that the user had before and ", split.num_negative,
                     " count against their item"));
  }
  split.train = Subset(data, keep);
  return split;
}

}  // namespace swiftlet

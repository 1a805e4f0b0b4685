#include "engine/trainer/torch/sequence_data.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/container/flat_hash_map.h"

namespace swiftlet {

SequenceData MakeSequences(const Dataset& data, std::span<const EventClass> classes) {
  SequenceData sequences;
  sequences.num_items = data.num_items();
  sequences.num_classes = std::max<size_t>(1, classes.size());
  sequences.begin.assign(data.user_begin.begin(), data.user_begin.end());
  const std::vector<bool> repeated = MarkRepeated(data);
  for (size_t k = 0; k < data.events.size(); ++k) {
    const TrainingEvent& e = data.events[k];
    const uint32_t c = ClassOfEvent(classes, e.type, e.value);
    sequences.items.push_back(e.item);
    sequences.classes.push_back(c);
    sequences.is_target.push_back(classes[c].sign > 0 && !repeated[k] ? 1 : 0);
  }
  return sequences;
}

std::vector<SequenceTarget> MakeTargets(const Dataset& data, std::span<const TestUser> validation) {
  absl::flat_hash_map<ItemKey, uint32_t> item_of;
  item_of.reserve(data.num_items());
  for (uint32_t i = 0; i < data.num_items(); ++i) item_of.emplace(ItemKeyOf(data.item_ids[i]), i);
  std::vector<SequenceTarget> targets;
  for (const TestUser& user : validation) {
    // Ids are in byte order.
    const auto id = std::lower_bound(data.user_ids.begin(), data.user_ids.end(), user.user_id);
    if (id == data.user_ids.end() || *id != user.user_id) continue;
    SequenceTarget target{.user = static_cast<uint32_t>(id - data.user_ids.begin()), .items = {}};
    for (const ItemKey key : user.targets) {
      if (const auto item = item_of.find(key); item != item_of.end()) target.items.push_back(item->second);
    }
    if (!target.items.empty()) targets.push_back(std::move(target));
  }
  return targets;
}

std::vector<SequenceTarget> HoldOutLast(SequenceData* data) {
  std::vector<SequenceTarget> targets;
  SequenceData kept{.num_items = data->num_items,
                    .num_classes = data->num_classes,
                    .begin = {0},
                    .items = {},
                    .classes = {},
                    .is_target = {},
                    .item_features = std::move(data->item_features)};
  for (uint32_t u = 0; u < data->num_users(); ++u) {
    size_t end = data->begin[u + 1];
    for (size_t e = end; e-- > data->begin[u] + 2;) {
      if (data->is_target[e] == 0) continue;
      targets.push_back({u, {data->items[e]}});
      end = e;
      break;
    }
    for (size_t e = data->begin[u]; e < end; ++e) {
      kept.items.push_back(data->items[e]);
      kept.classes.push_back(data->classes[e]);
      kept.is_target.push_back(data->is_target[e]);
    }
    kept.begin.push_back(kept.items.size());
  }
  *data = std::move(kept);
  return targets;
}

size_t LengthOfShare(const SequenceData& data, double share) {
  std::vector<size_t> lengths;
  for (size_t u = 0; u < data.num_users(); ++u) lengths.push_back(data.Length(u));
  if (lengths.empty()) return 0;
  const auto at = static_cast<size_t>(std::ceil(share * static_cast<double>(lengths.size())));
  const size_t index = std::min(lengths.size() - 1, at > 0 ? at - 1 : 0);
  std::nth_element(lengths.begin(), lengths.begin() + static_cast<ptrdiff_t>(index), lengths.end());
  return lengths[index];
}

}  // namespace swiftlet

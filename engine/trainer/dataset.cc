#include "engine/trainer/dataset.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace swiftlet {
namespace {

constexpr uint32_t kAbsent = std::numeric_limits<uint32_t>::max();

// Sorts the ids by bytes; old_to_new[i] is the new index of ids[i].
std::vector<std::string> SortedIds(absl::flat_hash_map<std::string, uint32_t>& ids,
                                   std::vector<uint32_t>* old_to_new) {
  std::vector<std::pair<std::string, uint32_t>> order;
  order.reserve(ids.size());
  for (auto& [id, index] : ids) order.emplace_back(id, index);
  std::sort(order.begin(), order.end());
  std::vector<std::string> sorted(order.size());
  old_to_new->assign(order.size(), 0);
  for (size_t i = 0; i < order.size(); ++i) {
    (*old_to_new)[order[i].second] = static_cast<uint32_t>(i);
    sorted[i] = std::move(order[i].first);
  }
  return sorted;
}

void SortById(std::vector<ItemDescription>* items) {
  std::sort(items->begin(), items->end(),
            [](const ItemDescription& a, const ItemDescription& b) { return a.item_id < b.item_id; });
}

void FillUserBegin(Dataset* data) {
  data->user_begin.assign(data->num_users() + 1, 0);
  for (const TrainingEvent& e : data->events) ++data->user_begin[e.user + 1];
  std::partial_sum(data->user_begin.begin(), data->user_begin.end(), data->user_begin.begin());
}

}  // namespace

void DatasetBuilder::AddEvent(std::string_view user_id, std::string_view item_id, EventTypeId type,
                              float value, int64_t timestamp_ms) {
  const uint32_t user =
      users_.try_emplace(std::string(user_id), static_cast<uint32_t>(users_.size())).first->second;
  const uint32_t item =
      items_.try_emplace(std::string(item_id), static_cast<uint32_t>(items_.size())).first->second;
  events_.push_back({user, item, timestamp_ms, value, type});
}

void DatasetBuilder::SetItem(std::string_view item_id, std::string title, std::vector<std::string> categories,
                             std::vector<std::pair<std::string, std::string>> attributes) {
  descriptions_[std::string(item_id)] = {std::move(title), std::move(categories), std::move(attributes),
                                         false};
}

void DatasetBuilder::DropItem(std::string_view item_id) {
  descriptions_[std::string(item_id)] = {.title = "", .categories = {}, .attributes = {}, .dropped = true};
}

absl::StatusOr<Dataset> DatasetBuilder::Build() {
  Dataset data;
  data.event_types = event_types_;
  data.trained_through_ms = trained_through_ms_;
  std::vector<uint32_t> new_user, new_item;
  data.user_ids = SortedIds(users_, &new_user);
  data.item_ids = SortedIds(items_, &new_item);
  data.events = std::move(events_);
  for (TrainingEvent& e : data.events) {
    e.user = new_user[e.user];
    e.item = new_item[e.item];
  }
  std::stable_sort(data.events.begin(), data.events.end(),
                   [](const TrainingEvent& a, const TrainingEvent& b) {
                     return a.user != b.user ? a.user < b.user : a.timestamp_ms < b.timestamp_ms;
                   });
  FillUserBegin(&data);

  bool any_title = false, any_category = false, any_attribute = false, any_dropped = false;
  data.item_titles.resize(data.num_items());
  data.item_categories.resize(data.num_items());
  data.item_attributes.resize(data.num_items());
  std::vector<bool> dropped(data.num_items());
  for (size_t i = 0; i < data.num_items(); ++i) {
    auto it = descriptions_.find(data.item_ids[i]);
    if (it == descriptions_.end()) continue;
    if (it->second.dropped) any_dropped = dropped[i] = true;
    any_title |= !it->second.title.empty();
    any_category |= !it->second.categories.empty();
    data.item_titles[i] = std::move(it->second.title);
    any_attribute |= !it->second.attributes.empty();
    data.item_categories[i] = std::move(it->second.categories);
    data.item_attributes[i] = std::move(it->second.attributes);
    descriptions_.erase(it);
  }
  for (auto& [id, description] : descriptions_) {
    if (description.dropped) continue;
    data.unseen_items.push_back({.item_id = id,
                                 .title = std::move(description.title),
                                 .categories = std::move(description.categories),
                                 .attributes = std::move(description.attributes)});
  }
  SortById(&data.unseen_items);
  if (!any_title) data.item_titles.clear();
  if (!any_category) data.item_categories.clear();
  if (!any_attribute) data.item_attributes.clear();
  if (any_dropped) {
    std::vector<bool> keep(data.events.size());
    for (size_t e = 0; e < data.events.size(); ++e) keep[e] = !dropped[data.events[e].item];
    data = Subset(data, keep);
  }
  users_.clear();
  items_.clear();
  events_.clear();
  descriptions_.clear();
  if (data.events.empty()) return absl::FailedPreconditionError("there are no events to train on");
  return data;
}

size_t CountIdentical(const Dataset& data) {
  size_t count = 0;
  std::vector<std::tuple<uint32_t, EventTypeId, float>> at_once;  // a user's events of one time
  for (size_t begin = 0, end = 0; begin < data.events.size(); begin = end) {
    const TrainingEvent& first = data.events[begin];
    at_once.clear();
    for (; end < data.events.size() && data.events[end].user == first.user &&
           data.events[end].timestamp_ms == first.timestamp_ms;
         ++end) {
      at_once.emplace_back(data.events[end].item, data.events[end].type, data.events[end].value);
    }
    std::sort(at_once.begin(), at_once.end());
    count += static_cast<size_t>(at_once.end() - std::unique(at_once.begin(), at_once.end()));
  }
  return count;
}

std::vector<bool> MarkRepeated(const Dataset& data) {
  std::vector<bool> repeated(data.events.size(), false);
  std::vector<uint32_t> last_user(data.num_items(), UINT32_MAX);  // whose events had the item, so far
  for (size_t e = 0; e < data.events.size(); ++e) {
    const TrainingEvent& event = data.events[e];
    repeated[e] = last_user[event.item] == event.user;
    last_user[event.item] = event.user;
  }
  return repeated;
}

Dataset Subset(const Dataset& data, const std::vector<bool>& keep) {
  Dataset part;
  part.event_types = data.event_types;
  part.trained_through_ms = data.trained_through_ms;
  part.unseen_items = data.unseen_items;
  std::vector<uint32_t> new_user(data.num_users(), kAbsent), new_item(data.num_items(), kAbsent);
  for (size_t e = 0; e < data.events.size(); ++e) {
    if (!keep[e]) continue;
    new_user[data.events[e].user] = 0;
    new_item[data.events[e].item] = 0;
  }
  for (size_t u = 0; u < new_user.size(); ++u) {
    if (new_user[u] == kAbsent) continue;
    new_user[u] = static_cast<uint32_t>(part.user_ids.size());
    part.user_ids.push_back(data.user_ids[u]);
  }
  for (size_t i = 0; i < new_item.size(); ++i) {
    if (new_item[i] == kAbsent) {
      ItemDescription item{.item_id = data.item_ids[i]};
      if (!data.item_titles.empty()) item.title = data.item_titles[i];
      if (!data.item_categories.empty()) item.categories = data.item_categories[i];
      if (!data.item_attributes.empty()) item.attributes = data.item_attributes[i];
      if (!item.title.empty() || !item.categories.empty() || !item.attributes.empty()) {
        part.unseen_items.push_back(std::move(item));
      }
      continue;
    }
    new_item[i] = static_cast<uint32_t>(part.item_ids.size());
    part.item_ids.push_back(data.item_ids[i]);
    if (!data.item_titles.empty()) part.item_titles.push_back(data.item_titles[i]);
    if (!data.item_categories.empty()) part.item_categories.push_back(data.item_categories[i]);
    if (!data.item_attributes.empty()) part.item_attributes.push_back(data.item_attributes[i]);
  }
  SortById(&part.unseen_items);
  for (size_t e = 0; e < data.events.size(); ++e) {
    if (!keep[e]) continue;
    TrainingEvent event = data.events[e];
    event.user = new_user[event.user];
    event.item = new_item[event.item];
    part.events.push_back(event);
  }
  FillUserBegin(&part);
  return part;
}

namespace {

// XXH3-128 of numbers and texts.
class Digest {
 public:
  Digest() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
  ~Digest() { XXH3_freeState(state_); }
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  template <typename T>
  void Number(const T& value) {
    XXH3_128bits_update(state_, &value, sizeof(value));
  }
  void Text(const std::string& text) {
    Number(static_cast<uint64_t>(text.size()));
    XXH3_128bits_update(state_, text.data(), text.size());
  }
  std::string Hex() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_));
    std::string hex;
    for (const unsigned char byte : canonical.digest) absl::StrAppend(&hex, absl::Hex(byte, absl::kZeroPad2));
    return hex;
  }

 private:
  XXH3_state_t* const state_;
};

}  // namespace

std::string Fingerprint(const Dataset& data) {
  Digest digest;
  for (const TrainingEvent& e : data.events) {
    digest.Text(data.user_ids[e.user]);
    digest.Text(data.item_ids[e.item]);
    digest.Number(e.timestamp_ms);
    digest.Number(e.value);
    digest.Number(e.type);
  }
  return digest.Hex();
}

std::string FingerprintOfItems(const Dataset& data) {
  if (data.item_titles.empty() && data.item_categories.empty() && data.item_attributes.empty() &&
      data.unseen_items.empty()) {
    return "";
  }
  Digest digest;
  const auto add = [&](const std::string& id, const std::string& title,
                       const std::vector<std::string>& categories,
                       const std::vector<std::pair<std::string, std::string>>& attributes) {
    digest.Text(id);
    digest.Text(title);
    digest.Number(static_cast<uint64_t>(categories.size()));
    for (const std::string& category : categories) digest.Text(category);
    digest.Number(static_cast<uint64_t>(attributes.size()));
    for (const auto& [name, value] : attributes) {
      digest.Text(name);
      digest.Text(value);
    }
  };
  for (size_t i = 0; i < data.num_items(); ++i) {
    add(data.item_ids[i], data.item_titles.empty() ? std::string() : data.item_titles[i],
        data.item_categories.empty() ? std::vector<std::string>() : data.item_categories[i],
        data.item_attributes.empty() ? std::vector<std::pair<std::string, std::string>>()
                                     : data.item_attributes[i]);
  }
  for (const ItemDescription& item : data.unseen_items)
    add(item.item_id, item.title, item.categories, item.attributes);
  return digest.Hex();
}

absl::StatusOr<ValueEdges> ParseValueEdges(std::string_view text, const EventTypeTable& event_types) {
  const auto fail = [&](const std::string& reason) {
    return absl::InvalidArgumentError(
        absl::StrCat("value edges \"", std::string(text), "\": ", reason,
                     "; expected TYPE:EDGE,EDGE,.. such as rating:2.5,3.5,4.5"));
  };
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return fail("there is no colon");
  const EventType* type = event_types.FindByName(text.substr(0, colon));
  if (type == nullptr) return fail("unknown event type");
  ValueEdges result{.type = type->id, .edges = {}};
  const std::string numbers(text.substr(colon + 1));
  for (const auto& piece : absl::StrSplit(numbers, ',', absl::SkipWhitespace())) {
    float edge = 0;
    if (!absl::SimpleAtof(piece, &edge) || !std::isfinite(edge)) return fail("an edge is not a number");
    if (!result.edges.empty() && edge <= result.edges.back()) return fail("the edges do not ascend");
    result.edges.push_back(edge);
  }
  return result;
}

std::vector<EventClass> MakeEventClasses(const Dataset& data, std::span<const ValueEdges> given) {
  std::map<EventTypeId, std::vector<float>> values;
  for (const TrainingEvent& e : data.events) values[e.type].push_back(e.value);
  std::vector<EventClass> classes;
  for (auto& [type, v] : values) {
    const EventType* entry = data.event_types.FindById(type);
    const float sign = entry != nullptr && entry->weight < 0 ? -1.0f : 1.0f;
    std::vector<float> edges;
    const auto it =
        std::find_if(given.begin(), given.end(), [t = type](const ValueEdges& g) { return g.type == t; });
    if (it != given.end()) {
      edges = it->edges;
    } else {
      std::sort(v.begin(), v.end());
      for (size_t decile = 1; decile < 10; ++decile) {
        const float edge = v[v.size() * decile / 10];
        if (edge > v.front() && (edges.empty() || edge > edges.back())) edges.push_back(edge);
      }
    }
    classes.push_back({type, -std::numeric_limits<float>::infinity(), sign});
    for (const float edge : edges) classes.push_back({type, edge, sign});
  }
  return classes;
}

uint32_t ClassOfEvent(std::span<const EventClass> classes, EventTypeId type, float value) {
  uint32_t found = 0;
  for (uint32_t c = 0; c < classes.size(); ++c) {
    if (classes[c].type == type && value >= classes[c].min_value) found = c;
  }
  return found;
}

}  // namespace swiftlet

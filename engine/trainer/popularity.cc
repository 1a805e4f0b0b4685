#include "engine/trainer/popularity.h"

#include <algorithm>
#include <cmath>

namespace swiftlet {

std::vector<float> TrendingPopularity(const Dataset& data, double half_life_ms) {
  int64_t newest = 0;
  for (const TrainingEvent& e : data.events) newest = std::max(newest, e.timestamp_ms);
  std::vector<double> sums(data.num_items(), 0.0);
  for (const TrainingEvent& e : data.events) {
    const EventType* const type = data.event_types.FindById(e.type);
    if (type != nullptr && type->weight <= 0) continue;
    sums[e.item] += std::exp2(-static_cast<double>(newest - e.timestamp_ms) / half_life_ms);
  }
  return {sums.begin(), sums.end()};
}

}  // namespace swiftlet

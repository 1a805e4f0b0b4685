// Popularity that fades: what is trending.
#ifndef SWIFTLET_ENGINE_TRAINER_POPULARITY_H_
#define SWIFTLET_ENGINE_TRAINER_POPULARITY_H_

#include <vector>

#include "engine/trainer/dataset.h"

namespace swiftlet {

inline constexpr double kMillisecondsADay = 24.0 * 60 * 60 * 1000;

// [items]: of each item's events of types that do not count against it, the sum of 2^-(age / half_life), the
// age being that before the newest event of all. half_life_ms > 0; infinity counts events.
std::vector<float> TrendingPopularity(const Dataset& data, double half_life_ms);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_POPULARITY_H_

// Ratings of known structure.
#ifndef SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_RATING_TEST_UTIL_H_
#define SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_RATING_TEST_UTIL_H_

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/rating_data.h"

namespace swiftlet::trainer_testing {

// Events of type rating, 1 to 5 in halves: 3 + biases + two factors + noise. User u has rated about
// `per_user` items.
inline Dataset PlantedRatings(uint32_t num_users, uint32_t num_items, uint32_t per_user, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 1);
  const auto draw = [&](size_t n, double deviation) {
    std::vector<double> values(n);
    for (double& v : values) v = deviation * normal(random);
    return values;
  };
  const auto b = draw(num_users, 0.3), c = draw(num_items, 0.4), p = draw(2 * num_users, 0.8),
             q = draw(2 * num_items, 0.8);
  DatasetBuilder builder(EventTypeTable::Default());
  for (uint32_t u = 0; u < num_users; ++u) {
    for (uint32_t i = 0; i < num_items; ++i) {
      if (random() % num_items >= per_user) continue;
      const double value =
          3 + b[u] + c[i] + p[2 * u] * q[2 * i] + p[2 * u + 1] * q[2 * i + 1] + 0.25 * normal(random);
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("i", i), 6,
                       static_cast<float>(std::clamp(std::round(2 * value) / 2, 1.0, 5.0)), 1000 + i);
    }
  }
  return *builder.Build();
}

inline RatingData FindPlanted(const Dataset& data) { return *FindRatings(data, {}); }

}  // namespace swiftlet::trainer_testing

#endif  // SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_RATING_TEST_UTIL_H_

// What the tests of engine/trainer share.
#ifndef SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_TRAINER_TEST_UTIL_H_
#define SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_TRAINER_TEST_UTIL_H_

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/trainer/dataset.h"
#include "gtest/gtest.h"

namespace swiftlet::trainer_testing {

inline constexpr EventTypeId kView = 1, kRating = 6, kDislike = 7;

inline void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  ASSERT_TRUE(file.good()) << path;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Users of `num_groups` tastes: a user's next item is mostly the one that follows the last in the group's
// cycle, so that a model that looks at the newest event beats one that does not.
inline Dataset CyclicData(uint32_t num_users, uint32_t num_groups, uint32_t items_of_group,
                          uint32_t events_of_user, uint64_t seed) {
  std::mt19937_64 random(seed);
  DatasetBuilder builder(EventTypeTable::Default());
  for (uint32_t u = 0; u < num_users; ++u) {
    const uint32_t group = u % num_groups;
    uint32_t at = static_cast<uint32_t>(random() % items_of_group);
    for (uint32_t e = 0; e < events_of_user; ++e) {
      at = (at + 1 + (random() % 8 == 0 ? 1 : 0)) % items_of_group;
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("i", group * items_of_group + at), kRating,
                       static_cast<float>(1 + random() % 5), 1'000'000 + int64_t{e} * 60'000);
    }
  }
  return *builder.Build();
}

}  // namespace swiftlet::trainer_testing

#endif  // SWIFTLET_TESTS_UNIT_ENGINE_TRAINER_TRAINER_TEST_UTIL_H_

// user_vectors.sst for random snapshots.
//
//   PublishRandomSnapshot(models, {.num_users = 50, .write_user_vectors = RandomUserVectors(50,
//   /*seed=*/1)});
#ifndef SWIFTLET_TESTS_TESTING_RANDOM_USER_VECTORS_H_
#define SWIFTLET_TESTS_TESTING_RANDOM_USER_VECTORS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace swiftlet::testing {

// The long-term vector that RandomUserVectors writes for user "user-<user>".
std::vector<float> RandomUserVector(uint64_t user, uint64_t seed, uint32_t dim);

// Writes vectors of the users "user-0" .. "user-<num_users - 1>".
std::function<absl::Status(const std::string& path, uint32_t dim)> RandomUserVectors(uint64_t num_users,
                                                                                     uint64_t seed);

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_TESTING_RANDOM_USER_VECTORS_H_

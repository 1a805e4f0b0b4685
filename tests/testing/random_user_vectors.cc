#include "tests/testing/random_user_vectors.h"

#include <cmath>
#include <map>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/user_vector_file.h"

namespace swiftlet::testing {

std::vector<float> RandomUserVector(uint64_t user, uint64_t seed, uint32_t dim) {
  std::mt19937_64 random(seed * 1'000'003 + user);
  std::normal_distribution<double> normal(0.0, 1.0 / std::sqrt(static_cast<double>(dim)));
  std::vector<float> vector(dim);
  for (float& v : vector) v = static_cast<float>(normal(random));
  return vector;
}

std::function<absl::Status(const std::string& path, uint32_t dim)> RandomUserVectors(uint64_t num_users,
                                                                                     uint64_t seed) {
  return [num_users, seed](const std::string& path, uint32_t dim) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<UserVectorFileWriter> writer,
                              UserVectorFileWriter::Create(path, dim));
    std::map<std::string, uint64_t> users;  // in byte order
    for (uint64_t i = 0; i < num_users; ++i) users[absl::StrCat("user-", i)] = i;
    for (const auto& [id, user] : users) {
      SWIFTLET_RETURN_IF_ERROR(writer->Add(id, RandomUserVector(user, seed, dim)));
    }
    return writer->Finish();
  };
}

}  // namespace swiftlet::testing

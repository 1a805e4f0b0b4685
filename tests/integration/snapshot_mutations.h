// Damaged and hostile snapshots, made of a good one.
#ifndef SWIFTLET_TESTS_INTEGRATION_SNAPSHOT_MUTATIONS_H_
#define SWIFTLET_TESTS_INTEGRATION_SNAPSHOT_MUTATIONS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace swiftlet::testing {

struct Mutation {
  std::string name;  // says which one it is, the seed included
  // Changes a copy of the good snapshot.
  std::function<void(const std::string& directory)> apply;
  // The refusal names one of these: the file, the field or the tensor. Empty: any file of the snapshot.
  std::vector<std::string> reasons;
  // What is changed may mean the same (a bit of white space, of a comment or of a pad): then it may be
  // loaded, and has to answer as the good one.
  bool may_mean_the_same = false;
};

// The same list for the same snapshot and seed. `good` is a directory with all three files, `other` one of
// another version, dimension and number of users.
std::vector<Mutation> MakeMutations(const std::string& good, const std::string& other, uint64_t seed);

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_INTEGRATION_SNAPSHOT_MUTATIONS_H_

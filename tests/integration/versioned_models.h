// Small snapshots whose answers tell which version they are of, and what the engine answers from each.
#ifndef SWIFTLET_TESTS_INTEGRATION_VERSIONED_MODELS_H_
#define SWIFTLET_TESTS_INTEGRATION_VERSIONED_MODELS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/mutex.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet::testing {

struct VersionedModelOptions {
  uint32_t num_items = 400;
  uint32_t dim = 16;
  uint64_t num_users = 20;  // "user-0" .. with long-term vectors
};

// Publishes a random model whose seed is the version and whose item ids begin with "v<version>-". `damage`
// may spoil the staging directory before.
void PublishVersion(const std::string& model_dir, int64_t version, const VersionedModelOptions& options = {},
                    const std::function<void(const std::string& staging)>& damage = nullptr);

// What users "user-<n>" without a history get from each version, computed by the engine here: a request that
// mixed the user vector of one version with the items of another would be answered differently. Thread-safe.
class ExpectedAnswers {
 public:
  // The version as it lies in `directory`, in answers called `version`.
  void Add(const std::string& directory, int64_t version, const VersionedModelOptions& options = {});
  // Empty when `response` is exactly what the version that it names gives this user.
  std::string Compare(uint64_t user, const v1::RecommendResponse& response) const;
  static constexpr int kNumItems = 10;

 private:
  mutable Mutex mu_;
  std::map<std::pair<int64_t, uint64_t>, std::vector<std::pair<std::string, float>>> answers_
      ABSL_GUARDED_BY(mu_);
};

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_INTEGRATION_VERSIONED_MODELS_H_

// The load of the soak: threads that call one server in every way, and check every answer.
#ifndef SWIFTLET_TESTS_SOAK_SOAK_LOAD_H_
#define SWIFTLET_TESTS_SOAK_SOAK_LOAD_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "tests/integration/server_process.h"

namespace swiftlet::soak {

// What went wrong, by reason, with one example each; and how often each kind of call was made. Thread-safe.
class Tally {
 public:
  void Count(const std::string& kind) ABSL_LOCKS_EXCLUDED(mu_);
  // `reason`: without numbers, so that equal failures are counted together.
  void Fail(const std::string& reason, const std::string& example) ABSL_LOCKS_EXCLUDED(mu_);
  int64_t num_failures() const ABSL_LOCKS_EXCLUDED(mu_);
  std::map<std::string, int64_t> counts() const ABSL_LOCKS_EXCLUDED(mu_);
  // One line a reason: how often, an example.
  std::string Failures() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Failure {
    int64_t number = 0;
    std::string example;
  };
  mutable Mutex mu_;
  std::map<std::string, int64_t> counts_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Failure> failures_ ABSL_GUARDED_BY(mu_);
};

// Items that come and go. One thread changes them, all threads read.
//
// The phase of an item grows: 4n alive, 4n+1 being deleted, 4n+2 deleted and acknowledged, 4n+3 being added
// again.
class ChurningItems {
 public:
  explicit ChurningItems(uint32_t num_items) : phases_(num_items) {}
  static std::string Id(uint32_t i) { return "churn-" + std::to_string(i); }
  uint32_t size() const { return static_cast<uint32_t>(phases_.size()); }
  uint64_t phase(uint32_t i) const { return phases_[i].load(); }
  void Advance(uint32_t i) { phases_[i].fetch_add(1); }
  std::vector<uint64_t> Phases() const;
  // The number in the id of a churning item, or -1.
  static int64_t NumberOf(const std::string& item_id);

 private:
  std::vector<std::atomic<uint64_t>> phases_;
};

struct LoadOptions {
  uint32_t num_items = 0;  // items "item-0" .. of every snapshot
  uint32_t dim = 0;
  uint64_t num_users = 100'000;  // "user-0" ..: of the shared crowd
  uint64_t seed = 1;
};

// Starts all threads; ends them when destroyed. Calls are paced, so that the load is about the same on any
// machine that can bear it.
class Load {
 public:
  // The pointers must outlive this.
  Load(const testing::ServerProcess* server, const LoadOptions& options, Tally* tally);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Answers that began after this was set may not be of an older snapshot. A rollback lowers it first.
  void SetOldestAllowed(int64_t version) { oldest_allowed_ = version; }

 private:
  struct Stubs;
  void Recommend(uint64_t thread);
  void ReadYourWrites(uint64_t thread);
  void RecordCrowd(uint64_t thread);
  void ChurnItems();
  void EraseUsers();
  void LookAround();

  // Counts the call; false, and a failure, when it was not OK.
  bool Check(const grpc::Status& status, const std::string& kind);
  void CheckVersion(int64_t version, int64_t oldest, const std::string& kind);
  template <typename Items>
  void CheckItems(const Items& items, size_t expected, const std::vector<uint64_t>& phases_before,
                  const std::string& kind);
  // False once the load ends.
  bool Pause(double milliseconds);

  const testing::ServerProcess* const server_;
  const LoadOptions options_;
  Tally* const tally_;
  ChurningItems churning_{64};
  std::atomic<int64_t> oldest_allowed_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace swiftlet::soak

#endif  // SWIFTLET_TESTS_SOAK_SOAK_LOAD_H_

// What the database wants from time to time.
#ifndef SWIFTLET_SERVER_UPKEEP_H_
#define SWIFTLET_SERVER_UPKEEP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"
#include "server/retention_clock.h"
#include "storage/database.h"

namespace swiftlet {

// A thread that calls Database::Maintain once a minute; while writes fail, it looks every few seconds whether
// they work again. Logs when that changes, and when user vectors are found damaged.
class Upkeep {
 public:
  // now_ms: the wall clock. `database` must outlive this.
  Upkeep(Database* database, std::function<int64_t()> now_ms);
  ~Upkeep();
  Upkeep(const Upkeep&) = delete;
  Upkeep& operator=(const Upkeep&) = delete;

 private:
  void Run();
  void CheckStorage();

  Database* const database_;
  const std::function<int64_t()> now_ms_;
  RetentionClock clock_;              // of the thread alone
  bool failing_ = false;              // as logged; of the thread alone, as the next
  std::vector<std::string> damaged_;  // as logged
  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: uses the others
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_UPKEEP_H_

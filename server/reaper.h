// Frees shared objects on a thread of its own, once nobody else holds them.
//
//   reaper.Retire(slot.Exchange(next));   // request threads may still hold the old state: they drop it, the
//   reaper frees it
#ifndef SWIFTLET_SERVER_REAPER_H_
#define SWIFTLET_SERVER_REAPER_H_

#include <memory>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"

namespace swiftlet {

// Thread-safe.
class Reaper {
 public:
  Reaper();
  // Frees what is left, in use or not by others (their copies then keep it alive).
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Takes over one reference that no longer can be copied by others, but whose copies may be dropped by any
  // thread.
  void Retire(std::shared_ptr<const void> object) ABSL_LOCKS_EXCLUDED(mu_);
  // Objects that somebody still holds.
  size_t num_waiting() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run();

  mutable Mutex mu_;
  CondVar wake_;
  std::vector<std::shared_ptr<const void>> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_REAPER_H_

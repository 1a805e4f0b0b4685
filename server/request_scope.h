// Marks a thread while it answers a request, so that what must never happen there can be checked.
//
//   RequestScope scope;                                    // in the code that answers requests
//   std::shared_ptr<const T> guarded = NeverFreedByRequests(std::move(object), "the snapshot");
#ifndef SWIFTLET_SERVER_REQUEST_SCOPE_H_
#define SWIFTLET_SERVER_REQUEST_SCOPE_H_

#include <cstdlib>
#include <memory>
#include <utility>

#include "spdlog/spdlog.h"

namespace swiftlet {

// While one exists, its thread is a request thread. They may nest. One thread's own.
class RequestScope {
 public:
  RequestScope() { ++depth_; }
  ~RequestScope() { --depth_; }
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;

  // Whether this thread is answering a request.
  static bool Active() { return depth_ > 0; }

 private:
  static inline thread_local int depth_ = 0;
};

// Ends the process when a request frees `what`: that takes milliseconds for a large snapshot, and would mean
// that the hand-over to the reaper is broken.
inline void CheckNotFreedByRequest(const char* what) {
  if (!RequestScope::Active()) return;
  spdlog::critical("a request thread frees {}: a bug, it is to be handed to the reaper", what);
  spdlog::default_logger()->flush();
  std::abort();
}

// A member that checks this when its owner is destroyed.
struct NotFreedByRequests {
  NotFreedByRequests() = default;
  NotFreedByRequests(const NotFreedByRequests&) = default;
  NotFreedByRequests& operator=(const NotFreedByRequests&) = default;
  ~NotFreedByRequests() { CheckNotFreedByRequest("a serving state"); }
};

// The same object; whoever drops the last reference to what is returned must not be a request. `what` must
// outlive it.
template <typename T>
std::shared_ptr<const T> NeverFreedByRequests(std::shared_ptr<const T> object, const char* what) {
  const T* const raw = object.get();
  return {raw, [object = std::move(object), what](const T*) mutable {
            CheckNotFreedByRequest(what);
            object.reset();
          }};
}

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_REQUEST_SCOPE_H_

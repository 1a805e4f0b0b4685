// A fixed number of threads that run queued tasks in order of arrival. Thread-safe.
//
//   ThreadPool pool(4);
//   pool.Schedule([&] { ... });
//   pool.ParallelFor(rows, /*grain=*/256, [&](size_t begin, size_t end, size_t worker) { ... });
#ifndef SWIFTLET_ENGINE_BASE_THREAD_POOL_H_
#define SWIFTLET_ENGINE_BASE_THREAD_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "engine/base/mutex.h"

namespace swiftlet {

class ThreadPool {
 public:
  // num_threads of 0: one for each core.
  explicit ThreadPool(size_t num_threads);
  // Runs what is queued, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void Schedule(std::function<void()> task) ABSL_LOCKS_EXCLUDED(mu_);
  // Tasks waiting for a thread, at this moment.
  size_t QueueLength() const ABSL_LOCKS_EXCLUDED(mu_);
  size_t num_threads() const { return threads_.size(); }

  // Calls fn(begin, end, worker) over [0, n) in pieces of at most `grain`, on the pool's threads and the
  // caller's, and returns when all are done. worker is in [0, num_threads()]: at most one piece runs per
  // worker index at a time. Must not be called from one of the pool's own tasks. fn must not throw.
  void ParallelFor(size_t n, size_t grain, const std::function<void(size_t, size_t, size_t)>& fn);

 private:
  void Run();

  mutable Mutex mu_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;  // constant after construction
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_THREAD_POOL_H_

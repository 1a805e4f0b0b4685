#include "engine/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

namespace swiftlet {

ThreadPool::ThreadPool(size_t num_threads) {
  if (num_threads == 0) num_threads = std::max(1u, std::thread::hardware_concurrency());
  threads_.reserve(num_threads);
  for (size_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  for (std::thread& t : threads_) t.join();
}

void ThreadPool::Schedule(std::function<void()> task) {
  {
    MutexLock lock(mu_);
    queue_.push_back(std::move(task));
  }
  wake_.NotifyOne();
}

size_t ThreadPool::QueueLength() const {
  MutexLock lock(mu_);
  return queue_.size();
}

void ThreadPool::Run() {
  for (;;) {
    std::function<void()> task;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopping_) wake_.Wait(mu_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

void ThreadPool::ParallelFor(size_t n, size_t grain, const std::function<void(size_t, size_t, size_t)>& fn) {
  if (n == 0) return;
  grain = std::max<size_t>(grain, 1);
  // Shared, because a helper task may be dequeued only after all pieces are done and this call has returned.
  struct State {
    std::atomic<size_t> next{0};
    Mutex mu;
    CondVar done;
    size_t remaining ABSL_GUARDED_BY(mu) = 0;
  };
  auto state = std::make_shared<State>();
  const size_t num_pieces = (n + grain - 1) / grain;
  {
    MutexLock lock(state->mu);
    state->remaining = num_pieces;
  }
  // `fn` is touched only by a task that won a piece, and the call does not return before every piece is done.
  auto work = [state, n, grain, num_pieces, &fn](size_t worker) {
    for (;;) {
      const size_t piece = state->next.fetch_add(1);
      if (piece >= num_pieces) return;
      fn(piece * grain, std::min(n, (piece + 1) * grain), worker);
      MutexLock lock(state->mu);
      if (--state->remaining == 0) state->done.NotifyAll();
    }
  };
  const size_t helpers = std::min(num_threads(), num_pieces - 1);
  for (size_t i = 0; i < helpers; ++i) Schedule([work, i] { work(i + 1); });
  work(0);
  MutexLock lock(state->mu);
  while (state->remaining > 0) state->done.Wait(state->mu);
}

}  // namespace swiftlet

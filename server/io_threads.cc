#include "server/io_threads.h"

#include <grpc/support/cpu.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace swiftlet {
namespace {

constexpr absl::Duration kWakeInterval = absl::Milliseconds(250);  // a thread sleeps after a second
constexpr absl::Duration kStartLimit = absl::Seconds(5);

// The threads of gRPC's callback queue, shared by all servers and channels of the process.
constexpr char kThreadName[] = "nexting_thread";
int NumCallbackThreads() { return static_cast<int>(std::clamp(gpr_cpu_num_cores() / 2, 2u, 16u)); }

bool OnCallbackThread() {
  char name[16] = {};
  return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 && std::strcmp(name, kThreadName) == 0;
}

// CPUs that the control group (version 2) may use; 0: no limit.
double CpuQuota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // "max 100000" or "150000 100000"
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace

int AvailableCpus() {
  cpu_set_t affinity;
  int cpus = sched_getaffinity(0, sizeof(affinity), &affinity) == 0
                 ? CPU_COUNT(&affinity)
                 : static_cast<int>(std::thread::hardware_concurrency());
  if (const double quota = CpuQuota(); quota > 0) {
    cpus = static_cast<int>(std::min(static_cast<double>(cpus), std::ceil(quota)));
  }
  return std::max(cpus, 1);
}

struct IoThreads::Impl {
  // A call that fails at once, on a channel that leads nowhere; its callback runs on one of gRPC's threads.
  // It must outlive its callback, and not go there: whoever lets go of the last channel waits for those
  // threads.
  struct DeadCall {
    grpc::ClientContext context;
    grpc::ByteBuffer request, response;
  };

  template <typename Callback>
  void Make(DeadCall& call, Callback callback) {
    const grpc::Slice byte("\0", 1);
    call.request = grpc::ByteBuffer(&byte, 1);
    stub.UnaryCall(&call.context, "/none/None", grpc::StubOptions(), &call.request, &call.response,
                   [callback](const grpc::Status&) { callback(); });
  }

  // On one of gRPC's threads: keeps it until the end.
  void Hold() {
    MutexLock lock(mu);
    if (OnCallbackThread()) {
      ++num_held;
      changed.NotifyAll();
      while (!stopping) changed.Wait(mu);
      --num_held;
    } else {
      other_grpc = true;
    }
    --num_calls;
    changed.NotifyAll();
  }

  // Until the end: sees to it that some thread is awake. Who takes up a call is awake when the next one
  // comes.
  void WakeUp() {
    MutexLock lock(mu);
    while (!stopping) {
      if (!waking) {
        waking = true;
        ++num_calls;
        mu.Unlock();
        wake_call = std::make_unique<DeadCall>();
        Make(*wake_call, [this] {
          MutexLock ended(mu);
          waking = false;
          --num_calls;
          changed.NotifyAll();
        });
        mu.Lock();
      }
      stop.WaitFor(mu, kWakeInterval);
    }
  }

  grpc::GenericStub stub{grpc::CreateChannel("none", nullptr)};  // no credentials: every call fails
  Mutex mu;
  CondVar changed, stop;
  bool stopping ABSL_GUARDED_BY(mu) = false;
  bool waking ABSL_GUARDED_BY(mu) = false;
  bool other_grpc ABSL_GUARDED_BY(mu) = false;
  int num_calls ABSL_GUARDED_BY(mu) = 0;  // whose callbacks have not returned
  int num_held ABSL_GUARDED_BY(mu) = 0;   // of these, those that keep a thread
  std::thread waker;
  std::vector<std::unique_ptr<DeadCall>> hold_calls;  // of the thread that makes this
  std::unique_ptr<DeadCall> wake_call;                // of `waker`
};

IoThreads::IoThreads(int num_threads) : impl_(std::make_unique<Impl>()) {
  Impl& i = *impl_;
  const int num_wanted = std::max(1, num_threads > 0 ? num_threads : AvailableCpus());
  const int num_superfluous = std::max(0, NumCallbackThreads() - num_wanted);
  const absl::Time deadline = absl::Now() + kStartLimit;
  MutexLock lock(i.mu);
  while (i.num_held < num_superfluous && !i.other_grpc && absl::Now() < deadline) {
    // One after the other: a second call could wait behind the first on the same thread.
    const int num_before = i.num_held;
    ++i.num_calls;
    i.mu.Unlock();
    i.hold_calls.push_back(std::make_unique<Impl::DeadCall>());
    i.Make(*i.hold_calls.back(), [&i] { i.Hold(); });
    i.mu.Lock();
    while (i.num_held == num_before && !i.other_grpc && absl::Now() < deadline) {
      i.changed.WaitFor(i.mu, deadline - absl::Now());
    }
  }
  i.waker = std::thread([&i] { i.WakeUp(); });
}

IoThreads::~IoThreads() {
  Impl& i = *impl_;
  {
    MutexLock lock(i.mu);
    i.stopping = true;
    i.stop.NotifyAll();
    i.changed.NotifyAll();
  }
  i.waker.join();
  MutexLock lock(i.mu);
  while (i.num_calls > 0) i.changed.Wait(i.mu);
}

int IoThreads::num_threads() const {
  MutexLock lock(impl_->mu);
  return impl_->other_grpc ? 0 : NumCallbackThreads() - impl_->num_held;
}

}  // namespace swiftlet

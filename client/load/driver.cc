#include "client/load/driver.h"

#include <grpc/grpc.h>
#include <time.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/load/worker.h"
#include "engine/base/mutex.h"

namespace swiftlet::load {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

// How late an interrupt may be noticed.
constexpr absl::Duration kLook = absl::Milliseconds(20);

double ProcessCpuSeconds() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

Clock::duration ToClock(absl::Duration duration) { return absl::ToChronoNanoseconds(duration); }

// A share of `total` for each of n, differing by at most 1.
int Share(int total, int n, int i) { return total / n + (i < total % n ? 1 : 0); }

}  // namespace

void Interrupt() { interrupted = true; }
bool Interrupted() { return interrupted; }

struct Driver::Impl {
  Impl() { grpc_init(); }
  ~Impl() {
    workers.clear();
    grpc_shutdown();
  }

  // Until `time`, all workers are done, or an interrupt; false for the latter two.
  bool WaitUntil(Clock::time_point time) {
    MutexLock lock(mu);
    while (num_running > 0 && !Interrupted()) {
      const Clock::time_point now = Clock::now();
      if (now >= time) return true;
      changed.WaitFor(mu, std::min(kLook, absl::FromChrono(time - now)));
    }
    return false;
  }

  std::vector<std::unique_ptr<Worker>> workers;
  Mutex mu;
  CondVar changed;
  int num_running ABSL_GUARDED_BY(mu) = 0;
};

Driver::Driver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Driver::~Driver() = default;
int Driver::num_workers() const { return static_cast<int>(impl_->workers.size()); }

absl::StatusOr<std::unique_ptr<Driver>> Driver::Create(const DriverOptions& options) {
  if (options.address.empty()) return absl::InvalidArgumentError("address: is empty");
  if (options.threads < 1 || options.threads > options.channels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "threads: ", options.threads, " is not in [1, number of channels = ", options.channels, "]"));
  }
  if (options.timeout <= absl::ZeroDuration()) return absl::InvalidArgumentError("timeout: is not positive");
  auto impl = std::make_unique<Impl>();
  for (int i = 0; i < options.threads; ++i) {
    impl->workers.push_back(std::make_unique<Worker>(
        options.address, Share(options.channels, options.threads, i), options.timeout, options.security));
  }
  return std::unique_ptr<Driver>(new Driver(std::move(impl)));
}

WindowStats Driver::Run(const WindowOptions& options, const std::vector<CallSource*>& sources) {
  const int n = num_workers();
  Schedule schedule;
  schedule.rate = options.rate.value_or(0) / n;
  schedule.poisson = options.poisson;
  schedule.spin = options.spin;
  schedule.event = options.event;
  const Clock::time_point start = Clock::now();
  schedule.begin = start + ToClock(options.warmup);
  const Clock::time_point planned_end = schedule.begin + ToClock(options.duration);
  schedule.end = planned_end.time_since_epoch().count();

  std::vector<WindowStats> stats(n);
  std::vector<std::thread> threads;
  {
    MutexLock lock(impl_->mu);
    impl_->num_running = n;
  }
  for (int i = 0; i < n; ++i) {
    const int slots = std::max(1, Share(options.rate ? options.max_in_flight : options.concurrency, n, i));
    threads.emplace_back([&, i, slots] {
      impl_->workers[i]->Run(schedule, slots, options.seed + static_cast<uint64_t>(i), *sources[i], stats[i]);
      MutexLock lock(impl_->mu);
      if (--impl_->num_running == 0) impl_->changed.NotifyAll();
    });
  }
  const auto server_cpu = [&] { return options.server_cpu ? options.server_cpu() : -1.0; };
  WindowStats total;
  impl_->WaitUntil(schedule.begin);
  const double server_before = server_cpu(), client_before = ProcessCpuSeconds();
  const bool whole = impl_->WaitUntil(planned_end);
  const Clock::time_point end = std::min(planned_end, Clock::now());
  const double server_after = server_cpu(), client_after = ProcessCpuSeconds();
  if (!whole) schedule.end = std::max(end, schedule.begin).time_since_epoch().count();
  for (std::thread& thread : threads) thread.join();

  for (const WindowStats& worker : stats) total.Merge(worker);
  total.seconds = std::max(0.0, std::chrono::duration<double>(end - schedule.begin).count());
  total.offered_rate = options.rate.value_or(0);
  if (server_before >= 0 && server_after >= server_before) {
    total.server_cpu_seconds = server_after - server_before;
  }
  total.client_cpu_seconds = client_after - client_before;
  total.interrupted = Interrupted();
  return total;
}

}  // namespace swiftlet::load

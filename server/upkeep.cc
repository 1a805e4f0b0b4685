#include "server/upkeep.h"

#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

constexpr absl::Duration kMaintenanceInterval = absl::Minutes(1);
constexpr absl::Duration kStorageCheckInterval = absl::Seconds(5);

int64_t SteadyClockMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Upkeep::Upkeep(Database* database, std::function<int64_t()> now_ms)
    : database_(database), now_ms_(std::move(now_ms)), thread_([this] { Run(); }) {}

Upkeep::~Upkeep() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

void Upkeep::Run() {
  absl::Time next_maintenance = absl::Now();
  for (;;) {
    CheckStorage();
    if (absl::Now() >= next_maintenance) {
      if (absl::Status status = database_->Maintain(clock_.Now(now_ms_(), SteadyClockMs())); !status.ok()) {
        spdlog::error("upkeep of the database: {}", std::string(status.message()));
      }
      next_maintenance = absl::Now() + kMaintenanceInterval;
    }
    const absl::Time next = absl::Now() + kStorageCheckInterval;
    MutexLock lock(mu_);
    while (!stopping_ && absl::Now() < next) wake_.WaitFor(mu_, next - absl::Now());
    if (stopping_) return;
  }
}

void Upkeep::CheckStorage() {
  absl::Status status = database_->LastWrite();
  if (!status.ok()) {
    if (!failing_) {
      spdlog::error("storage: a write failed, trying again every {}: {}",
                    absl::FormatDuration(kStorageCheckInterval), std::string(status.message()));
    }
    failing_ = true;
    status = database_->CheckWritable();
  }
  if (failing_ && status.ok()) {
    spdlog::info("storage: writes succeed again");
    failing_ = false;
  }
  std::vector<std::string> damaged = database_->DamagedUserVectors();
  if (damaged == damaged_) return;
  for (const std::string& what : damaged) {
    spdlog::error("storage: users are served without their long-term vectors until a snapshot is loaded: {}",
                  what);
  }
  damaged_ = std::move(damaged);
}

}  // namespace swiftlet

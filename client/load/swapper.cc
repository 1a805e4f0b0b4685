#include "client/load/swapper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/rpc_status.h"
#include "engine/base/status_macros.h"

namespace swiftlet::load {
namespace {

constexpr absl::Duration kLoadTimeout = absl::Minutes(2);
constexpr absl::Duration kGoneTimeout = absl::Minutes(1);
constexpr absl::Duration kPoll = absl::Milliseconds(10);

// Not yet gone from memory.
bool IsResident(v1::SnapshotState state) {
  return state == v1::SNAPSHOT_STATE_SERVING || state == v1::SNAPSHOT_STATE_DRAINING;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Swapper>> Swapper::Start(const std::string& address,
                                                        const ChannelSecurity& security,
                                                        std::vector<int64_t> versions, absl::Duration first,
                                                        absl::Duration every, int num_swaps) {
  if (versions.empty()) return absl::InvalidArgumentError("no versions to swap");
  SWIFTLET_ASSIGN_OR_RETURN(
      std::unique_ptr<Client> client,
      Client::Connect(
          {.address = address, .user_agent = "swiftlet-load", .max_attempts = 1, .security = security}));
  SWIFTLET_ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse list, client->ListSnapshots());
  for (const int64_t version : versions) {
    const bool known =
        std::any_of(list.snapshots().begin(), list.snapshots().end(),
                    [version](const v1::SnapshotInfo& info) { return info.version() == version; });
    if (!known) return absl::NotFoundError(absl::StrCat("the server has no snapshot ", version));
  }
  return std::unique_ptr<Swapper>(
      new Swapper(std::move(client), std::move(versions), first, every, num_swaps));
}

Swapper::Swapper(std::unique_ptr<Client> client, std::vector<int64_t> versions, absl::Duration first,
                 absl::Duration every, int num_swaps)
    : client_(std::move(client)),
      versions_(std::move(versions)),
      first_(first),
      every_(every),
      num_swaps_(num_swaps),
      thread_([this] { Run(); }) {}

Swapper::~Swapper() { Stop(); }

SwapReport Swapper::Stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) {
    thread_.join();
    client_->LoadSnapshot({}, {.timeout = kLoadTimeout}).status().IgnoreError();  // version 0: follow again
  }
  return report_;
}

bool Swapper::WaitUntil(absl::Time time) {
  MutexLock lock(mu_);
  while (!stopping_) {
    const absl::Duration left = time - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    changed_.WaitFor(mu_, left);
  }
  return false;
}

void Swapper::Run() {
  absl::Time next = absl::Now() + first_;
  for (size_t i = 0; num_swaps_ == 0 || static_cast<int>(i) < num_swaps_; ++i) {
    if (!WaitUntil(next)) return;
    next = absl::Now() + every_;
    const absl::Status status = Swap(versions_[i % versions_.size()]);
    swapping_ = false;
    if (!status.ok())
      report_.failures.push_back(absl::StrCat(CodeName(status.code()), ": ", std::string(status.message())));
  }
}

absl::Status Swapper::Swap(int64_t version) {
  SWIFTLET_ASSIGN_OR_RETURN(const v1::GetStatusResponse before, client_->GetStatus());
  const int64_t old_version = before.serving().version();
  if (old_version == version) return absl::OkStatus();  // nothing to swap
  v1::LoadSnapshotRequest request;
  request.set_version(version);
  const absl::Time begin = absl::Now();
  swapping_ = true;
  SWIFTLET_ASSIGN_OR_RETURN(const v1::LoadSnapshotResponse loaded,
                            client_->LoadSnapshot(request, {.timeout = kLoadTimeout}));
  for (bool resident = true; resident;) {
    SWIFTLET_ASSIGN_OR_RETURN(const v1::ListSnapshotsResponse list, client_->ListSnapshots());
    resident = false;
    for (const v1::SnapshotInfo& info : list.snapshots()) {
      resident |= info.version() == old_version && IsResident(info.state());
    }
    if (!resident) break;
    if (absl::Now() - begin > kGoneTimeout) {
      return absl::DeadlineExceededError(absl::StrCat("snapshot ", old_version, " is still there ",
                                                      absl::FormatDuration(kGoneTimeout), " after ", version,
                                                      " took its place"));
    }
    absl::SleepFor(kPoll);
  }
  ++report_.num_swaps;
  report_.ready_seconds.push_back(loaded.seconds());
  report_.window_seconds.push_back(absl::ToDoubleSeconds(absl::Now() - begin));
  return absl::OkStatus();
}

}  // namespace swiftlet::load

#include "client/event_load.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/event_id.h"
#include "client/rpc_status.h"
#include "engine/base/mutex.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

// Of a server that was never reached: some 300 ms, as long as other calls are tried.
constexpr int kFirstAttempts = 4;
constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(2);
// How often an observer is asked.
constexpr absl::Duration kTick = absl::Milliseconds(100);
// How long a server may take to end a stream of which it has committed everything.
constexpr absl::Duration kEndOfStream = absl::Seconds(1);

// A random part, from a half, of the pause after the n-th failure in a row.
absl::Duration PauseAfterFailure(int failures) {
  thread_local std::minstd_rand generator{std::random_device()()};
  const absl::Duration longest = std::min(kLongestPause, kFirstPause * (1 << std::min(failures - 1, 10)));
  return longest * std::uniform_real_distribution<double>(0.5, 1)(generator);
}

// "batches[3].events: ..." with `first` 40: "batches[43].events: ...". Other messages stay.
absl::Status CountFrom(int64_t first, const absl::Status& error) {
  constexpr absl::string_view kPrefix = "batches[";
  const std::string message(error.message());
  const size_t end = message.find(']');
  int64_t number = 0;
  if (!absl::StartsWith(message, kPrefix) || end == std::string::npos ||
      !absl::SimpleAtoi(message.substr(kPrefix.size(), end - kPrefix.size()), &number)) {
    return error;
  }
  return absl::Status(error.code(), absl::StrCat(kPrefix, first + number, message.substr(end)));
}

}  // namespace

// Shared with the streams, which can outlive the load by the end of their last reaction.
struct EventLoad::State {
  Mutex mu;
  CondVar changed;  // a commit was told, or the stream ended
  std::deque<std::shared_ptr<v1::LoadEventsRequest>> pending ABSL_GUARDED_BY(mu);
  Progress progress ABSL_GUARDED_BY(mu);  // pending[0] is batch number progress.num_batches
  absl::Time moved ABSL_GUARDED_BY(mu);   // the last time that something was committed, or all was
};

// Sends the batches that are pending from its start on, one write after the other, and counts what the server
// says. Keeps itself alive from Start to the end of the call. Thread-safe.
class EventLoad::Stream final : public grpc::ClientBidiReactor<v1::LoadEventsRequest, v1::LoadEventsProgress>,
                                public std::enable_shared_from_this<Stream> {
 public:
  explicit Stream(std::shared_ptr<State> state) : state_(std::move(state)) {}

  void Start(const OpenStream& open) {
    self_ = shared_from_this();
    {
      MutexLock lock(state_->mu);
      start_ = state_->progress;
      next_ = start_.num_batches;
    }
    open(&context_, this);
    AddHold();  // for the writes that begin outside reactions; until nothing can be read any more
    StartRead(&in_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  // For the analysis of locks: the load's mutex is this one.
  void AssertHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK(state_->mu) {}
  // Sends what can be sent now. `finish`: then the sending side closes; `stop`: it closes now.
  void Send(bool finish, bool stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) {
    finish_ = finish;
    stop_ = stop_ || stop;
    Continue();
  }
  // Once done: the call's end, with the number of its first batch.
  bool done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) { return done_; }
  const grpc::Status& status() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) { return status_; }
  // The caller closed it, and all that was sent is committed.
  bool ended_well() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) {
    return status_.ok() && closed_ && next_ == state_->progress.num_batches;
  }
  int64_t first() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) { return start_.num_batches; }

  void OnReadDone(bool ok) override ABSL_LOCKS_EXCLUDED(state_->mu) {
    if (ok) {
      Count();
      StartRead(&in_);
      return;
    }
    {
      MutexLock lock(state_->mu);
      ended_ = true;
    }
    RemoveHold();
  }
  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(state_->mu) {
    MutexLock lock(state_->mu);
    writing_.reset();
    ended_ = ended_ || !ok;  // the read that is open fails, too
    Continue();
  }
  void OnDone(const grpc::Status& status) override ABSL_LOCKS_EXCLUDED(state_->mu) {
    // The load holds this until it sees done_. It must not end here: the end of the last channel waits for
    // gRPC's threads, of which this is one.
    const std::shared_ptr<State> state = state_;
    MutexLock lock(state_->mu);
    self_.reset();
    done_ = true;
    status_ = status;
    state_->changed.NotifyAll();
  }

 private:
  void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) {
    if (ended_ || closed_ || writing_ != nullptr) return;
    const int64_t end = state_->progress.num_batches + static_cast<int64_t>(state_->pending.size());
    if (next_ < end && !stop_) {
      writing_ = state_->pending[static_cast<size_t>(next_ - state_->progress.num_batches)];
      ++next_;
      StartWrite(writing_.get());
    } else if (finish_ || stop_) {
      closed_ = true;
      StartWritesDone();
    }
  }

  void Count() ABSL_LOCKS_EXCLUDED(state_->mu) {
    MutexLock lock(state_->mu);
    Progress& progress = state_->progress;
    // Never more than was sent, whatever the server says.
    const int64_t told = std::min(start_.num_batches + in_.num_batches(), next_);
    if (told <= progress.num_batches) return;
    while (progress.num_batches < told) {
      state_->pending.pop_front();
      ++progress.num_batches;
    }
    progress.num_recorded = start_.num_recorded + in_.num_recorded();
    progress.num_duplicates = start_.num_duplicates + in_.num_duplicates();
    state_->moved = absl::Now();
    state_->changed.NotifyAll();
  }

  const std::shared_ptr<State> state_;
  std::shared_ptr<Stream> self_;
  grpc::ClientContext context_;
  v1::LoadEventsProgress in_;  // of the read in progress
  Progress start_ ABSL_GUARDED_BY(state_->mu);
  int64_t next_ ABSL_GUARDED_BY(state_->mu) = 0;  // the batch to be sent next
  std::shared_ptr<const v1::LoadEventsRequest> writing_ ABSL_GUARDED_BY(state_->mu);
  bool finish_ ABSL_GUARDED_BY(state_->mu) = false;
  bool stop_ ABSL_GUARDED_BY(state_->mu) = false;
  bool closed_ ABSL_GUARDED_BY(state_->mu) = false;  // the sending side
  bool ended_ ABSL_GUARDED_BY(state_->mu) = false;   // nothing can be sent any more
  bool done_ ABSL_GUARDED_BY(state_->mu) = false;
  grpc::Status status_ ABSL_GUARDED_BY(state_->mu);
};

EventLoad::EventLoad(std::string address, OpenStream open_stream, RecordEvents record_events,
                     const EventLoadOptions& options)
    : address_(std::move(address)),
      open_stream_(std::move(open_stream)),
      record_events_(std::move(record_events)),
      options_(options),
      state_(std::make_shared<State>()) {}

EventLoad::~EventLoad() { Close(); }

EventLoad::Progress EventLoad::progress() const {
  MutexLock lock(state_->mu);
  return state_->progress;
}

absl::Status EventLoad::Add(v1::LoadEventsRequest batch, EventLoadObserver* observer) {
  for (v1::Event& event : *batch.mutable_events()) {
    if (event.event_id().empty()) event.set_event_id(RandomEventId());
  }
  {
    MutexLock lock(state_->mu);
    if (state_->pending.empty()) state_->moved = absl::Now();
    state_->pending.push_back(std::make_shared<v1::LoadEventsRequest>(std::move(batch)));
  }
  return WaitForRoom(observer);
}

absl::Status EventLoad::WaitForRoom(EventLoadObserver* observer) {
  EventLoadObserver silent;
  return Wait(options_.max_batches - 1, /*finish=*/false, observer != nullptr ? *observer : silent);
}

absl::Status EventLoad::Finish(EventLoadObserver* observer) {
  EventLoadObserver silent;
  return Wait(0, /*finish=*/true, observer != nullptr ? *observer : silent);
}

absl::Status EventLoad::Wait(size_t max_pending, bool finish, EventLoadObserver& observer) {
  const absl::Time begin = absl::Now();
  for (;;) {
    size_t num_pending = 0;
    {
      MutexLock lock(state_->mu);
      num_pending = state_->pending.size();
    }
    if (by_calls_) {
      if (num_pending <= max_pending) return absl::OkStatus();
      if (!observer.OnWait()) return absl::CancelledError("stopped by the caller");
      SWIFTLET_RETURN_IF_ERROR(RecordFirst());
      continue;
    }
    if (stream_ == nullptr) {
      if (num_pending == 0) return absl::OkStatus();
      Open();
    }
    bool done = false, ended_well = false, late = false;
    absl::Status error;
    {
      MutexLock lock(state_->mu);
      stream_->AssertHeld();
      stream_->Send(finish, /*stop=*/false);
      const bool enough = state_->pending.size() <= max_pending;
      if (!stream_->done() && enough && !finish) return absl::OkStatus();
      if (!stream_->done()) state_->changed.WaitFor(state_->mu, kTick);
      done = stream_->done();
      num_pending = state_->pending.size();
      if (done) {
        ended_well = stream_->ended_well();
        error = CountFrom(stream_->first(), FromGrpcStatus(stream_->status(), "LoadEvents", address_));
      } else if (num_pending == 0) {
        late = finish && absl::Now() - std::max(begin, state_->moved) > kEndOfStream;
      } else {
        late = absl::Now() - state_->moved > options_.timeout;
      }
    }
    if (late) {
      Close();
      if (num_pending == 0) return absl::OkStatus();
      return absl::DeadlineExceededError(absl::StrCat("nothing was committed for ",
                                                      absl::FormatDuration(options_.timeout),
                                                      " [LoadEvents at ", address_, "]"));
    }
    if (done) {
      stream_.reset();
      // Whatever it ended with; or it was closed before there was more to send, which takes another.
      if (num_pending == 0 || ended_well) continue;
      if (error.ok()) {
        error = absl::InternalError(
            absl::StrCat("the server ended the stream early [LoadEvents at ", address_, "]"));
      }
      SWIFTLET_RETURN_IF_ERROR(Recover(error, observer));
    } else if (!observer.OnWait()) {
      return absl::CancelledError("stopped by the caller");
    }
  }
}

absl::Status EventLoad::Recover(const absl::Status& error, EventLoadObserver& observer) {
  if (absl::IsUnimplemented(error)) {
    by_calls_ = true;
    observer.OnFallback();
    return absl::OkStatus();
  }
  if (!absl::IsUnavailable(error) && !absl::IsResourceExhausted(error)) return error;
  const int64_t num_batches = progress().num_batches;
  const absl::Time now = absl::Now();
  if (num_batches > batches_at_failure_ || failures_ == 0) {
    failures_ = 0;
    batches_at_failure_ = num_batches;
    broken_since_ = now;
  }
  ++failures_;
  const bool never_reached = num_batches == 0 && absl::IsUnavailable(error);
  const absl::Time until = now + PauseAfterFailure(failures_);
  if ((never_reached && failures_ >= kFirstAttempts) || until - broken_since_ >= options_.timeout) {
    failures_ = 0;  // the caller may try again
    return error;
  }
  if (failures_ == 1 && !never_reached) observer.OnRetry(error);
  for (absl::Time time = now; time < until; time = absl::Now()) {
    absl::SleepFor(std::min(kTick, until - time));
    if (!observer.OnWait()) return absl::CancelledError("stopped by the caller");
  }
  return absl::OkStatus();
}

absl::Status EventLoad::RecordFirst() {
  std::shared_ptr<v1::LoadEventsRequest> batch;
  int64_t number = 0;
  {
    MutexLock lock(state_->mu);
    batch = state_->pending.front();
    number = state_->progress.num_batches;
  }
  v1::RecordEventsRequest request;
  request.mutable_events()->Swap(batch->mutable_events());
  v1::RecordEventsResponse response;
  const absl::Status status = record_events_(request, &response);
  if (!status.ok()) {
    request.mutable_events()->Swap(batch->mutable_events());
    if (!absl::IsInvalidArgument(status)) return status;
    return absl::InvalidArgumentError(absl::StrCat("batches[", number, "].", status.message()));
  }
  MutexLock lock(state_->mu);
  state_->pending.pop_front();
  ++state_->progress.num_batches;
  state_->progress.num_recorded += response.num_recorded();
  state_->progress.num_duplicates += response.num_duplicates();
  return absl::OkStatus();
}

void EventLoad::Open() {
  {
    MutexLock lock(state_->mu);
    state_->moved = absl::Now();
  }
  stream_ = std::make_shared<Stream>(state_);
  stream_->Start(open_stream_);
}

void EventLoad::Close() {
  if (stream_ == nullptr) return;
  stream_->Cancel();
  MutexLock lock(state_->mu);
  stream_->AssertHeld();
  while (!stream_->done()) state_->changed.Wait(state_->mu);
  stream_.reset();
}

void EventLoad::Stop(absl::Duration timeout) {
  if (stream_ == nullptr) return;
  const absl::Time until = absl::Now() + timeout;
  {
    MutexLock lock(state_->mu);
    stream_->AssertHeld();
    stream_->Send(/*finish=*/true, /*stop=*/true);
    for (absl::Time now = absl::Now(); !stream_->done() && now < until; now = absl::Now()) {
      state_->changed.WaitFor(state_->mu, until - now);
    }
  }
  Close();
}

bool EventLoad::RemoveEvent(size_t index) {
  if (stream_ != nullptr) return false;
  MutexLock lock(state_->mu);
  if (state_->pending.empty()) return false;
  v1::LoadEventsRequest& batch = *state_->pending.front();
  if (index >= static_cast<size_t>(batch.events_size())) return false;
  batch.mutable_events()->DeleteSubrange(static_cast<int>(index), 1);
  if (batch.events_size() == 0) {
    state_->pending.pop_front();
    ++state_->progress.num_batches;
  }
  return true;
}

}  // namespace swiftlet

#include "client/load/worker.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/load/driver.h"
#include "client/rpc_status.h"

namespace swiftlet::load {
namespace {

// Looked at this often whether the sending thread is done.
constexpr int kPollMs = 20;
// A call that was to be sent just before the end of the window is still sent.
constexpr auto kGrace = std::chrono::milliseconds(20);

std::string_view View(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

// Until `time`, or a little longer.
void SleepUntil(Clock::time_point time) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  const timespec until = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

// The caller's.
grpc_channel_credentials* MakeCredentials(const ChannelSecurity& security) {
  if (!security.tls) return grpc_insecure_credentials_create();
  grpc_ssl_pem_key_cert_pair pair = {.private_key = security.private_key.c_str(),
                                     .cert_chain = security.certificate.c_str()};
  return grpc_ssl_credentials_create(security.ca.empty() ? nullptr : security.ca.c_str(),
                                     security.private_key.empty() ? nullptr : &pair, nullptr, nullptr);
}

// The times at which an open loop is to send.
class Arrivals {
 public:
  Arrivals(const Schedule& schedule, uint64_t seed, Clock::time_point start)
      : rate_(schedule.rate), poisson_(schedule.poisson), random_(seed), start_(start) {
    Advance();
  }
  Clock::time_point next() const {
    return start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds_));
  }
  void Advance() { seconds_ += (poisson_ ? random_.Exponential() : 1) / rate_; }

 private:
  const double rate_;
  const bool poisson_;
  Random random_;
  const Clock::time_point start_;
  double seconds_ = 0;
};

}  // namespace

struct Worker::Slot {
  Slot() {
    grpc_metadata_array_init(&initial);
    grpc_metadata_array_init(&trailing);
  }
  ~Slot() {
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
  }

  Call call;
  Channel* channel = nullptr;
  Clock::time_point intended;
  bool began_in_event = false;
  grpc_call* handle = nullptr;
  grpc_byte_buffer* request = nullptr;
  grpc_byte_buffer* answer = nullptr;
  grpc_metadata_array initial, trailing;
  grpc_status_code code = GRPC_STATUS_OK;
  grpc_slice message = grpc_empty_slice();
  // Orders the writes of the sending thread before the reads of the polling one, which gRPC's own queue does
  // too, but not where a race detector sees it.
  std::atomic<bool> started{false};
};

Worker::Worker(const std::string& address, int num_channels, absl::Duration timeout,
               const ChannelSecurity& security)
    : timeout_(gpr_time_from_nanos(absl::ToInt64Nanoseconds(timeout), GPR_TIMESPAN)),
      authorization_(security.token.empty()
                         ? grpc_empty_slice()
                         : grpc_slice_from_copied_string(("Bearer " + security.token).c_str())),
      queue_(grpc_completion_queue_create_for_next(nullptr)) {
  std::array<grpc_arg, 4> arguments = {};
  // Connections of their own, and no retries: what the server answers is what is counted.
  arguments[0] = {.type = GRPC_ARG_INTEGER,
                  .key = const_cast<char*>(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL),
                  .value = {.integer = 1}};
  arguments[1] = {
      .type = GRPC_ARG_INTEGER, .key = const_cast<char*>(GRPC_ARG_ENABLE_RETRIES), .value = {.integer = 0}};
  arguments[2] = {.type = GRPC_ARG_INTEGER,
                  .key = const_cast<char*>(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH),
                  .value = {.integer = -1}};
  arguments[3] = {.type = GRPC_ARG_STRING,
                  .key = const_cast<char*>(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG),
                  .value = {.string = const_cast<char*>(security.server_name.c_str())}};
  const size_t num_arguments = security.server_name.empty() ? 3 : 4;
  const grpc_channel_args channel_arguments = {.num_args = num_arguments, .args = arguments.data()};
  grpc_channel_credentials* credentials = MakeCredentials(security);
  for (int i = 0; i < num_channels; ++i) {
    auto channel = std::make_unique<Channel>();
    channel->channel = grpc_channel_create(address.c_str(), credentials, &channel_arguments);
    for (int kind = 0; kind < kNumKinds; ++kind) {
      channel->methods[kind] =
          grpc_channel_register_call(channel->channel, MethodOf(static_cast<Kind>(kind)), nullptr, nullptr);
    }
    channels_.push_back(std::move(channel));
  }
  grpc_channel_credentials_release(credentials);
}

Worker::~Worker() {
  grpc_completion_queue_shutdown(queue_);
  while (grpc_completion_queue_next(queue_, gpr_inf_future(GPR_CLOCK_REALTIME), nullptr).type !=
         GRPC_QUEUE_SHUTDOWN) {
  }
  grpc_completion_queue_destroy(queue_);
  grpc_slice_unref(authorization_);
  for (const auto& channel : channels_) grpc_channel_destroy(channel->channel);
}

void Worker::Start(Slot& slot, Clock::time_point intended) {
  Channel& channel = *channels_[next_channel_.fetch_add(1, std::memory_order_relaxed) % channels_.size()];
  slot.channel = &channel;
  slot.intended = intended;
  slot.began_in_event = schedule_->event != nullptr && schedule_->event->load(std::memory_order_relaxed);
  slot.call.version_before = channel.newest_version.load(std::memory_order_relaxed);
  slot.initial.count = slot.trailing.count = 0;
  slot.answer = nullptr;
  grpc_slice bytes = grpc_slice_from_copied_buffer(slot.call.request.data(), slot.call.request.size());
  slot.request = grpc_raw_byte_buffer_create(&bytes, 1);
  grpc_slice_unref(bytes);
  slot.handle =
      grpc_channel_create_registered_call(channel.channel, nullptr, GRPC_PROPAGATE_DEFAULTS, queue_,
                                          channel.methods[static_cast<int>(slot.call.kind)],
                                          gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), timeout_), nullptr);
  std::array<grpc_op, 6> ops = {};
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  grpc_metadata metadata = {};
  if (GRPC_SLICE_LENGTH(authorization_) > 0) {
    metadata.key = grpc_slice_from_static_string("authorization");
    metadata.value = authorization_;
    ops[0].data.send_initial_metadata.metadata = &metadata;
    ops[0].data.send_initial_metadata.count = 1;
  }
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = slot.request;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata = &slot.initial;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &slot.answer;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata = &slot.trailing;
  ops[5].data.recv_status_on_client.status = &slot.code;
  ops[5].data.recv_status_on_client.status_details = &slot.message;
  slot.started.store(true, std::memory_order_release);
  const grpc_call_error error = grpc_call_start_batch(slot.handle, ops.data(), ops.size(), &slot, nullptr);
  if (error != GRPC_CALL_OK) {
    std::fprintf(stderr, "grpc_call_start_batch: %s\n", grpc_call_error_to_string(error));
    std::abort();
  }
}

Worker::Slot* Worker::Poll(gpr_timespec deadline) {
  const grpc_event event = grpc_completion_queue_next(queue_, deadline, nullptr);
  if (event.type != GRPC_OP_COMPLETE) return nullptr;
  auto* slot = static_cast<Slot*>(event.tag);
  slot->started.load(std::memory_order_acquire);
  return slot;
}

bool Worker::Finish(Slot& slot, Clock::time_point now) {
  const auto code = static_cast<absl::StatusCode>(
      slot.code >= 0 && slot.code < kNumCodes ? slot.code : GRPC_STATUS_UNKNOWN);
  const Call& call = slot.call;
  const Kind kind = call.kind;
  Verdict verdict;
  grpc_byte_buffer_reader reader;
  if (code == absl::StatusCode::kOk && slot.answer != nullptr &&
      grpc_byte_buffer_reader_init(&reader, slot.answer) != 0) {
    // The whole of the answer in one piece; no copy where it came as one.
    const grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
    verdict = source_->OnAnswer(slot.call, code, View(whole));
    grpc_slice_unref(whole);
    grpc_byte_buffer_reader_destroy(&reader);
  } else {
    verdict = source_->OnAnswer(slot.call, code, {});
  }
  if (verdict.version > 0) {
    std::atomic<int64_t>& newest = slot.channel->newest_version;
    if (verdict.version > newest.load(std::memory_order_relaxed)) {
      newest.store(verdict.version, std::memory_order_relaxed);  // only this thread writes
    }
  }
  const Kind next_kind = slot.call.kind;
  slot.call.kind = kind;
  Count(slot, code, code == absl::StatusCode::kOk ? std::string_view() : View(slot.message), verdict, now);
  slot.call.kind = next_kind;
  grpc_slice_unref(slot.message);
  slot.message = grpc_empty_slice();
  grpc_byte_buffer_destroy(slot.request);
  if (slot.answer != nullptr) grpc_byte_buffer_destroy(slot.answer);
  slot.answer = nullptr;
  grpc_call_unref(slot.handle);
  return verdict.follow_up;
}

void Worker::Count(const Slot& slot, absl::StatusCode code, std::string_view message, const Verdict& verdict,
                   Clock::time_point now) {
  const Clock::time_point begin = schedule_->begin, end = schedule_->End();
  const bool good = code == absl::StatusCode::kOk && verdict.wrong.empty();
  if (now >= begin && now < end) {
    ++stats_->completed;
    if (good) ++stats_->completed_good;
  }
  if (slot.intended < begin || slot.intended >= end) return;
  KindStats& kind = stats_->kinds[static_cast<size_t>(slot.call.kind)];
  ++kind.by_code[static_cast<size_t>(code)];
  const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now - slot.intended).count();
  if (code != absl::StatusCode::kOk) stats_->refusal.Add(ns);
  if (good) {
    kind.latency.Add(ns);
    if (schedule_->event != nullptr) {
      const bool during = slot.began_in_event || schedule_->event->load(std::memory_order_relaxed);
      (during ? stats_->during_event : stats_->outside_event).Add(ns);
    }
    const auto second = static_cast<size_t>((slot.intended - begin) / std::chrono::seconds(1));
    while (stats_->by_second.size() <= second) stats_->by_second.emplace_back(WindowStats::kSecondBits);
    stats_->by_second[second].Add(ns);
    return;
  }
  if (code == absl::StatusCode::kOk) ++kind.wrong;
  stats_->CountFailure(code == absl::StatusCode::kOk
                           ? absl::StrCat(std::string(KindName(slot.call.kind)), ": ", verdict.wrong)
                           : absl::StrCat(std::string(KindName(slot.call.kind)), ": ", CodeName(code), ": ",
                                          std::string(message)),
                       1);
}

void Worker::Run(const Schedule& schedule, int slots, uint64_t seed, CallSource& source, WindowStats& stats) {
  schedule_ = &schedule;
  source_ = &source;
  stats_ = &stats;
  prctl(PR_SET_TIMERSLACK, 1);
  while (static_cast<int>(slots_.size()) < slots) slots_.push_back(std::make_unique<Slot>());
  if (schedule.rate == 0) {
    RunClosed(slots);
  } else if (schedule.spin) {
    RunSpinning(slots, seed);
  } else {
    RunOpen(slots, seed);
  }
}

void Worker::RunClosed(int slots) {
  int in_flight = 0;
  const auto next = [&](Slot& slot, Clock::time_point now) {
    if (now >= schedule_->End() || !source_->Next(slot.call)) return;
    Start(slot, now);
    ++in_flight;
  };
  for (int i = 0; i < slots; ++i) next(*slots_[i], Clock::now());
  while (in_flight > 0) {
    Slot* slot = Poll(gpr_inf_future(GPR_CLOCK_REALTIME));  // every call has a deadline
    const Clock::time_point now = Clock::now();
    --in_flight;
    if (Finish(*slot, now)) {
      Start(*slot, now);
      ++in_flight;
    } else {
      next(*slot, Clock::now());
    }
  }
}

void Worker::RunSpinning(int slots, uint64_t seed) {
  std::vector<Slot*> free;
  for (int i = 0; i < slots; ++i) free.push_back(slots_[i].get());
  Arrivals arrivals(*schedule_, seed, Clock::now());
  const gpr_timespec at_once = gpr_inf_past(GPR_CLOCK_REALTIME);
  bool more = true;
  while (more || static_cast<int>(free.size()) < slots) {
    if (Slot* slot = Poll(at_once); slot != nullptr) {
      const Clock::time_point now = Clock::now();
      if (Finish(*slot, now)) {
        Start(*slot, now);
      } else {
        free.push_back(slot);
      }
    }
    const Clock::time_point now = Clock::now();
    more = more && arrivals.next() < schedule_->End() && now < schedule_->End() + kGrace;
    if (!more || free.empty() || now < arrivals.next()) continue;
    if (!source_->Next(free.back()->call)) {
      more = false;
      continue;
    }
    if (arrivals.next() >= schedule_->begin) stats_->send_lag.Add((now - arrivals.next()).count());
    Start(*free.back(), arrivals.next());
    free.pop_back();
    arrivals.Advance();
  }
  if (!Interrupted()) {
    for (; arrivals.next() < schedule_->End(); arrivals.Advance()) ++stats_->unsent;
  }
}

void Worker::RunOpen(int slots, uint64_t seed) {
  {
    MutexLock lock(mu_);
    free_.clear();
    for (int i = 0; i < slots; ++i) free_.push_back(slots_[i].get());
    in_flight_ = 0;
    sent_all_ = false;
  }
  std::thread sender([this, seed] { SendOnTime(seed); });
  for (;;) {
    Slot* slot = Poll(gpr_time_add(gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(kPollMs, GPR_TIMESPAN)));
    bool again = false;
    if (slot != nullptr) {
      const Clock::time_point now = Clock::now();
      again = Finish(*slot, now);
      if (again) Start(*slot, now);
    }
    MutexLock lock(mu_);
    if (slot != nullptr && !again) {
      --in_flight_;
      free_.push_back(slot);
      if (free_.size() == 1) slot_free_.NotifyAll();
    }
    if (sent_all_ && in_flight_ == 0) break;
  }
  sender.join();
}

void Worker::SendOnTime(uint64_t seed) {
  prctl(PR_SET_TIMERSLACK, 1);
  Arrivals arrivals(*schedule_, seed, Clock::now());
  for (; arrivals.next() < schedule_->End(); arrivals.Advance()) {
    Clock::time_point now = Clock::now();
    while (now < arrivals.next() && now < schedule_->End()) {
      // In pieces, so that an interrupt is seen.
      SleepUntil(std::min(arrivals.next(), now + std::chrono::milliseconds(100)));
      now = Clock::now();
    }
    if (now >= schedule_->End() + kGrace) break;
    Slot* slot = nullptr;
    {
      MutexLock lock(mu_);
      while (free_.empty() && Clock::now() < schedule_->End())
        slot_free_.WaitFor(mu_, absl::Milliseconds(100));
      if (free_.empty()) break;
      slot = free_.back();
      free_.pop_back();
      ++in_flight_;
    }
    if (!source_->Next(slot->call)) {
      MutexLock lock(mu_);
      --in_flight_;
      free_.push_back(slot);
      sent_all_ = true;
      return;
    }
    if (arrivals.next() >= schedule_->begin) stats_->send_lag.Add((Clock::now() - arrivals.next()).count());
    Start(*slot, arrivals.next());
  }
  // What was to be sent and was not, because too many calls were in flight. Nothing of that when interrupted.
  if (!Interrupted()) {
    for (; arrivals.next() < schedule_->End(); arrivals.Advance()) ++stats_->unsent;
  }
  MutexLock lock(mu_);
  sent_all_ = true;
}

}  // namespace swiftlet::load

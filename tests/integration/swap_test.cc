// Many swaps under load: no call fails, no answer mixes versions or comes from a version that was replaced
// before the call began, and nothing is left behind.
//
// SWIFTLET_SWAPS sets how many (default 1,000).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/mutex.h"
#include "tests/integration/server_process.h"
#include "tests/integration/versioned_models.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // keeps freed memory, so that memory says nothing
constexpr size_t kDefaultSwaps = 60;
#else
constexpr bool kSanitized = false;
constexpr size_t kDefaultSwaps = 1000;
#endif

constexpr VersionedModelOptions kModel = {.num_items = 300, .dim = 16, .num_users = 20};
constexpr size_t kRotation = 4;  // the newest versions, loaded in turn
constexpr size_t kPublishEvery = 20;
constexpr size_t kClients = 3;
constexpr int kEventUsers = 10;
// Between two calls of a client: the rate of calls is no matter here, and swaps need the processor too.
constexpr std::chrono::microseconds kPause(500);

size_t NumSwaps() {
  const char* text = std::getenv("SWIFTLET_SWAPS");
  return text == nullptr ? kDefaultSwaps : static_cast<size_t>(std::strtoul(text, nullptr, 10));
}

// What a process holds.
struct Holdings {
  int64_t resident_kb = 0;
  int64_t descriptors = 0, threads = 0;
};

Holdings HoldingsOf(pid_t pid) {
  const std::string proc = absl::StrCat("/proc/", pid);
  Holdings h;
  std::ifstream status(proc + "/status");
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> h.resident_kb;
  }
  const auto count = [](const std::string& path) {
    return std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator());
  };
  h.descriptors = count(proc + "/fd");
  h.threads = count(proc + "/task");
  return h;
}

// Which version serves when. Swap e begins before the server hears of it and ends when that is acknowledged,
// or when any answer shows it. An answer to a call that began after swap e ended is from swap e or a later
// one.
class Swaps {
 public:
  void Begin(int64_t version) {
    MutexLock lock(mu_);
    versions_.push_back(version);
  }
  void End() { Reached(size() - 1); }
  // For a call that begins now.
  size_t reached() const { return reached_; }
  // Whether the version of an answer served at any time since `since`; later calls then expect no older one.
  bool Check(size_t since, int64_t version) {
    MutexLock lock(mu_);
    for (size_t e = since; e < versions_.size(); ++e) {
      if (versions_[e] != version) continue;
      Reached(e);
      return true;
    }
    return false;
  }
  size_t size() const {
    MutexLock lock(mu_);
    return versions_.size();
  }

 private:
  void Reached(size_t e) {
    for (size_t now = reached_; now < e && !reached_.compare_exchange_weak(now, e);) {
    }
  }

  mutable Mutex mu_;
  std::vector<int64_t> versions_ ABSL_GUARDED_BY(mu_);
  std::atomic<size_t> reached_{0};
};

class SwapTest : public ::testing::Test {
 protected:
  void TearDown() override { Stop(); }

  // Writes the version into the server's directory; before the server can see it, what it answers is known.
  void Publish(int64_t version, bool swap) {
    PublishVersion(server_models(), version, kModel, [&](const std::string& staging) {
      expected_.Add(staging, version, kModel);
      if (swap) swaps_.Begin(version);
    });
  }
  std::string server_models() const { return dir_.path() + "/models"; }

  void RunClient(size_t number) {
    auto stub = v1::RecommendationService::NewStub(server_->NewChannel());
    for (uint64_t i = number; !stop_; ++i) {
      const uint64_t user = i % kModel.num_users;
      const size_t since = swaps_.reached();
      grpc::ClientContext context;
      v1::RecommendResponse response;
      const grpc::Status status = stub->Recommend(
          &context, UserRequest(absl::StrCat("user-", user), ExpectedAnswers::kNumItems), &response);
      std::string error;
      if (!status.ok()) {
        error = absl::StrCat("code ", int{status.error_code()}, ": ", status.error_message());
      } else {
        error = expected_.Compare(user, response);
        if (!swaps_.Check(since, response.snapshot_version())) {
          absl::StrAppend(&error, " stale: version ", response.snapshot_version(), " after swap ", since);
        }
      }
      ++calls_;
      if (!error.empty()) return Fail(error);
      std::this_thread::sleep_for(kPause);
    }
  }
  // An event a swap, for users whose answers are not compared.
  void RunRecorder() {
    auto stub = v1::EventService::NewStub(server_->NewChannel());
    for (size_t i = 0; !stop_; ++i) {
      const v1::RecordEventsRequest request = Batch(
          {MakeEvent(absl::StrCat("other-", i % kEventUsers), absl::StrCat("v1-item-", i % kModel.num_items),
                     "click", 0, absl::StrCat("e-", i))});
      grpc::ClientContext context;
      v1::RecordEventsResponse response;
      const grpc::Status status = stub->RecordEvents(&context, request, &response);
      if (!status.ok()) return Fail(absl::StrCat("RecordEvents: ", status.error_message()));
      ++events_;
      MutexLock lock(mu_);
      for (const size_t before = num_swapped_; num_swapped_ == before && !stop_;) swapped_.Wait(mu_);
    }
  }
  void Fail(const std::string& error) {
    MutexLock lock(mu_);
    errors_.push_back(error);
    failed_ = true;
  }
  void CountSwap() {
    {
      MutexLock lock(mu_);
      ++num_swapped_;
    }
    swapped_.NotifyAll();
  }
  void Stop() {
    {
      MutexLock lock(mu_);
      stop_ = true;
    }
    swapped_.NotifyAll();
    for (std::thread& t : threads_) t.join();
    threads_.clear();
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  ExpectedAnswers expected_;
  Swaps swaps_;
  std::atomic<bool> stop_{false}, failed_{false};
  std::atomic<uint64_t> calls_{0}, events_{0};
  Mutex mu_;
  CondVar swapped_;
  size_t num_swapped_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::string> errors_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

TEST_F(SwapTest, AThousandSwapsUnderLoadAreNotNoticedAndLeaveNothing) {
  const size_t num_swaps = NumSwaps();
  int64_t newest = 0;
  while (newest < static_cast<int64_t>(kRotation)) Publish(++newest, /*swap=*/false);
  swaps_.Begin(newest);
  server_ = std::make_unique<ServerProcess>(ServerProcess::Options{
      .dir = dir_.path(),
      // Caches that are full soon: what they take is not what is looked for.
      .config = "limits { max_history_events: 50 } retrieval { recall_sample_rate: 1 } "
                "storage { user_vector_memo_bytes: 1000000 }",
      .snapshot_config = absl::StrCat("keep_versions: ", kRotation)});
  ASSERT_TRUE(server_->running());
  ASSERT_TRUE(server_->WaitForVersion(newest));
  for (size_t t = 0; t < kClients; ++t) threads_.emplace_back([this, t] { RunClient(t); });
  threads_.emplace_back([this] { RunRecorder(); });

  Holdings before;
  double load_seconds = 0;
  size_t num_published = 0, num_loaded = 0;
  const size_t warm = num_swaps * 3 / 10;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < num_swaps && !failed_; ++i) {
    v1::LoadSnapshotResponse response;
    if (i % kPublishEvery == kPublishEvery - 1) {
      Publish(++newest, /*swap=*/true);  // the server follows by itself: the swap before lifted the pin
      ASSERT_TRUE(server_->WaitForVersion(newest)) << server_->Log();
      ++num_published;
    } else {
      // Each of the rotation in turn, pinned; before a publication, the newest, not pinned.
      const bool unpin = i % kPublishEvery == kPublishEvery - 2;
      const int64_t version = unpin ? newest : newest - 1 - static_cast<int64_t>(i % (kRotation - 1));
      swaps_.Begin(version);
      const grpc::Status status = server_->LoadSnapshot(unpin ? 0 : version, &response);
      ASSERT_TRUE(status.ok()) << "swap " << i << ": " << status.error_message();
      ASSERT_EQ(response.snapshot().version(), version);
      load_seconds += response.seconds();
      ++num_loaded;
    }
    swaps_.End();
    CountSwap();
    if (i + 1 == warm) {
      before = HoldingsOf(server_->pid());
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  // The last drain and RocksDB's own clearing away may still be going on.
  Holdings after;
  bool settled = false;
  for (int i = 0; i < 200 && !settled; ++i) {
    after = HoldingsOf(server_->pid());
    settled = server_->Metric("swiftlet_snapshots_resident") == 1 &&
              after.resident_kb <= before.resident_kb + before.resident_kb / 20 &&
              after.descriptors <= before.descriptors && after.threads <= before.threads;
    if (!settled) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Stop();
  {
    MutexLock lock(mu_);
    EXPECT_THAT(errors_, ::testing::IsEmpty());
    EXPECT_EQ(num_swapped_, num_swaps);
  }
  std::printf(
      "%zu swaps in %.1f s (%zu loads of %.1f ms each, %zu publications), %lu calls and %lu events "
      "meanwhile\n"
      "resident after %zu swaps %ld kB, after all %ld kB; descriptors %ld, %ld; threads %ld, %ld\n",
      num_swaps, seconds, num_loaded, 1e3 * load_seconds / static_cast<double>(num_loaded), num_published,
      calls_.load(), events_.load(), warm, before.resident_kb, after.resident_kb, before.descriptors,
      after.descriptors, before.threads, after.threads);
  EXPECT_EQ(server_->Metric("swiftlet_snapshots_resident"), 1);
  EXPECT_EQ(server_->Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"), 0);
  EXPECT_GE(server_->Metric("swiftlet_snapshot_loads_total{result=\"ok\"}"), static_cast<double>(num_swaps));
  EXPECT_GT(calls_, num_swaps);
  if (!kSanitized) {
    EXPECT_LE(after.resident_kb, before.resident_kb + before.resident_kb / 20);
    EXPECT_LE(after.descriptors, before.descriptors);
    EXPECT_LE(after.threads, before.threads);
  }

  // The events are there: each user has the newest 50.
  for (int user = 0; user < kEventUsers; ++user) {
    v1::GetUserRequest request;
    request.set_user_id(absl::StrCat("other-", user));
    v1::GetUserResponse response;
    ASSERT_OK(server_->GetUser(request, &response));
    EXPECT_EQ(response.events_size(),
              static_cast<int>(std::min<uint64_t>(
                  (events_ - static_cast<uint64_t>(user) + kEventUsers - 1) / kEventUsers, 50)));
  }
  EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
}

// After a swap the users who ask again and again find their vectors of the new version in the cache: their
// next requests are answered at once, without a turn through the threads that read the store.
TEST_F(SwapTest, UsersInTheCacheAreNotReadAgainAfterASwap) {
  Publish(1, /*swap=*/false);
  server_ = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir_.path()});
  ASSERT_TRUE(server_->running());
  const auto ask_all = [&](int64_t version) {
    for (uint64_t user = 0; user < kModel.num_users; ++user) {
      v1::RecommendResponse response;
      ASSERT_OK(server_->Recommend(UserRequest(absl::StrCat("user-", user), ExpectedAnswers::kNumItems),
                                   &response));
      ASSERT_EQ(response.snapshot_version(), version);
      EXPECT_EQ(expected_.Compare(user, response), "");
    }
  };
  for (int round = 0; round < 2; ++round) ask_all(1);
  for (int64_t version = 2; version <= 4; ++version) {
    const double misses = server_->Metric("swiftlet_user_cache_misses_total");
    ASSERT_GE(misses, 1);
    Publish(version, /*swap=*/false);
    ASSERT_TRUE(server_->WaitForVersion(version));
    ask_all(version);
    EXPECT_EQ(server_->Metric("swiftlet_user_cache_misses_total"), misses) << version;
  }
}

}  // namespace
}  // namespace swiftlet::testing

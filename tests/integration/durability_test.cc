// What a crash, a restart and a drain leave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::Contains;
using ::testing::SizeIs;

// Clients that record events, one a call, each for users of its own, until the server is gone; `insistent`
// ones go on calling then, without a pause, until Stop.
class Writers {
 public:
  Writers(const ServerProcess& server, int num_threads, bool insistent = false) {
    acknowledged_.resize(num_threads);
    for (int t = 0; t < num_threads; ++t) {
      threads_.emplace_back([this, t, insistent, channel = server.NewChannel()] {
        auto stub = v1::EventService::NewStub(channel);
        for (int i = 0; !stop_; ++i) {
          grpc::ClientContext context;
          context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
          v1::RecordEventsResponse response;
          const std::string item = absl::StrCat("item-", t, "-", i);
          const grpc::Status status = stub->RecordEvents(
              &context, Batch({MakeEvent(absl::StrCat("user-", t), item, "click", 1000 + i)}), &response);
          if (!status.ok()) {
            if (status.error_code() != grpc::StatusCode::UNAVAILABLE) {
              bad_code_ = status.error_code();
              ++num_bad_;
            } else {
              ++num_refused_;
            }
            if (insistent) continue;
            return;
          }
          acknowledged_[t].push_back(item);
          ++num_acknowledged_;
        }
      });
    }
  }
  ~Writers() { Join(); }
  void WaitFor(int num_acknowledged) {
    while (num_acknowledged_ < num_acknowledged && bad_code_ == 0) std::this_thread::yield();
  }
  // Waits until every thread met the end of its server.
  void Join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }
  void Stop() { stop_ = true; }
  const std::vector<std::vector<std::string>>& acknowledged() const { return acknowledged_; }
  int bad_code() const { return bad_code_; }
  int num_bad() const { return num_bad_; }
  int num_refused() const { return num_refused_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> num_acknowledged_{0}, bad_code_{0}, num_bad_{0}, num_refused_{0};
  std::vector<std::vector<std::string>> acknowledged_;
  std::vector<std::thread> threads_;
};

void ExpectAllThere(ServerProcess& server, const std::vector<std::vector<std::string>>& acknowledged) {
  for (size_t t = 0; t < acknowledged.size(); ++t) {
    v1::GetUserRequest request;
    request.set_user_id(absl::StrCat("user-", t));
    v1::GetUserResponse response;
    ASSERT_OK(server.GetUser(request, &response));
    std::set<std::string> stored;
    for (const v1::Event& event : response.events()) stored.insert(event.item_id());
    for (const std::string& item : acknowledged[t])
      EXPECT_THAT(stored, Contains(item)) << "acknowledged, then lost";
    // At most one more: the one whose acknowledgement was on its way.
    EXPECT_LE(stored.size(), acknowledged[t].size() + 1);
  }
}

constexpr char kLongHistory[] = "limits { max_history_events: 10000 }";

TEST(Durability, AKillLosesNoAcknowledgedEvent) {
  for (int round = 0; round < 3; ++round) {
    TempDir round_dir;
    ServerProcess server({.dir = round_dir.path(), .config = kLongHistory});
    ASSERT_TRUE(server.running());
    Writers writers(server, 4);
    writers.WaitFor(100 + 50 * round);
    EXPECT_EQ(server.Kill(), 128 + SIGKILL);
    writers.Join();
    EXPECT_EQ(writers.bad_code(), 0);
    ServerProcess again({.dir = round_dir.path(), .config = kLongHistory});
    ASSERT_TRUE(again.running());
    ExpectAllThere(again, writers.acknowledged());
    EXPECT_EQ(again.Terminate(), 0);
  }
}

TEST(Durability, ARestartKeepsHistoriesAndTheirIdempotency) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  const v1::RecordEventsRequest batch =
      Batch({MakeEvent("u", "item-1", "like", 1000, "e1"), MakeEvent("u", "item-2", "click", 2000, "e2")});
  v1::RecommendResponse before, after;
  v1::RecordEventsResponse recorded;
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    ASSERT_OK(server.RecordEvents(batch, &recorded));
    ASSERT_OK(server.Recommend(UserRequest("u", 10), &before));
    EXPECT_EQ(server.Terminate(), 0);
  }
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  ASSERT_OK(server.Recommend(UserRequest("u", 10), &after));
  EXPECT_EQ(after.num_history_events_used(), 2);
  ASSERT_EQ(after.items_size(), before.items_size());
  for (int i = 0; i < after.items_size(); ++i) {
    EXPECT_EQ(after.items(i).item_id(), before.items(i).item_id());
    EXPECT_EQ(after.items(i).score(), before.items(i).score());
  }
  ASSERT_OK(server.RecordEvents(batch, &recorded));
  EXPECT_EQ(recorded.num_duplicates(), 2);
}

TEST(Durability, SigtermFinishesTheCallsInProgress) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = kLongHistory});
  ASSERT_TRUE(server.running());
  Writers writers(server, 8, /*insistent=*/true);
  writers.WaitFor(200);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  writers.Stop();
  writers.Join();
  EXPECT_EQ(writers.bad_code(), 0) << writers.num_bad()
                                   << " calls were not finished or refused as UNAVAILABLE";
  EXPECT_GT(writers.num_refused(), 8) << "they went on calling";
  EXPECT_THAT(server.Log(), ::testing::HasSubstr("SIGTERM: draining"));
  ServerProcess again({.dir = dir.path(), .config = kLongHistory});
  ASSERT_TRUE(again.running());
  ExpectAllThere(again, writers.acknowledged());
}

}  // namespace
}  // namespace swiftlet::testing

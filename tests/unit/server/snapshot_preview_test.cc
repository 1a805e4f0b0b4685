#include "server/snapshot_preview.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using Answer = absl::StatusOr<v1::PreviewSnapshotResponse>;

class SnapshotPreviewTest : public ::testing::Test {
 protected:
  SnapshotPreviewTest() {
    database_ = *Database::Open({.path = dir_.File("data")}, EventTypeTable::Default());
    catalog_ = std::make_unique<CatalogManager>(database_.get(), &reaper_);
    for (int64_t version = 1; version <= 2; ++version)
      Publish(version, /*seed=*/static_cast<uint64_t>(version));
  }
  void Publish(int64_t version, uint64_t seed) {
    const absl::Status status =
        testing::PublishRandomSnapshot(models_, {.seed = seed,
                                                 .version = version,
                                                 .num_users = 5,
                                                 .write_user_vectors = testing::RandomUserVectors(5, seed)});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Start(absl::Duration keep = absl::Minutes(10)) {
    SnapshotPreview::Options options;
    options.model_dir = models_.path();
    options.keep = keep;
    options.now_ms = [] { return int64_t{1'700'000'000'000}; };
    preview_ = std::make_unique<SnapshotPreview>(options, EventTypeTable::Default(), database_.get(),
                                                 catalog_.get());
  }
  std::future<Answer> Ask(int64_t version, std::function<absl::Status()> wanted = absl::OkStatus) {
    auto request = std::make_shared<v1::PreviewSnapshotRequest>();
    request->set_version(version);
    request->mutable_request()->set_user_id("user-1");
    request->mutable_request()->set_k(3);
    auto promise = std::make_shared<std::promise<Answer>>();
    preview_->Recommend(std::move(request), {}, std::move(wanted),
                        [promise](Answer answer) { promise->set_value(std::move(answer)); });
    return promise->get_future();
  }

  const testing::TempDir dir_;
  ModelDirectory models_{dir_.File("models")};
  std::unique_ptr<Database> database_;
  Reaper reaper_;
  std::unique_ptr<CatalogManager> catalog_;
  std::unique_ptr<SnapshotPreview> preview_;
};

TEST_F(SnapshotPreviewTest, OneVersionAtATimeIsLoadedUntilNobodyAsks) {
  Start(absl::Milliseconds(20));
  EXPECT_EQ(preview_->loaded_version(), 0);
  for (const int64_t version : {1, 2}) {
    const Answer answer = Ask(version).get();
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->response().snapshot_version(), version);
    EXPECT_EQ(answer->response().items_size(), 3);
  }
  while (preview_->loaded_version() != 0) std::this_thread::yield();  // in 20 ms
  EXPECT_TRUE(Ask(2).get().ok());
}

TEST_F(SnapshotPreviewTest, AnotherSnapshotOfTheSameNumberIsSeen) {
  Start();
  const Answer before = Ask(2).get();
  ASSERT_TRUE(before.ok());
  EXPECT_EQ(Ask(2).get()->response().ShortDebugString(), before->response().ShortDebugString());
  std::filesystem::remove_all(models_.path());
  Publish(2, /*seed=*/77);
  const Answer after = Ask(2).get();
  ASSERT_TRUE(after.ok());
  EXPECT_NE(after->response().ShortDebugString(), before->response().ShortDebugString());
}

TEST_F(SnapshotPreviewTest, SoManyMayWaitAndStopRefusesThem) {
  Start();
  // The first is on the preview's thread, and stays there.
  std::promise<void> begun, go_on;
  auto first = Ask(1, [&, asked = false]() mutable {
    if (!std::exchange(asked, true)) {
      begun.set_value();
      go_on.get_future().wait();
    }
    return absl::OkStatus();
  });
  begun.get_future().wait();
  std::vector<std::future<Answer>> waiting;
  for (size_t i = 0; i < SnapshotPreview::kMaxWaiting; ++i) waiting.push_back(Ask(1));
  EXPECT_TRUE(absl::IsResourceExhausted(Ask(1).get().status()));
  preview_->Stop();
  for (std::future<Answer>& answer : waiting) EXPECT_TRUE(absl::IsUnavailable(answer.get().status()));
  EXPECT_TRUE(absl::IsUnavailable(Ask(1).get().status()));
  go_on.set_value();
  EXPECT_TRUE(absl::IsUnavailable(first.get().status())) << "its load is given up";
}

TEST_F(SnapshotPreviewTest, NobodyWaitsForWhatIsNotWanted) {
  Start();
  EXPECT_TRUE(absl::IsCancelled(Ask(1, [] { return absl::CancelledError("gone"); }).get().status()));
  EXPECT_EQ(preview_->loaded_version(), 0);
  // Given up while it is loaded.
  const Answer answer = Ask(1, [asked = 0]() mutable {
                          return ++asked < 3 ? absl::OkStatus() : absl::DeadlineExceededError("too late");
                        }).get();
  EXPECT_TRUE(absl::IsDeadlineExceeded(answer.status())) << answer.status();
  EXPECT_EQ(preview_->loaded_version(), 0);
}

}  // namespace
}  // namespace swiftlet

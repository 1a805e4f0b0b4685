// Snapshots that answer before they serve.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/model_directory.h"
#include "tests/integration/server_process.h"
#include "tests/integration/versioned_models.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

constexpr VersionedModelOptions kModel = {.num_items = 300, .dim = 16, .num_users = 20};

class PreviewTest : public ::testing::Test {
 protected:
  // Versions 1 to 3; 3 serves.
  PreviewTest() {
    for (int64_t version = 1; version <= 3; ++version) PublishVersion(models(), version, kModel);
    server_ = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir_.path()});
  }
  void SetUp() override {
    ASSERT_TRUE(server_->running());
    ASSERT_TRUE(server_->WaitForVersion(3));
    admin_ = v1::AdminService::NewStub(server_->channel());
  }
  void TearDown() override { EXPECT_EQ(server_->Terminate(), 0) << server_->Log(); }

  std::string models() const { return dir_.path() + "/models"; }
  grpc::Status Preview(int64_t version, const v1::RecommendRequest& request,
                       v1::PreviewSnapshotResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::PreviewSnapshotRequest preview;
    preview.set_version(version);
    *preview.mutable_request() = request;
    return admin_->PreviewSnapshot(&context, preview, response);
  }
  v1::SnapshotState StateOf(int64_t version) {
    v1::ListSnapshotsResponse response;
    EXPECT_TRUE(server_->ListSnapshots(&response).ok());
    for (const v1::SnapshotInfo& info : response.snapshots()) {
      if (info.version() == version) return info.state();
    }
    return v1::SNAPSHOT_STATE_UNSPECIFIED;
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(PreviewTest, EveryVersionAnswersAsIfItServed) {
  ExpectedAnswers expected;
  for (int64_t version = 1; version <= 3; ++version) {
    expected.Add(ModelDirectory(models()).VersionPath(version), version, kModel);
  }
  for (const int64_t version : {1, 2, 1, 3}) {
    for (uint64_t user = 0; user < kModel.num_users; ++user) {
      v1::PreviewSnapshotResponse response;
      const std::string id = absl::StrCat("user-", user);
      const grpc::Status status = Preview(version, UserRequest(id, ExpectedAnswers::kNumItems), &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.response().snapshot_version(), version);
      EXPECT_EQ(expected.Compare(user, response.response()), "");
      EXPECT_FALSE(response.response().request_id().empty());
    }
  }
  // Nobody else has seen anything of it.
  EXPECT_EQ(StateOf(3), v1::SNAPSHOT_STATE_SERVING);
  EXPECT_EQ(StateOf(1), v1::SNAPSHOT_STATE_AVAILABLE);
  v1::RecommendResponse answer;
  ASSERT_TRUE(server_->Recommend(UserRequest("user-4", ExpectedAnswers::kNumItems), &answer).ok());
  EXPECT_EQ(answer.snapshot_version(), 3);
  EXPECT_EQ(expected.Compare(4, answer), "");
}

// History, long-term vector, context, filter, explanations, titles: all that a request may have.
TEST_F(PreviewTest, IsWhatComesWhenTheVersionIsLoaded) {
  v1::RecordEventsRequest events;
  for (const char* item : {"v1-item-3", "v1-item-8", "v3-item-5"}) {
    *events.add_events() = MakeEvent("user-7", item, "like");
  }
  v1::RecordEventsResponse recorded;
  ASSERT_TRUE(server_->RecordEvents(events, &recorded).ok());
  v1::UpsertItemsRequest upsert;
  upsert.add_items()->set_item_id("v1-item-9");
  upsert.mutable_items(0)->mutable_metadata()->set_title("renamed");
  v1::UpsertItemsResponse upserted;
  ASSERT_TRUE(server_->UpsertItems(upsert, &upserted).ok());
  v1::DeleteItemsRequest remove;
  remove.add_item_ids("v1-item-4");
  v1::DeleteItemsResponse removed;
  ASSERT_TRUE(server_->DeleteItems(remove, &removed).ok());

  std::vector<v1::RecommendRequest> requests;
  requests.push_back(UserRequest("user-7", 300));
  requests.back().set_explain(true);
  requests.back().set_include_metadata(true);
  requests.back().set_request_id("mine");
  requests.back().mutable_context()->add_item_ids("v1-item-11");
  requests.back().mutable_filter()->add_exclude_item_ids("v1-item-12");
  requests.push_back(requests.back());
  requests.back().clear_user_id();
  requests.back().mutable_history()->add_events()->set_item_id("v1-item-20");
  requests.back().mutable_history()->mutable_events(0)->set_type("like");
  requests.back().mutable_history()->mutable_events(0)->set_timestamp_ms(1'700'000'000'000);
  std::vector<v1::PreviewSnapshotResponse> previews(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const grpc::Status status = Preview(1, requests[i], &previews[i]);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(previews[0].response().num_history_events_used(), 2);
  EXPECT_GT(previews[0].response().items_size(), 250);
  EXPECT_THAT(previews[0].ShortDebugString(), HasSubstr("renamed"));
  EXPECT_THAT(previews[0].ShortDebugString(), ::testing::Not(HasSubstr("\"v1-item-4\"")));

  v1::LoadSnapshotResponse loaded;
  ASSERT_TRUE(server_->LoadSnapshot(1, &loaded).ok());
  for (size_t i = 0; i < requests.size(); ++i) {
    v1::RecommendResponse answer;
    ASSERT_TRUE(server_->Recommend(requests[i], &answer).ok());
    EXPECT_EQ(previews[i].response().ShortDebugString(), answer.ShortDebugString());
  }
}

TEST_F(PreviewTest, AnErasedUserHasNoLongTermVectorInAnyVersion) {
  v1::DeleteUserRequest erase;
  erase.set_user_id("user-2");
  grpc::ClientContext context;
  v1::DeleteUserResponse erased;
  ASSERT_TRUE(v1::UserService::NewStub(server_->channel())->DeleteUser(&context, erase, &erased).ok());
  for (const int64_t version : {1, 3}) {
    for (const auto& [user, source] :
         {std::pair("user-1", v1::SOURCE_LONG_TERM), std::pair("user-2", v1::SOURCE_POPULAR)}) {
      v1::PreviewSnapshotResponse response;
      ASSERT_TRUE(Preview(version, UserRequest(user, 1), &response).ok());
      ASSERT_EQ(response.response().items_size(), 1);
      EXPECT_EQ(response.response().items(0).source(), source) << user << " in " << version;
    }
  }
}

TEST_F(PreviewTest, WhatCannotBeIsRefused) {
  const std::string model = ModelDirectory(models()).VersionPath(2) + "/" + kModelFile;
  ASSERT_EQ(truncate(model.c_str(), static_cast<off_t>(std::filesystem::file_size(model) / 2)), 0);
  struct Case {
    int64_t version;
    v1::RecommendRequest request;
    grpc::StatusCode code;
    std::string message;
  };
  const v1::RecommendRequest good = UserRequest("user-1", 3);
  for (const Case& c : {
           Case{0, good, grpc::INVALID_ARGUMENT, "version: 0 is not positive"},
           Case{-1, good, grpc::INVALID_ARGUMENT, "version: -1 is not positive"},
           Case{1, UserRequest("user-1", 0), grpc::INVALID_ARGUMENT, "request.k: 0 is not in"},
           Case{1, UserRequest("", 3), grpc::INVALID_ARGUMENT, "request.user_id"},
           Case{9, good, grpc::NOT_FOUND, "version: 9 is not in"},
           Case{2, good, grpc::FAILED_PRECONDITION, "snapshot 2 cannot be loaded: "},
       }) {
    v1::PreviewSnapshotResponse response;
    const grpc::Status status = Preview(c.version, c.request, &response);
    EXPECT_EQ(status.error_code(), c.code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(c.message));
  }
  v1::PreviewSnapshotResponse response;
  EXPECT_TRUE(Preview(1, good, &response).ok()) << "and after all that one that can";
}

}  // namespace
}  // namespace swiftlet::testing

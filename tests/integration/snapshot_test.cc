// Publishing, refusing, swapping, rolling back and pinning snapshots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/recommender.h"
#include "tests/integration/server_process.h"
#include "tests/integration/versioned_models.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr VersionedModelOptions kModel = {.num_items = 400, .dim = 16, .num_users = 20};
constexpr uint32_t kItems = kModel.num_items, kDim = kModel.dim;
constexpr uint64_t kUsers = kModel.num_users;

void Publish(const std::string& model_dir, int64_t version,
             const std::function<void(const std::string&)>& damage = nullptr) {
  PublishVersion(model_dir, version, kModel, damage);
}

void Truncate(const std::string& staging) {
  const std::string path = staging + "/" + kModelFile;
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(std::filesystem::file_size(path) / 2)), 0);
}

void FlipABit(const std::string& staging) {
  const std::string path = staging + "/" + kModelFile;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto at = static_cast<std::streamoff>(std::filesystem::file_size(path) * 2 / 3);
  file.seekg(at);
  const char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 0x10));
}

v1::SnapshotInfo InfoOf(ServerProcess& server, int64_t version) {
  v1::ListSnapshotsResponse response;
  const grpc::Status status = server.ListSnapshots(&response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  for (const v1::SnapshotInfo& info : response.snapshots()) {
    if (info.version() == version) return info;
  }
  return {};
}

class SnapshotTest : public ::testing::Test {
 protected:
  void Start(const std::string& config = "", const std::string& snapshot_config = "") {
    server_ = std::make_unique<ServerProcess>(
        ServerProcess::Options{.dir = dir_.path(), .config = config, .snapshot_config = snapshot_config});
    ASSERT_TRUE(server_->running());
  }
  void TearDown() override {
    if (server_ != nullptr && server_->running()) {
      EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    }
  }
  std::string models() const { return dir_.path() + "/models"; }
  int64_t AnswersFrom() {
    v1::RecommendResponse response;
    const grpc::Status status = server_->Recommend(UserRequest("user-1", 5), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.snapshot_version();
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(SnapshotTest, ASwapUnderTrafficFailsNoCallAndMixesNoVersions) {
  constexpr int64_t kVersions = 7;
  ExpectedAnswers expected;
  Publish(models(), 1);
  // Made elsewhere first, so that the expectations are there before the server sees a version.
  TempDir elsewhere;
  for (int64_t version = 1; version <= kVersions; ++version) {
    Publish(elsewhere.path(), version);
    expected.Add(ModelDirectory(elsewhere.path()).VersionPath(version), version, kModel);
  }
  Start();
  ASSERT_TRUE(server_->WaitForVersion(1));

  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::vector<std::string> errors(4);
  std::vector<std::thread> clients;
  for (size_t t = 0; t < errors.size(); ++t) {
    clients.emplace_back([&, t] {
      auto stub = v1::RecommendationService::NewStub(server_->NewChannel());
      int64_t last_version = 0;
      for (uint64_t i = t; !stop && errors[t].empty(); ++i) {
        const uint64_t user = i % kUsers;
        grpc::ClientContext context;
        v1::RecommendResponse response;
        const grpc::Status status =
            stub->Recommend(&context, UserRequest(absl::StrCat("user-", user), 10), &response);
        if (!status.ok()) {
          errors[t] = absl::StrCat("code ", int{status.error_code()}, ": ", status.error_message());
        } else {
          errors[t] = expected.Compare(user, response);
          if (response.snapshot_version() < last_version) errors[t] = "an older version after a newer one";
          last_version = response.snapshot_version();
        }
        ++calls;
      }
    });
  }
  for (int64_t version = 2; version <= kVersions; ++version) {
    const int before = calls;
    Publish(models(), version);
    EXPECT_TRUE(server_->WaitForVersion(version)) << server_->Log();
    EXPECT_TRUE(server_->WaitForState(version - 1, v1::SNAPSHOT_STATE_RETIRED) ||
                InfoOf(*server_, version - 1).version() == 0);
    while (calls < before + 50 &&
           std::all_of(errors.begin(), errors.end(), [](auto& e) { return e.empty(); })) {
      std::this_thread::yield();
    }
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  EXPECT_EQ(server_->Metric("swiftlet_snapshot_version"), kVersions);
  EXPECT_EQ(server_->Metric("swiftlet_snapshots_resident"), 1);
  EXPECT_EQ(server_->Metric("swiftlet_snapshot_loads_total{result=\"ok\"}"), kVersions);
  EXPECT_EQ(server_->Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"), 0);
}

TEST_F(SnapshotTest, DamagedSnapshotsAreRefusedWithAReasonWhileTheOldOneServes) {
  Publish(models(), 1);
  Start();
  ASSERT_TRUE(server_->WaitForVersion(1));
  Publish(models(), 2, Truncate);
  ASSERT_TRUE(server_->WaitForState(2, v1::SNAPSHOT_STATE_FAILED));
  EXPECT_THAT(InfoOf(*server_, 2).error(), HasSubstr(kModelFile));
  Publish(models(), 3, FlipABit);
  ASSERT_TRUE(server_->WaitForState(3, v1::SNAPSHOT_STATE_FAILED));
  EXPECT_THAT(InfoOf(*server_, 3).error(), HasSubstr(kModelFile));
  EXPECT_THAT(InfoOf(*server_, 3).error(), HasSubstr("XXH3-128"));
  Publish(models(), 4, [](const std::string& staging) {
    std::ofstream(staging + "/" + kManifestFile) << "{\"format_version\": 99}";
  });
  ASSERT_TRUE(server_->WaitForState(4, v1::SNAPSHOT_STATE_FAILED));
  EXPECT_THAT(InfoOf(*server_, 4).error(), HasSubstr("format_version"));
  Publish(models(), 5, [](const std::string& staging) {
    EXPECT_EQ(unlink((staging + "/" + kUserVectorsFile).c_str()), 0);
  });
  ASSERT_TRUE(server_->WaitForState(5, v1::SNAPSHOT_STATE_FAILED));
  EXPECT_THAT(InfoOf(*server_, 5).error(), HasSubstr(kUserVectorsFile));

  EXPECT_EQ(AnswersFrom(), 1);
  const v1::GetStatusResponse status = server_->GetStatus();
  EXPECT_EQ(status.serving().version(), 1);
  EXPECT_THAT(status.last_load_error(), HasSubstr("snapshot 5"));
  EXPECT_EQ(server_->Health(""), 1);
  // Each was tried once, not at every look at the directory.
  EXPECT_EQ(server_->Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"), 4);

  v1::LoadSnapshotResponse response;
  EXPECT_CODE(server_->LoadSnapshot(3, &response), grpc::StatusCode::FAILED_PRECONDITION,
              "snapshot 3 was refused");
  EXPECT_CODE(server_->LoadSnapshot(77, &response), grpc::StatusCode::NOT_FOUND, "version: 77");
  EXPECT_CODE(server_->LoadSnapshot(-1, &response), grpc::StatusCode::INVALID_ARGUMENT, "version: -1");
  Publish(models(), 6);
  EXPECT_TRUE(server_->WaitForVersion(6));
}

TEST_F(SnapshotTest, ASnapshotWithOtherEventTypesIsRefused) {
  Publish(models(), 1);
  Start("event_types { id: 1 name: \"look\" weight: 1 }");
  ASSERT_TRUE(server_->WaitForState(1, v1::SNAPSHOT_STATE_FAILED));
  EXPECT_THAT(InfoOf(*server_, 1).error(),
              HasSubstr("event type 1 is \"view\" in the snapshot and \"look\""));
  EXPECT_EQ(server_->Health(""), 2);
}

TEST_F(SnapshotTest, AStartFallsBackToTheNewestOlderGoodSnapshot) {
  Publish(models(), 1);
  Publish(models(), 2);
  Publish(models(), 3, FlipABit);
  Publish(models(), 4, Truncate);
  Start();
  EXPECT_EQ(AnswersFrom(), 2);
  EXPECT_EQ(InfoOf(*server_, 4).state(), v1::SNAPSHOT_STATE_FAILED);
  EXPECT_EQ(InfoOf(*server_, 3).state(), v1::SNAPSHOT_STATE_FAILED);
  EXPECT_EQ(InfoOf(*server_, 2).state(), v1::SNAPSHOT_STATE_SERVING);
  EXPECT_EQ(InfoOf(*server_, 1).state(), v1::SNAPSHOT_STATE_AVAILABLE);
}

TEST_F(SnapshotTest, ARollbackIsPinnedOverPublicationsAndARestart) {
  for (int64_t version = 1; version <= 3; ++version) Publish(models(), version);
  Start();
  EXPECT_EQ(AnswersFrom(), 3);
  v1::LoadSnapshotResponse response;
  ASSERT_OK(server_->LoadSnapshot(2, &response));
  EXPECT_EQ(response.snapshot().version(), 2);
  EXPECT_TRUE(response.snapshot().pinned());
  EXPECT_EQ(response.snapshot().state(), v1::SNAPSHOT_STATE_SERVING);
  EXPECT_GT(response.seconds(), 0);
  EXPECT_EQ(AnswersFrom(), 2);
  ASSERT_TRUE(server_->WaitForState(3, v1::SNAPSHOT_STATE_RETIRED));
  Publish(models(), 4);
  ASSERT_OK(server_->LoadSnapshot(2, &response));  // serves already
  EXPECT_EQ(server_->Terminate(), 0);

  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(AnswersFrom(), 2);
  EXPECT_TRUE(server_->GetStatus().serving().pinned());
  EXPECT_EQ(InfoOf(*server_, 4).state(), v1::SNAPSHOT_STATE_AVAILABLE);
  // Nor does it need an orderly end: a pin is on disk when it is acknowledged.
  ASSERT_OK(server_->LoadSnapshot(3, &response));
  EXPECT_EQ(server_->Kill(), 137);
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(AnswersFrom(), 3);
  EXPECT_TRUE(server_->GetStatus().serving().pinned());
  ASSERT_OK(server_->LoadSnapshot(0, &response));
  EXPECT_EQ(server_->Kill(), 137);
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(AnswersFrom(), 4);
  EXPECT_FALSE(server_->GetStatus().serving().pinned());
  ASSERT_OK(server_->LoadSnapshot(2, &response));
  ASSERT_OK(server_->LoadSnapshot(0, &response));
  EXPECT_EQ(response.snapshot().version(), 4);
  EXPECT_FALSE(response.snapshot().pinned());
  EXPECT_EQ(AnswersFrom(), 4);
  Publish(models(), 5);
  EXPECT_TRUE(server_->WaitForVersion(5));
}

// Waits until the model directory has these versions, ascending.
void ExpectVersions(const std::string& models, const std::vector<int64_t>& expected) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::vector<int64_t> versions;
  while (versions != expected && std::chrono::steady_clock::now() < end) {
    versions = *ModelDirectory(models).ListVersions();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(versions, expected);
}

TEST_F(SnapshotTest, OldVersionsAreDeletedButNotThePinnedOne) {
  Publish(models(), 1);
  Start("", "keep_versions: 2");
  v1::LoadSnapshotResponse response;
  ASSERT_OK(server_->LoadSnapshot(1, &response));
  for (int64_t version = 2; version <= 6; ++version) Publish(models(), version);
  ExpectVersions(models(), {1, 5, 6});
  EXPECT_EQ(server_->GetStatus().serving().version(), 1);
  v1::ListSnapshotsResponse list;
  ASSERT_OK(server_->ListSnapshots(&list));
  std::vector<int64_t> listed;
  for (const v1::SnapshotInfo& info : list.snapshots()) listed.push_back(info.version());
  EXPECT_THAT(listed, ::testing::ElementsAre(6, 5, 1));
  // Once another one is pinned it goes with the next publication, when it is out of memory, too.
  ASSERT_OK(server_->LoadSnapshot(5, &response));
  Publish(models(), 7);
  ExpectVersions(models(), {5, 6, 7});
}

TEST_F(SnapshotTest, AWipedModelDirectoryIsReported) {
  Publish(models(), 1);
  Start();
  std::filesystem::remove_all(models() + "/1");
  std::filesystem::remove(models() + "/CURRENT");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (server_->GetStatus().last_load_error().empty() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_THAT(server_->GetStatus().last_load_error(),
              ::testing::AllOf(HasSubstr("no CURRENT any more"), HasSubstr("snapshot 1 goes on serving")));
  EXPECT_EQ(server_->GetStatus().serving().version(), 1);
}

TEST_F(SnapshotTest, ListSnapshotsTellsWhatTheManifestSays) {
  Publish(models(), 1);
  Publish(models(), 2);
  Start();
  v1::ListSnapshotsResponse response;
  ASSERT_OK(server_->ListSnapshots(&response));
  ASSERT_THAT(response.snapshots(), SizeIs(2));
  EXPECT_EQ(response.snapshots(0).version(), 2);
  const v1::SnapshotInfo& info = response.snapshots(1);
  EXPECT_EQ(info.version(), 1);
  EXPECT_EQ(info.model_kind(), "attention");
  EXPECT_EQ(info.dim(), static_cast<int>(kDim));
  EXPECT_EQ(info.num_items(), kItems);
  EXPECT_EQ(info.num_users(), static_cast<int64_t>(kUsers));
  EXPECT_EQ(info.metrics().at("ndcg@10"), 0.125);
  EXPECT_GT(info.size_bytes(), int64_t{kItems} * kDim * 4);
}

TEST_F(SnapshotTest, ReusedVersionNumbersMixNoModelsWithoutARestart) {
  for (const int64_t version : {1, 2}) Publish(models(), version);
  Start();
  v1::RecommendResponse response;
  for (int user = 0; user < 3; ++user) {  // into the cache
    ASSERT_OK(server_->Recommend(UserRequest(absl::StrCat("user-", user), 5), &response));
    EXPECT_EQ(response.items(0).source(), v1::SOURCE_LONG_TERM);
  }
  for (const uint32_t dim : {24, 32}) {
    std::filesystem::remove_all(models());
    for (const int64_t version : {1, 2}) {
      const absl::Status status =
          PublishRandomSnapshot(ModelDirectory(models()), {.num_items = 50,
                                                           .dim = dim,
                                                           .seed = dim,
                                                           .version = version,
                                                           .num_users = 3,
                                                           .write_user_vectors = RandomUserVectors(3, dim)});
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    v1::GetStatusResponse status;
    do {
      status = server_->GetStatus();
    } while (status.serving().version() != 2 || status.serving().dim() != static_cast<int>(dim));
    const auto snapshot = ModelSnapshot::Load(ModelDirectory(models()).VersionPath(2), {});
    ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
    const std::shared_ptr<const CatalogView> view = CatalogView::Build(**snapshot, {});
    Scratch scratch;
    Recommendation expected;
    RecommendQuery query;
    query.k = 5;
    for (uint64_t user = 0; user < 3; ++user) {
      ASSERT_OK(server_->Recommend(UserRequest(absl::StrCat("user-", user), 5), &response));
      const std::vector<float> vector = RandomUserVector(user, dim, dim);
      ASSERT_TRUE(
          Recommend(**snapshot, *view, query, {.history = {}, .long_term = vector}, scratch, &expected).ok());
      ASSERT_EQ(response.items_size(), 5);
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(response.items(i).source(), v1::SOURCE_LONG_TERM);
        EXPECT_EQ(response.items(i).item_id(), view->ItemId(expected.items[i].row));
      }
    }
  }
}

TEST_F(SnapshotTest, AStartServesAGoodSnapshotWhateverIsPinned) {
  Publish(models(), 1, Truncate);
  Publish(models(), 2);
  Publish(models(), 3);
  ASSERT_TRUE(ModelDirectory(models()).WritePinned(1).ok());
  Start();
  EXPECT_EQ(AnswersFrom(), 3);
  EXPECT_EQ(server_->Terminate(), 0);
  ASSERT_TRUE(ModelDirectory(models()).WritePinned(8).ok());
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(AnswersFrom(), 3);
  EXPECT_EQ(InfoOf(*server_, 8).state(), v1::SNAPSHOT_STATE_FAILED);
  EXPECT_TRUE(InfoOf(*server_, 8).pinned());
  EXPECT_THAT(server_->Log(), HasSubstr("snapshot 3 serves in place of the pinned snapshot 8"));
  EXPECT_EQ(server_->Terminate(), 0);
  ASSERT_TRUE(ModelDirectory(models()).WritePinned(std::nullopt).ok());
  std::ofstream(models() + "/CURRENT") << "garbage";
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(AnswersFrom(), 3);
}

TEST_F(SnapshotTest, UserVectorsOfAReusedVersionNumberAreTheNewOnes) {
  Publish(models(), 1);
  Start();
  EXPECT_EQ(AnswersFrom(), 1);
  EXPECT_EQ(server_->Kill(), 137);  // leaves the family of version 1 behind
  std::filesystem::remove_all(models());
  // Another model of the same number, of another dimension.
  const absl::Status status = PublishRandomSnapshot(
      ModelDirectory(models()),
      {.num_items = 50, .dim = 24, .seed = 9, .num_users = 3, .write_user_vectors = RandomUserVectors(3, 9)});
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_NO_FATAL_FAILURE(Start());
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(UserRequest("user-1", 5), &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_LONG_TERM);
  ASSERT_OK(server_->Recommend(UserRequest("user-15", 5), &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_POPULAR);
}

}  // namespace
}  // namespace swiftlet::testing

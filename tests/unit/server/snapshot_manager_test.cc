#include "server/snapshot_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/request_scope.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using S = SnapshotState;
using Change = std::pair<int64_t, SnapshotState>;

class SnapshotManagerTest : public ::testing::Test {
 protected:
  SnapshotManagerTest() {
    database_ = *Database::Open({.path = dir_.File("data")}, EventTypeTable::Default());
    reaper_ = std::make_unique<Reaper>();
    catalog_ = std::make_unique<CatalogManager>(database_.get(), reaper_.get());
  }
  ~SnapshotManagerTest() override {
    manager_.reset();
    catalog_->Clear();
  }

  void Start() {
    SnapshotManager::Options options;
    options.model_dir = models_.path();
    options.poll_interval = absl::Milliseconds(2);
    options.keep_versions = 3;
    options.now_ms = [] { return int64_t{1'700'000'000'000}; };
    options.on_state = [this](int64_t version, SnapshotState state) {
      MutexLock lock(mu_);
      changes_.emplace_back(version, state);
      changed_.NotifyAll();
    };
    options.on_first_serving = [this] { ++first_serving_; };
    manager_ = std::make_unique<SnapshotManager>(std::move(options), EventTypeTable::Default(),
                                                 database_.get(), catalog_.get(), &metrics_);
    ASSERT_TRUE(manager_->Start().ok());
  }
  void Publish(int64_t version) {
    const absl::Status status = testing::PublishRandomSnapshot(
        models_, {.seed = static_cast<uint64_t>(version),
                  .version = version,
                  .num_users = 5,
                  .write_user_vectors = testing::RandomUserVectors(5, static_cast<uint64_t>(version))});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  // Starts the model directory afresh, with another model under `version`.
  void PublishAfresh(int64_t version, uint32_t dim, uint64_t seed, uint32_t num_items = 100) {
    std::filesystem::remove_all(models_.path());
    const absl::Status status =
        testing::PublishRandomSnapshot(models_, {.num_items = num_items,
                                                 .dim = dim,
                                                 .seed = seed,
                                                 .version = version,
                                                 .num_users = 5,
                                                 .write_user_vectors = testing::RandomUserVectors(5, seed)});
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  std::vector<float> LongTerm(const ServingState& state) {
    std::vector<float> vector;
    EXPECT_TRUE(database_->ReadLongTerm(state.user_vectors.version, "user-1", &vector).ok());
    return vector;
  }
  // Publishes a snapshot that is cut in half.
  void PublishBroken(int64_t version) {
    ASSERT_TRUE(models_.Create().ok());
    const absl::StatusOr<std::string> staging = models_.CreateStaging();
    ASSERT_TRUE(staging.ok());
    ASSERT_TRUE(testing::WriteRandomSnapshot(*staging, {.version = version}).ok());
    const std::string model = *staging + "/" + kModelFile;
    ASSERT_EQ(truncate(model.c_str(), static_cast<off_t>(std::filesystem::file_size(model) / 2)), 0);
    ASSERT_TRUE(models_.Publish(*staging, version).ok());
  }
  // Blocks until the manager reported it, `times` times.
  void WaitFor(Change change, int times = 1) {
    MutexLock lock(mu_);
    while (std::count(changes_.begin(), changes_.end(), change) < times) changed_.Wait(mu_);
  }
  std::vector<Change> Changes() {
    MutexLock lock(mu_);
    return changes_;
  }
  absl::StatusOr<SnapshotSummary> Load(int64_t version) {
    for (;;) {
      std::promise<absl::StatusOr<SnapshotSummary>> done;
      manager_->LoadSnapshot(version,
                             [&](absl::StatusOr<SnapshotSummary> s) { done.set_value(std::move(s)); });
      absl::StatusOr<SnapshotSummary> summary = done.get_future().get();
      if (!absl::IsAborted(summary.status())) return summary;
      std::this_thread::yield();
    }
  }
  int64_t serving() {
    const std::shared_ptr<const ServingState> state = catalog_->Acquire();
    return state == nullptr ? 0 : state->snapshot->version();
  }

  testing::TempDir dir_;
  const ModelDirectory models_{dir_.File("models")};
  ServerMetrics metrics_{"test", [] { return int64_t{0}; }};
  std::unique_ptr<Database> database_;
  std::unique_ptr<Reaper> reaper_;
  std::unique_ptr<CatalogManager> catalog_;
  std::unique_ptr<SnapshotManager> manager_;
  std::atomic<int> first_serving_{0};
  Mutex mu_;
  CondVar changed_;
  std::vector<Change> changes_ ABSL_GUARDED_BY(mu_);
};

TEST_F(SnapshotManagerTest, AnEmptyDirectoryServesNothing) {
  Start();
  EXPECT_EQ(catalog_->Acquire(), nullptr);
  EXPECT_FALSE(manager_->Serving().has_value());
  EXPECT_THAT(*manager_->List(), IsEmpty());
  EXPECT_EQ(manager_->num_resident(), 0);
  EXPECT_EQ(Load(0).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Load(1).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SnapshotManagerTest, AVersionGoesThroughItsStates) {
  Publish(1);
  Start();
  EXPECT_EQ(serving(), 1) << "served before Start returns";
  EXPECT_THAT(Changes(), ElementsAre(Change{1, S::kLoading}, Change{1, S::kWarming}, Change{1, S::kServing}));
  Publish(2);
  WaitFor({1, S::kRetired});
  EXPECT_THAT(Changes(), ElementsAre(Change{1, S::kLoading}, Change{1, S::kWarming}, Change{1, S::kServing},
                                     Change{2, S::kLoading}, Change{2, S::kWarming}, Change{1, S::kDraining},
                                     Change{2, S::kServing}, Change{1, S::kRetired}));
  EXPECT_EQ(serving(), 2);
  EXPECT_EQ(manager_->num_resident(), 1);
  EXPECT_EQ(first_serving_, 1);
  EXPECT_THAT(*database_->IngestedVersions(), ElementsAre(2));
}

TEST_F(SnapshotManagerTest, FailedLoadKeepsServingTheOldSnapshot) {
  Publish(1);
  Start();
  PublishBroken(2);
  WaitFor({2, S::kFailed});
  EXPECT_EQ(serving(), 1);
  EXPECT_EQ(manager_->Serving()->version, 1);
  EXPECT_THAT(manager_->last_error(), HasSubstr("snapshot 2: "));
  EXPECT_EQ(manager_->num_resident(), 1);
  const std::vector<SnapshotSummary> list = *manager_->List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].state, S::kFailed);
  EXPECT_THAT(list[0].error, HasSubstr(kModelFile));
  EXPECT_EQ(list[1].state, S::kServing);

  // It is not tried again by itself, but when an operator asks, or CURRENT changes.
  EXPECT_EQ(Load(2).status().code(), absl::StatusCode::kFailedPrecondition);
  Publish(3);
  WaitFor({3, S::kServing});
  int attempts = 0;
  for (const Change& change : Changes()) attempts += change == Change{2, S::kLoading} ? 1 : 0;
  EXPECT_EQ(attempts, 2);
}

TEST_F(SnapshotManagerTest, ARequestThreadNeverDestroysASnapshot) {
  Publish(1);
  Start();
  // A request in progress over a swap.
  std::shared_ptr<const ServingState> request = catalog_->Acquire();
  const std::weak_ptr<const ModelSnapshot> old = request->snapshot;
  Publish(2);
  WaitFor({2, S::kServing});
  EXPECT_EQ(serving(), 2);
  EXPECT_EQ(manager_->num_resident(), 2);
  EXPECT_GT(request.use_count(), 1) << "somebody else holds it, so that dropping it here frees nothing";
  EXPECT_GT(request->snapshot.use_count(), 1);
  EXPECT_EQ(request->snapshot->version(), 1) << "still whole";
  EXPECT_THAT(*database_->IngestedVersions(), ElementsAre(1, 2)) << "and its user vectors too";

  // A third version waits for the drain: at most two are resident.
  Publish(3);
  EXPECT_EQ(manager_->num_resident(), 2);
  EXPECT_FALSE(old.expired());
  request.reset();
  WaitFor({3, S::kServing});
  const std::vector<Change> changes = Changes();
  const auto retired = std::find(changes.begin(), changes.end(), Change{1, S::kRetired});
  const auto loading = std::find(changes.begin(), changes.end(), Change{3, S::kLoading});
  EXPECT_LT(retired - changes.begin(), loading - changes.begin());
  EXPECT_TRUE(old.expired());
}

TEST_F(SnapshotManagerTest, RequestsUnderSwapsHoldTheLastReferenceNever) {
  Publish(1);
  Start();
  std::atomic<bool> stop{false};
  std::atomic<int> last_holders{0};
  std::vector<std::thread> requests;
  for (int t = 0; t < 3; ++t) {
    requests.emplace_back([&] {
      while (!stop) {
        std::shared_ptr<const ServingState> state = catalog_->Acquire();
        if (state->view->num_rows() != state->snapshot->num_items()) std::abort();
        // Only this thread copies from `state`, so a count of 1 means that dropping it would free it here.
        if (state.use_count() == 1) ++last_holders;
      }
    });
  }
  for (int64_t version = 2; version <= 8; ++version) {
    Publish(version);
    WaitFor({version, S::kServing});
  }
  stop = true;
  for (std::thread& t : requests) t.join();
  EXPECT_EQ(last_holders, 0);
}

TEST_F(SnapshotManagerTest, ARequestThatHoldsASnapshotOverASwapDoesNotFreeIt) {
  Publish(1);
  Start();
  std::promise<void> acquired, swapped;
  std::thread request([&] {
    const RequestScope scope;
    std::shared_ptr<const ServingState> state = catalog_->Acquire();
    std::shared_ptr<const ModelSnapshot> snapshot = state->snapshot;
    acquired.set_value();
    swapped.get_future().wait();
    // The last but one reference each: dropping them here frees nothing, or the process would end.
    state.reset();
    EXPECT_EQ(snapshot->version(), 1);
    snapshot.reset();
  });
  acquired.get_future().wait();
  Publish(2);
  WaitFor({2, S::kServing});
  EXPECT_EQ(manager_->num_resident(), 2);
  swapped.set_value();
  request.join();
  WaitFor({1, S::kRetired});
  EXPECT_EQ(manager_->num_resident(), 1);
}

TEST(RequestScopeDeathTest, ARequestThatFreesASnapshotEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto snapshot = NeverFreedByRequests(std::make_shared<const int>(7), "a snapshot");
  auto state = std::make_shared<const ServingState>();
  {
    const RequestScope scope;
    EXPECT_DEATH(snapshot.reset(), "");
    EXPECT_DEATH(state.reset(), "");
  }
  EXPECT_FALSE(RequestScope::Active());
  EXPECT_EQ(*snapshot, 7);
  snapshot.reset();  // no request any more
  state.reset();
}

TEST_F(SnapshotManagerTest, APinThatComesOrGoesInTheDirectoryIsFollowed) {
  for (int64_t version : {1, 2, 3}) Publish(version);
  Start();
  ASSERT_TRUE(models_.WritePinned(2).ok());  // as another server on this directory does
  WaitFor({2, S::kServing});
  EXPECT_TRUE(manager_->Serving()->pinned);
  ASSERT_TRUE(models_.WritePinned(std::nullopt).ok());
  WaitFor({3, S::kServing}, 2);
  EXPECT_FALSE(manager_->Serving()->pinned);
}

TEST_F(SnapshotManagerTest, ADirectoryThatIsStartedAfreshHasNoPin) {
  for (int64_t version : {5, 6}) Publish(version);
  Start();
  ASSERT_TRUE(Load(5).ok());
  PublishAfresh(1, /*dim=*/8, /*seed=*/3);
  WaitFor({1, S::kServing});
  EXPECT_FALSE(manager_->Serving()->pinned);
}

TEST_F(SnapshotManagerTest, APinOfAVersionWhoseFilesAreGoneStaysServedUntilARestart) {
  for (int64_t version : {1, 2}) Publish(version);
  Start();
  ASSERT_TRUE(Load(1).ok());
  std::filesystem::remove_all(models_.VersionPath(1));
  Publish(3);  // while pinned
  EXPECT_EQ(Load(1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(serving(), 1);
  EXPECT_EQ(LongTerm(*catalog_->Acquire()), testing::RandomUserVector(1, 1, 16)) << "its vectors too";
  manager_.reset();
  catalog_->Clear();
  Start();
  EXPECT_EQ(serving(), 3);
  EXPECT_EQ(*models_.ReadPinned(), 1) << "still wanted";
  Publish(1);
  WaitFor({1, S::kServing}, 2);
}

TEST_F(SnapshotManagerTest, AnUnreadablePinChangesNothing) {
  for (int64_t version : {1, 2}) Publish(version);
  Start();
  ASSERT_TRUE(Load(1).ok());
  std::ofstream(models_.path() + "/PINNED") << "garbage";
  Publish(3);
  ASSERT_EQ(Load(9).status().code(), absl::StatusCode::kNotFound);  // a look at the directory later
  EXPECT_EQ(serving(), 1);
  EXPECT_EQ(Load(0)->version, 3) << "an operator's word mends it";
}

TEST_F(SnapshotManagerTest, UserVectorsThatDoNotFitTheManifestAreRefused) {
  Publish(1);
  Start();
  const auto publish = [&](int64_t version, uint64_t num_users, uint32_t dim) {
    const auto write = [&](const std::string& path, uint32_t) {
      return testing::RandomUserVectors(num_users, 1)(path, dim);
    };
    ASSERT_TRUE(testing::PublishRandomSnapshot(
                    models_, {.version = version, .num_users = 5, .write_user_vectors = write})
                    .ok());
    WaitFor({version, S::kFailed});
  };
  publish(2, 4, 16);
  EXPECT_THAT(manager_->last_error(),
              HasSubstr("user_vectors.sst: num_users: expected 5 (manifest), found 4"));
  publish(3, 5, 8);
  EXPECT_THAT(manager_->last_error(), HasSubstr("user_vectors.sst: user \"user-0\": 32 bytes, expected 64"));
  EXPECT_EQ(serving(), 1);
  EXPECT_THAT(*database_->IngestedVersions(), ElementsAre(1));
}

// Two servers on one model directory, the first of which deletes all but one version.
TEST_F(SnapshotManagerTest, RetentionOfAnotherServerTakesNothingFromThisOne) {
  for (int64_t version : {1, 2}) Publish(version);
  Start();
  ASSERT_TRUE(Load(1).ok());
  const std::shared_ptr<const ServingState> request = catalog_->Acquire();
  ASSERT_TRUE(models_.DeleteOld(0, {}).ok());
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1, 2)) << "PINNED and CURRENT hold for all";
  ASSERT_TRUE(models_.WritePinned(std::nullopt).ok());
  WaitFor({2, S::kServing});
  ASSERT_TRUE(models_.DeleteOld(0, {}).ok());
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(2));
  EXPECT_EQ(request->snapshot->ItemId(3), "item-3") << "mapped";
  EXPECT_EQ(LongTerm(*request), testing::RandomUserVector(1, 1, 16)) << "linked";
}

TEST_F(SnapshotManagerTest, ARollbackIsPinnedUntilItIsLifted) {
  for (int64_t version : {1, 2, 3}) Publish(version);
  Start();
  EXPECT_EQ(serving(), 3);
  absl::StatusOr<SnapshotSummary> summary = Load(1);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_TRUE(summary->pinned);
  EXPECT_EQ(summary->state, S::kServing);
  EXPECT_EQ(*models_.ReadPinned(), 1);
  Publish(4);
  Publish(5);
  EXPECT_EQ(Load(1)->version, 1);
  manager_.reset();
  catalog_->Clear();
  Start();
  EXPECT_EQ(serving(), 1);
  summary = Load(0);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->version, 5);
  EXPECT_EQ(*models_.ReadPinned(), std::nullopt);
  EXPECT_EQ(serving(), 5);
}

TEST_F(SnapshotManagerTest, AFailedRollbackPinsNothing) {
  PublishBroken(1);
  Publish(2);
  Start();
  EXPECT_EQ(Load(1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*models_.ReadPinned(), std::nullopt);
  EXPECT_EQ(serving(), 2);
}

TEST_F(SnapshotManagerTest, AManifestOfAnotherVersionIsRefused) {
  const absl::StatusOr<std::string> staging = models_.Create().ok() ? models_.CreateStaging() : "";
  ASSERT_TRUE(staging.ok());
  ASSERT_TRUE(testing::WriteRandomSnapshot(*staging, {.version = 7}).ok());
  std::filesystem::rename(*staging, models_.VersionPath(8));
  Start();
  EXPECT_THAT(std::string(Load(8).status().message()), HasSubstr("found 7"));
}

TEST_F(SnapshotManagerTest, AnotherSnapshotUnderTheServingNumberIsLoadedAndVectorsNeverMix) {
  Publish(1);
  Start();
  std::shared_ptr<const ServingState> old = catalog_->Acquire();  // a request in progress
  EXPECT_EQ(LongTerm(*old), testing::RandomUserVector(1, 1, 16));
  PublishAfresh(1, /*dim=*/24, /*seed=*/50);
  WaitFor({1, S::kServing}, 2);
  std::shared_ptr<const ServingState> now = catalog_->Acquire();
  EXPECT_EQ(now->snapshot->dim(), 24u);
  EXPECT_NE(now->user_vectors.generation, old->user_vectors.generation);
  // Each reads its own, side by side.
  EXPECT_EQ(LongTerm(*old), testing::RandomUserVector(1, 1, 16));
  EXPECT_EQ(LongTerm(*now), testing::RandomUserVector(1, 50, 24));
  old.reset();
  while (manager_->num_resident() == 2) std::this_thread::yield();
  EXPECT_EQ(LongTerm(*now), testing::RandomUserVector(1, 50, 24)) << "the drain drops only the old ones";
  EXPECT_EQ(database_->IngestedVersions()->size(), 1u);
  EXPECT_EQ(manager_->List()->front().state, S::kServing);

  // And by an operator's command, before the next look at the directory or after it.
  now.reset();
  PublishAfresh(1, /*dim=*/8, /*seed=*/51);
  ASSERT_TRUE(Load(1).ok());
  EXPECT_EQ(catalog_->Acquire()->snapshot->dim(), 8u);
  EXPECT_EQ(LongTerm(*catalog_->Acquire()), testing::RandomUserVector(1, 51, 8));
  while (manager_->num_resident() == 2) std::this_thread::yield();
  EXPECT_THAT(*database_->IngestedVersions(), ElementsAre(1)) << "back under its own name";
}

TEST_F(SnapshotManagerTest, AnotherSnapshotUnderTheServingNumberThatIsRefusedChangesNothing) {
  Publish(1);
  Start();
  std::filesystem::remove_all(models_.path());
  PublishBroken(1);
  WaitFor({1, S::kFailed});
  EXPECT_THAT(manager_->last_error(), HasSubstr("the snapshot that had this number before goes on serving"));
  EXPECT_EQ(LongTerm(*catalog_->Acquire()), testing::RandomUserVector(1, 1, 16));
  EXPECT_EQ(manager_->Serving()->version, 1);
}

TEST_F(SnapshotManagerTest, TheSameSnapshotInOtherFilesIsNotLoadedAgain) {
  Publish(1);
  Start();
  const std::string manifest = models_.VersionPath(1) + "/" + kManifestFile;
  std::filesystem::copy_file(manifest, manifest + ".copy");
  std::filesystem::rename(manifest + ".copy", manifest);
  ASSERT_TRUE(Load(1).ok());
  std::filesystem::remove_all(models_.VersionPath(1));
  ASSERT_TRUE(Load(0).ok()) << "CURRENT names it, and it is in memory";
  EXPECT_THAT(Changes(), ElementsAre(Change{1, S::kLoading}, Change{1, S::kWarming}, Change{1, S::kServing}));
}

TEST_F(SnapshotManagerTest, AStartWithAnUnreadableCurrentServesTheNewestGoodSnapshot) {
  for (int64_t version : {1, 2}) Publish(version);
  PublishBroken(3);
  std::ofstream(models_.path() + "/CURRENT") << "garbage";
  Start();
  EXPECT_EQ(serving(), 2);
  EXPECT_THAT(manager_->last_error(), HasSubstr("snapshot 3: "));
  std::ofstream(models_.path() + "/CURRENT") << "1\n";
  WaitFor({1, S::kServing});
}

TEST_F(SnapshotManagerTest, AStartWithAPinnedVersionThatIsMissingServesCurrentUntilItIsThere) {
  for (int64_t version : {1, 3, 2}) Publish(version);  // CURRENT is 2
  ASSERT_TRUE(models_.WritePinned(9).ok());
  Start();
  EXPECT_EQ(serving(), 2);
  const std::vector<SnapshotSummary> list = *manager_->List();
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[0].version, 9);
  EXPECT_TRUE(list[0].pinned);
  EXPECT_EQ(list[0].state, S::kFailed);
  EXPECT_THAT(list[0].error, HasSubstr("models/9"));
  Publish(9);
  WaitFor({9, S::kServing});
  EXPECT_TRUE(manager_->Serving()->pinned);
}

TEST_F(SnapshotManagerTest, AStartWithAPinnedVersionThatIsCorruptServesANewerOne) {
  PublishBroken(1);
  for (int64_t version : {2, 3}) Publish(version);
  ASSERT_TRUE(models_.WritePinned(1).ok());
  Start();
  EXPECT_EQ(serving(), 3);
  EXPECT_EQ(*models_.ReadPinned(), 1) << "still wanted";
}

TEST_F(SnapshotManagerTest, RefusedVersionsTakeNoPlaceOfAVersionToReturnTo) {
  for (int64_t version : {1, 2}) Publish(version);
  Start();
  for (int64_t version : {3, 4, 5}) {
    PublishBroken(version);
    WaitFor({version, S::kFailed});
  }
  Publish(6);
  WaitFor({6, S::kServing});
  ASSERT_TRUE(Load(6).ok());  // after the retention of the load before
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1, 2, 6));
}

TEST_F(SnapshotManagerTest, TruncatedVersionsFromBeforeARestartTakeNoPlaceEither) {
  for (int64_t version : {1, 2}) Publish(version);
  for (int64_t version : {3, 4, 5}) PublishBroken(version);
  Publish(6);
  Start();
  EXPECT_EQ(serving(), 6);
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1, 2, 6));
}

TEST_F(SnapshotManagerTest, ASnapshotWithFarFewerItemsIsServedAndWarnedOf) {
  std::ostringstream log;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log);
  spdlog::default_logger()->sinks().push_back(sink);
  Publish(1);
  Start();
  PublishAfresh(2, 16, 2, /*num_items=*/49);
  WaitFor({2, S::kServing});
  manager_->Stop();
  spdlog::default_logger()->sinks().pop_back();
  EXPECT_THAT(log.str(), HasSubstr("snapshot 2 has 49 items, less than half of the 100 of snapshot 1"));
}

TEST_F(SnapshotManagerTest, OldVersionsAreDeleted) {
  for (int64_t version = 1; version <= 6; ++version) Publish(version);
  Start();
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(4, 5, 6));
}

}  // namespace
}  // namespace swiftlet

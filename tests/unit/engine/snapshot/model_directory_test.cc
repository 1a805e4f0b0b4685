#include "engine/snapshot/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::PublishRandomSnapshot;
using testing::TempDir;
using Versions = std::vector<int64_t>;

class ModelDirectoryTest : public ::testing::Test {
 protected:
  void Publish(int64_t version) {
    const absl::Status status = PublishRandomSnapshot(
        models_, {.num_items = 3, .dim = 4, .seed = static_cast<uint64_t>(version), .version = version});
    ASSERT_TRUE(status.ok()) << status;
  }
  // Names that are neither versions nor CURRENT nor PINNED.
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(models_.path())) {
      if (entry.path().filename().string()[0] == '.') names.push_back(entry.path().filename());
    }
    return names;
  }
  // A process id that was a process's, and is none's now.
  static pid_t DeadPid() {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    ::waitpid(pid, nullptr, 0);
    return pid;
  }

  TempDir dir_;
  ModelDirectory models_{dir_.File("a/b/models")};
};

TEST_F(ModelDirectoryTest, AnEmptyDirectoryHasNothing) {
  EXPECT_TRUE(absl::IsNotFound(models_.ListVersions().status()));
  EXPECT_EQ(*models_.ReadCurrent(), std::nullopt);
  ASSERT_TRUE(models_.Create().ok());
  ASSERT_TRUE(models_.Create().ok());
  EXPECT_THAT(*models_.ListVersions(), IsEmpty());
  EXPECT_EQ(*models_.ReadCurrent(), std::nullopt);
  EXPECT_EQ(*models_.ReadPinned(), std::nullopt);
  EXPECT_EQ(*models_.NextVersion(), 1);
  EXPECT_TRUE(models_.WritePinned(std::nullopt).ok());
  EXPECT_TRUE(models_.CleanStaging().ok());
}

TEST_F(ModelDirectoryTest, PublishesWholeSnapshots) {
  Publish(1);
  Publish(10);
  Publish(9);
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1, 9, 10));
  EXPECT_EQ(*models_.ReadCurrent(), 9);
  EXPECT_EQ(*models_.NextVersion(), 11);
  EXPECT_THAT(Leftovers(), IsEmpty());
  for (const int64_t version : {1, 9, 10}) {
    const auto snapshot = ModelSnapshot::Load(models_.VersionPath(version), {});
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ((*snapshot)->version(), version);
  }
}

TEST_F(ModelDirectoryTest, NeverReplacesAVersion) {
  Publish(1);
  const absl::Status status = PublishRandomSnapshot(models_, {.num_items = 9, .version = 1});
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_EQ((*ModelSnapshot::Load(models_.VersionPath(1), {}))->num_items(), 3u);
  // Not even an empty directory, which a plain rename would replace.
  fs::create_directory(models_.VersionPath(2));
  EXPECT_TRUE(absl::IsAlreadyExists(PublishRandomSnapshot(models_, {.version = 2})));
  EXPECT_EQ(*models_.ReadCurrent(), 1);
}

TEST_F(ModelDirectoryTest, RefusesToPublishWhatIsNoSnapshotOfThatVersion) {
  ASSERT_TRUE(models_.Create().ok());
  const std::string staging = *models_.CreateStaging();
  EXPECT_TRUE(absl::IsNotFound(models_.Publish(staging, 1)));
  ASSERT_TRUE(testing::WriteRandomSnapshot(staging, {.version = 2}).ok());
  const absl::Status status = models_.Publish(staging, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.ToString(), HasSubstr("version: expected 1, to be published, found 2"));
  EXPECT_THAT(*models_.ListVersions(), IsEmpty());
  EXPECT_EQ(*models_.ReadCurrent(), std::nullopt);
}

TEST_F(ModelDirectoryTest, ListsOnlyDirectoriesNamedByAVersion) {
  Publish(3);
  for (const char* name : {"0", "-1", "+4", "05", "6x", "x", "99999999999999999999", "7.old"}) {
    fs::create_directory(models_.path() + "/" + name);
  }
  std::ofstream(models_.path() + "/8") << "a file";
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(3));
}

TEST_F(ModelDirectoryTest, RefusesACurrentThatIsNoVersion) {
  Publish(1);
  for (const char* text : {"", "x\n", "0\n", "-1", "1 2", "1\n\n", "99999999999999999999"}) {
    std::ofstream(models_.path() + "/CURRENT") << text;
    const auto current = models_.ReadCurrent();
    EXPECT_TRUE(absl::IsDataLoss(current.status())) << text;
    EXPECT_THAT(current.status().ToString(), HasSubstr("CURRENT"));
  }
  std::ofstream(models_.path() + "/CURRENT") << "12";
  EXPECT_EQ(*models_.ReadCurrent(), 12);
  EXPECT_EQ(*models_.NextVersion(), 13);
}

TEST_F(ModelDirectoryTest, APublicationMendsACurrentThatIsNoVersionWhereThereAreVersions) {
  Publish(4);
  for (const char* text : {"", "garbage", "MANIFEST-000005\n"}) {
    std::ofstream(models_.path() + "/CURRENT") << text;
    const int64_t next = *models_.NextVersion();
    Publish(next);
    EXPECT_EQ(*models_.ReadCurrent(), next);
  }
  EXPECT_EQ(*models_.NextVersion(), 8);
}

// The directory of a database has a CURRENT too.
TEST_F(ModelDirectoryTest, ADirectoryWithAForeignCurrentIsNotPublishedInto) {
  ASSERT_TRUE(models_.Create().ok());
  std::ofstream(models_.path() + "/CURRENT") << "MANIFEST-000005\n";
  const absl::Status status = models_.NextVersion().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("expected a version, found \"MANIFEST-000005"));
  EXPECT_THAT(status.ToString(), HasSubstr("is " + models_.path() + " a model directory?"));
}

TEST_F(ModelDirectoryTest, APipeInPlaceOfAFileIsRefusedAtOnce) {
  Publish(1);
  for (const std::string name : {"/CURRENT", "/PINNED", "/1/manifest.json", "/1/model.safetensors"}) {
    const std::string path = models_.path() + name;
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0644), 0);
  }
  EXPECT_THAT(models_.ReadCurrent().status().ToString(), HasSubstr("CURRENT: not a regular file"));
  EXPECT_THAT(models_.ReadPinned().status().ToString(), HasSubstr("PINNED: not a regular file"));
  EXPECT_THAT(ReadManifest(models_.VersionPath(1)).status().ToString(),
              HasSubstr("manifest.json: not a regular file"));
  EXPECT_THAT(SafetensorsFile::Open(models_.VersionPath(1) + "/" + kModelFile).status().ToString(),
              HasSubstr("not a regular file"));
}

TEST_F(ModelDirectoryTest, PinsSurvive) {
  Publish(1);
  ASSERT_TRUE(models_.WritePinned(1).ok());
  EXPECT_EQ(*ModelDirectory(models_.path()).ReadPinned(), 1);
  Publish(2);
  EXPECT_EQ(*models_.ReadPinned(), 1);
  ASSERT_TRUE(models_.WritePinned(2).ok());
  EXPECT_EQ(*models_.ReadPinned(), 2);
  ASSERT_TRUE(models_.WritePinned(std::nullopt).ok());
  EXPECT_EQ(*models_.ReadPinned(), std::nullopt);
  EXPECT_TRUE(absl::IsInvalidArgument(models_.WritePinned(0)));
}

TEST_F(ModelDirectoryTest, RetentionKeepsTheNewestAndWhatMustNeverGo) {
  for (int64_t version = 1; version <= 7; ++version) Publish(version);
  ASSERT_TRUE(models_.WritePinned(2).ok());
  const auto mapped = ModelSnapshot::Load(models_.VersionPath(1), {});
  EXPECT_EQ(*models_.DeleteOld(2, {4}), (Versions{1, 3, 5}));
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(2, 4, 6, 7));
  EXPECT_EQ(*models_.DeleteOld(2, {4}), Versions{});
  EXPECT_EQ(*models_.DeleteOld(100, {}), Versions{});
  EXPECT_EQ(*models_.DeleteOld(0, {}), (Versions{4, 6}));  // 7 is CURRENT, 2 is PINNED
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(2, 7));
  EXPECT_TRUE(absl::IsInvalidArgument(models_.DeleteOld(-1, {}).status()));
  EXPECT_THAT(Leftovers(), IsEmpty());
  EXPECT_EQ((*mapped)->ItemId(2), "item-2");  // still there for those who hold it
}

TEST_F(ModelDirectoryTest, RefusedVersionsDoNotCountAndGoFirst) {
  for (int64_t version = 1; version <= 10; ++version) Publish(version);
  EXPECT_EQ(*models_.DeleteOld(10, {}, {4, 5}), Versions{}) << "there is room";
  EXPECT_EQ(*models_.DeleteOld(9, {}, {4, 5}), Versions{4});
  EXPECT_EQ(*models_.DeleteOld(5, {}, {5, 6, 7, 8}), (Versions{5, 6, 7, 8}));
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1, 2, 3, 9, 10));
  ASSERT_TRUE(models_.WritePinned(2).ok());
  EXPECT_EQ(*models_.DeleteOld(1, {3}, {2, 3, 10}), Versions{1}) << "pinned, in use and current ones stay";
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(2, 3, 9, 10)) << "9 is the newest that is of use";
}

TEST_F(ModelDirectoryTest, PublishedFilesAreReadOnly) {
  Publish(1);
  int num_files = 0;
  for (const auto& entry : fs::directory_iterator(models_.VersionPath(1))) {
    EXPECT_EQ(entry.status().permissions(), fs::perms{0444}) << entry.path();
    ++num_files;
  }
  EXPECT_GE(num_files, 2);
  EXPECT_THAT(*models_.DeleteOld(0, {}), IsEmpty());
  Publish(2);
  EXPECT_THAT(*models_.DeleteOld(1, {}), ElementsAre(1)) << "which does not keep them from being deleted";

  const std::string staging = *models_.CreateStaging();
  ASSERT_TRUE(testing::WriteRandomSnapshot(staging, {.version = 3}).ok());
  std::ofstream(staging + "/" + kUserVectorsFile) << "vectors";
  ASSERT_TRUE(models_.Publish(staging, 3).ok());
  EXPECT_EQ(fs::status(models_.VersionPath(3) + "/" + kUserVectorsFile).permissions(), fs::perms{0644})
      << "the store that links it must sync it";
}

TEST_F(ModelDirectoryTest, CleansWhatDeadProcessesLeftAndNothingElse) {
  Publish(1);
  const std::string mine = *models_.CreateStaging();
  const std::string dead = absl::StrCat(models_.path(), "/.staging-", DeadPid(), "-00ff");
  fs::create_directories(dead + "/deep");
  std::ofstream(dead + "/deep/file") << "x";
  const std::string dead_file = absl::StrCat(models_.path(), "/.staging-", DeadPid(), "-00fe");
  std::ofstream(dead_file) << "2\n";
  const std::string other = models_.path() + "/.something-else";
  fs::create_directory(other);
  ASSERT_TRUE(models_.CleanStaging().ok());
  EXPECT_TRUE(fs::exists(mine));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(dead_file));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_THAT(*models_.ListVersions(), ElementsAre(1));
}

// As seen from another container: the process id in the name is nobody's here, but the owner lives.
TEST_F(ModelDirectoryTest, TheLockProtectsAStagingDirectoryWhoseProcessIdIsUnknown) {
  ASSERT_TRUE(models_.Create().ok());
  const std::string mine = *models_.CreateStaging();
  const std::string renamed = absl::StrCat(models_.path(), "/.staging-", DeadPid(), "-00ff");
  fs::rename(mine, renamed);
  ASSERT_TRUE(models_.CleanStaging().ok());
  EXPECT_TRUE(fs::exists(renamed));
}

// A trainer in a container has process 1, and so has the next one.
TEST_F(ModelDirectoryTest, TheProcessIdOfAnotherProtectsNothingThatIsNotLocked) {
  ASSERT_TRUE(models_.Create().ok());
  const std::string left = absl::StrCat(models_.path(), "/.staging-", ::getpid(), "-00ff");
  const std::string fresh = absl::StrCat(models_.path(), "/.staging-", ::getpid(), "-00fe");
  fs::create_directory(left);
  fs::create_directory(fresh);
  fs::last_write_time(left, fs::file_time_type::clock::now() - std::chrono::minutes(2));
  const std::string mine = *models_.CreateStaging();
  fs::last_write_time(mine, fs::file_time_type::clock::now() - std::chrono::hours(2));
  ASSERT_TRUE(models_.CleanStaging().ok());
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(fresh)) << "its owner may be about to lock it";
  EXPECT_TRUE(fs::exists(mine)) << "locked";
}

// Over random directories: what is kept is what the contract says, and nothing else is touched.
TEST_F(ModelDirectoryTest, RetentionKeepsItsPromisesInRandomStates) {
  ASSERT_TRUE(models_.Create().ok());
  std::mt19937_64 random(20260101);
  const auto pick = [&](const Versions& from) { return from[random() % from.size()]; };
  for (int round = 0; round < 200; ++round) {
    Versions versions;
    for (int64_t version = 1; version <= 12; ++version) {
      fs::remove_all(models_.VersionPath(version));
      if (random() % 3 == 0) continue;
      fs::create_directory(models_.VersionPath(version));
      versions.push_back(version);
    }
    fs::remove(models_.path() + "/CURRENT");
    fs::remove(models_.path() + "/PINNED");
    if (versions.empty()) continue;
    const auto some = [&] {
      Versions result;
      for (const int64_t version : versions) {
        if (random() % 4 == 0) result.push_back(version);
      }
      return result;
    };
    const Versions in_use = some(), refused = some();
    std::set<int64_t> wanted(in_use.begin(), in_use.end());
    for (const char* name : {"/CURRENT", "/PINNED"}) {
      if (random() % 2 == 0) continue;
      const int64_t version = pick(versions);
      std::ofstream(models_.path() + name) << version << "\n";
      wanted.insert(version);
    }
    const int keep = static_cast<int>(random() % 8);
    const absl::StatusOr<Versions> deleted = models_.DeleteOld(keep, in_use, refused);
    ASSERT_TRUE(deleted.ok()) << deleted.status();
    const Versions left = *models_.ListVersions();
    const std::set<int64_t> gone(deleted->begin(), deleted->end());
    const std::set<int64_t> useless(refused.begin(), refused.end());
    EXPECT_EQ(left.size() + gone.size(), versions.size());
    for (const int64_t version : left) EXPECT_FALSE(gone.contains(version));
    for (const int64_t version : wanted) EXPECT_FALSE(gone.contains(version)) << "in use: " << version;
    int num_newer_good = 0;
    for (auto it = versions.rbegin(); it != versions.rend(); ++it) {
      if (useless.contains(*it)) continue;
      const bool kept = num_newer_good < keep || wanted.contains(*it);
      EXPECT_EQ(!gone.contains(*it), kept) << "round " << round << ", version " << *it;
      ++num_newer_good;
    }
    // Useless ones stay only where there is room, or where they are wanted.
    for (const int64_t version : useless) {
      if (gone.contains(version) || wanted.contains(version)) continue;
      EXPECT_LE(left.size(), static_cast<size_t>(keep)) << "round " << round << ", version " << version;
    }
    EXPECT_THAT(Leftovers(), IsEmpty());
  }
}

TEST_F(ModelDirectoryTest, ReadersSeeWholeVersionsWhilePublishing) {
  Publish(1);
  std::atomic<bool> stop = false;
  std::atomic<int> num_reads = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      int64_t newest = 1;
      while (!stop) {
        const auto current = models_.ReadCurrent();
        ASSERT_TRUE(current.ok()) << current.status();
        ASSERT_TRUE(current->has_value());
        EXPECT_GE(**current, newest);
        newest = **current;
        const auto snapshot = ModelSnapshot::Load(models_.VersionPath(newest), {});
        ASSERT_TRUE(snapshot.ok()) << snapshot.status();
        EXPECT_EQ((*snapshot)->version(), newest);
        ++num_reads;
      }
    });
  }
  for (int64_t version = 2; version <= 20; ++version) Publish(version);
  while (num_reads < 20) std::this_thread::yield();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(*models_.ReadCurrent(), 20);
}

}  // namespace
}  // namespace swiftlet

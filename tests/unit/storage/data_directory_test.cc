#include "storage/data_directory.h"

#include <sys/stat.h>

#include "storage/backup.h"
#include "storage/database.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
using storage_testing::Fails;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;
using State = DataDirectoryState;

class DataDirectoryTest : public ::testing::Test {
 protected:
  State Look() const {
    const absl::StatusOr<State> state = LookAtDataDirectory(path_);
    EXPECT_OK(state.status());
    return state.value_or(State::kForeign);
  }
  TempDir dir_;
  const std::string path_ = dir_.Path("data");
};

TEST_F(DataDirectoryTest, FromNothingToADatabaseThatIsOpen) {
  EXPECT_EQ(Look(), State::kMissing);
  fs::create_directories(path_ + "/lost+found");
  EXPECT_EQ(Look(), State::kEmpty);
  fs::remove(path_ + "/lost+found");
  auto db = OpenOrDie({.path = path_});
  ASSERT_NE(db, nullptr);
  EXPECT_EQ(Look(), State::kInUse);
  db = nullptr;
  EXPECT_EQ(Look(), State::kDatabase);
  EXPECT_NE(OpenOrDie({.path = path_}), nullptr) << "looking locks nothing";
}

TEST_F(DataDirectoryTest, OnlyItsOwnerReadsOneThatIsMade) {
  const auto mode = [&](const std::string& name) { return fs::status(dir_.Path(name)).permissions(); };
  const fs::perms everybody = fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                              fs::perms::others_read | fs::perms::others_exec;
  const mode_t old = umask(022);
  auto db = OpenOrDie({.path = dir_.Path("new/data/")});
  ASSERT_NE(db, nullptr);
  EXPECT_EQ(mode("new/data"), fs::perms::owner_all);
  EXPECT_EQ(mode("new"), everybody) << "models may be in it, too";
  ASSERT_OK(db->CreateBackup({.directory = dir_.Path("backups")}).status());
  EXPECT_EQ(mode("backups"), fs::perms::owner_all);
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, dir_.Path("restored")).status());
  EXPECT_EQ(mode("restored"), fs::perms::owner_all);

  fs::create_directory(dir_.Path("shared"));
  EXPECT_NE(OpenOrDie({.path = dir_.Path("shared")}), nullptr);
  EXPECT_EQ(mode("shared"), everybody) << "one that is there stays as it is";
  umask(old);
}

// As at the root of a file system, which cannot be renamed.
TEST_F(DataDirectoryTest, OneIsRestoredBesideWhatIsBroken) {
  auto db = OpenOrDie({.path = dir_.Path("other")});
  ASSERT_NE(db, nullptr);
  ASSERT_OK(db->CreateBackup({.directory = dir_.Path("backups")}).status());
  fs::create_directories(path_ + "/lost+found");
  fs::create_directories(path_ + "/broken/1");
  std::ofstream(path_ + "/broken/1/CURRENT") << "x";
  EXPECT_EQ(Look(), State::kEmpty);
  fs::create_directories(path_ + "/restoring");  // of a first attempt
  std::ofstream(path_ + "/000012.sst") << "x";
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, path_).status());
  EXPECT_EQ(Look(), State::kDatabase);
  EXPECT_FALSE(fs::exists(path_ + "/000012.sst"));
  EXPECT_TRUE(fs::exists(path_ + "/broken/1/CURRENT")) << "it is kept";
  EXPECT_NE(OpenOrDie({.path = path_}), nullptr);
  EXPECT_NE(OpenOrDie({.path = path_}), nullptr) << "and again";
  EXPECT_TRUE(fs::exists(path_ + "/broken/1/CURRENT"));
}

TEST_F(DataDirectoryTest, WhatIsWithinOneIsKnownByWhateverName) {
  fs::create_directories(path_);
  fs::create_directory_symlink(path_, dir_.Path("link"));
  for (const char* inner : {"data", "data/", "data/a", "data/a/b/", "x/../data", "data/../data/a", "link",
                            "link/a", "link/a/../../data", "./data/./a"}) {
    EXPECT_TRUE(IsWithin(dir_.Path(inner), path_)) << inner;
    EXPECT_TRUE(IsWithin(dir_.Path(inner), path_ + "/")) << inner;
  }
  for (const char* apart : {"data2", "dat", "", "data/..", "data/../other", "link/../other"}) {
    EXPECT_FALSE(IsWithin(dir_.Path(apart), path_)) << apart;
  }
}

TEST_F(DataDirectoryTest, OtherThingsAreNone) {
  std::ofstream(path_) << "a file";
  EXPECT_EQ(Look(), State::kNotADirectory);
  fs::remove(path_);
  fs::create_directory(path_);
  std::ofstream(path_ + "/thesis.tex") << "x";
  EXPECT_EQ(Look(), State::kForeign);
}

TEST_F(DataDirectoryTest, ARestoreThatWasCutShortIsNoDatabase) {
  auto db = OpenOrDie({.path = dir_.Path("other")});
  ASSERT_NE(db, nullptr);
  ASSERT_OK(db->CreateBackup({.directory = dir_.Path("backups")}).status());
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, path_).status());
  EXPECT_EQ(Look(), State::kDatabase);
  // As it is before its last step, and before its first file is moved.
  fs::rename(path_ + "/CURRENT", path_ + "/CURRENT.restored");
  const auto refused =
      Fails(absl::StatusCode::kFailedPrecondition,
            path_ + ": a restore was cut short, or is not done yet: restore the backup again");
  EXPECT_EQ(Look(), State::kHalfRestored);
  EXPECT_TRUE(IsHalfRestored(path_));
  EXPECT_THAT(Database::Open({.path = path_}, EventTypeTable::Default()).status(), refused);
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, path_).status());
  EXPECT_EQ(Look(), State::kDatabase);
  EXPECT_FALSE(fs::exists(path_ + "/restoring"));
  EXPECT_FALSE(fs::exists(path_ + "/CURRENT.restored"));
  EXPECT_NE(OpenOrDie({.path = path_}), nullptr);
  fs::remove_all(path_);
  fs::create_directories(path_ + "/restoring");
  EXPECT_EQ(Look(), State::kHalfRestored);
  EXPECT_THAT(Database::Open({.path = path_}, EventTypeTable::Default()).status(), refused);
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, path_).status());
  fs::create_directories(path_ + "/restoring");
  EXPECT_EQ(Look(), State::kDatabase) << "a whole one, whatever lies beside it";
  EXPECT_FALSE(IsHalfRestored(path_));
}

}  // namespace
}  // namespace swiftlet

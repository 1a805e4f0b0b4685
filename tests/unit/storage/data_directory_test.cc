#include "storage/data_directory.h"

#include "storage/backup.h"
#include "storage/database.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
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
  EXPECT_EQ(Look(), State::kHalfRestored);
  fs::remove_all(path_);
  fs::create_directories(path_ + "/restoring");
  EXPECT_EQ(Look(), State::kHalfRestored);
  ASSERT_OK(RestoreBackup(dir_.Path("backups"), 0, path_).status());
  fs::create_directories(path_ + "/restoring");
  EXPECT_EQ(Look(), State::kDatabase) << "a whole one, whatever lies beside it";
}

}  // namespace
}  // namespace swiftlet

#include "storage/backup.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <random>
#include <set>
#include <thread>

#include "storage/database.h"
#include "storage/user_vector_file.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::HistoryOf;
using storage_testing::Item;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_ = OpenOrDie({.path = dir_.Path("data")});
    ASSERT_NE(db_, nullptr);
  }
  void Record(const std::string& user, int i) {
    ASSERT_OK(db_->RecordEvents({{Event(user, absl::StrCat("i", i), i, absl::StrCat(user, " ", i))}}, kNow)
                  .status());
  }
  // Some that no compression makes less.
  void WriteMegabytes() {
    std::mt19937_64 random(7);
    for (int i = 0; i < 8; ++i) {
      std::vector<float> vector(100'000);
      for (float& f : vector) f = static_cast<float>(random()) / 1e19F;
      ASSERT_OK(db_->WriteItems({{Item(absl::StrCat("item", i), "title", vector)}}));
    }
  }
  BackupInfo Backup(uint32_t keep = 0) {
    const absl::StatusOr<BackupInfo> info = db_->CreateBackup({.directory = backups_, .keep = keep});
    EXPECT_OK(info.status());
    return info.ok() ? *info : BackupInfo{};
  }
  std::vector<uint32_t> Ids() {
    const absl::StatusOr<BackupList> list = ListBackups(backups_);
    EXPECT_OK(list.status());
    std::vector<uint32_t> ids;
    for (const BackupInfo& info : list->backups) ids.push_back(info.id);
    return ids;
  }
  std::string FirstTable() {
    for (const auto& entry : fs::recursive_directory_iterator(backups_)) {
      if (entry.path().extension() == ".sst" && entry.file_size() > 0) return entry.path();
    }
    return "";
  }

  TempDir dir_;
  const std::string backups_ = dir_.Path("backups"), restored_ = dir_.Path("a/new/place");
  std::unique_ptr<Database> db_;
};

TEST_F(BackupTest, BringsBackWhatWasWrittenBefore) {
  Record("u", 1);
  Record("u", 2);
  ASSERT_OK(db_->WriteItems({{Item("item", "title", {1, 2})}}));
  const BackupInfo info = Backup();
  EXPECT_EQ(info.id, 1u);
  EXPECT_GT(info.bytes, 0u);
  EXPECT_GT(info.created_ms, kNow);
  Record("u", 3);

  const absl::StatusOr<BackupInfo> restored = RestoreBackup(backups_, 0, restored_);
  ASSERT_OK(restored.status());
  EXPECT_EQ(restored->id, 1u);
  const auto copy = OpenOrDie({.path = restored_});
  ASSERT_NE(copy, nullptr);
  EXPECT_THAT(HistoryOf(*copy, "u"), SizeIs(2));
  const auto item = copy->ReadItem(ItemKeyOf("item"));
  ASSERT_OK(item.status());
  ASSERT_TRUE(item->has_value());
  EXPECT_EQ((*item)->title, "title");
  // Event ids are remembered, and arrival numbers go on.
  const auto again = copy->RecordEvents({{Event("u", "i1", 1, "u 1"), Event("u", "i9", 9, "u 9")}}, kNow);
  ASSERT_OK(again.status());
  EXPECT_EQ(again->num_duplicates, 1u);
  EXPECT_THAT(HistoryOf(*copy, "u"), SizeIs(3));
  EXPECT_THAT(HistoryOf(*db_, "u"), SizeIs(3)) << "the original goes on by itself";
}

TEST_F(BackupTest, AnyOfThemCanBeRestored) {
  for (int i = 1; i <= 3; ++i) {
    Record("u", i);
    EXPECT_EQ(Backup().id, static_cast<uint32_t>(i));
  }
  EXPECT_THAT(Ids(), ElementsAre(1, 2, 3));
  for (const uint32_t id : {2u, 1u, 3u}) {
    const absl::StatusOr<BackupInfo> verified = VerifyBackup(backups_, id);
    ASSERT_OK(verified.status());
    EXPECT_EQ(verified->id, id);
    const std::string place = dir_.Path(absl::StrCat("restored ", id));
    ASSERT_OK(RestoreBackup(backups_, id, place).status());
    EXPECT_THAT(HistoryOf(*OpenOrDie({.path = place}), "u"), SizeIs(id));
  }
}

TEST_F(BackupTest, OldOnesAreDeletedAndNumbersGoOn) {
  for (int i = 1; i <= 4; ++i) {
    Record("u", i);
    Backup(2);
  }
  EXPECT_THAT(Ids(), ElementsAre(3, 4));
  ASSERT_OK(RestoreBackup(backups_, 3, restored_).status());
  EXPECT_THAT(HistoryOf(*OpenOrDie({.path = restored_}), "u"), SizeIs(3));
  EXPECT_THAT(
      RestoreBackup(backups_, 1, dir_.Path("other")).status(),
      Fails(absl::StatusCode::kNotFound, absl::StrCat("no backup 1 in ", backups_, "; there are 3, 4")));
  EXPECT_FALSE(fs::exists(dir_.Path("other"))) << "nothing is made for a backup that is not there";
}

TEST_F(BackupTest, WhatIsTooManyGoesBeforeTheNextOneIsMadeButNeverTheNewestGoodOne) {
  std::vector<std::set<std::string>> tables;
  for (int i = 1; i <= 4; ++i) {
    Record("u", i);
    Backup();
    tables.emplace_back();
    for (const auto& entry : fs::recursive_directory_iterator(backups_)) {
      if (entry.path().extension() == ".sst") tables.back().insert(entry.path());
    }
  }
  WriteMegabytes();
  const auto fail_to_make_one = [&](uint32_t keep, uint64_t after_bytes) {
    const auto stop = [&](uint64_t num_bytes) {
      return num_bytes >= after_bytes ? absl::CancelledError("enough") : absl::OkStatus();
    };
    EXPECT_THAT(db_->CreateBackup({.directory = backups_, .keep = keep, .progress = stop}).status(),
                Fails(absl::StatusCode::kCancelled, "enough"));
  };
  fail_to_make_one(2, 0);
  EXPECT_THAT(Ids(), ElementsAre(1, 2, 3, 4)) << "that nobody wants deletes nothing";
  fail_to_make_one(3, 1);
  EXPECT_THAT(Ids(), ElementsAre(2, 3, 4));
  // Of the last one alone.
  std::vector<std::string> last;
  std::set_difference(tables[3].begin(), tables[3].end(), tables[2].begin(), tables[2].end(),
                      std::back_inserter(last));
  ASSERT_THAT(last, testing::Not(IsEmpty()));
  fs::remove(last.front());
  fail_to_make_one(1, 1);
  EXPECT_THAT(Ids(), ElementsAre(3));
  ASSERT_OK(VerifyBackup(backups_, 3).status());
}

TEST(Backups, ThatAreDamagedDoNotCount) {
  std::vector<BackupInfo> backups;
  for (uint32_t id = 1; id <= 5; ++id) backups.push_back({.id = id});
  EXPECT_THAT(TooMany(backups, 0, {}), IsEmpty());
  EXPECT_THAT(TooMany(backups, 5, {}), IsEmpty());
  EXPECT_THAT(TooMany(backups, 2, {}), ElementsAre(1, 2, 3));
  EXPECT_THAT(TooMany(backups, 2, {4, 77}), ElementsAre(1, 2));
  EXPECT_THAT(TooMany(backups, 1, {2, 4, 5}), ElementsAre(1, 2)) << "what is older goes, damaged or not";
  EXPECT_THAT(TooMany(backups, 1, {1, 2, 3, 4, 5}), IsEmpty());
}

TEST_F(BackupTest, IsWholeWhileWritesGoOn) {
  // Each call writes two events of two users: a backup has both or none.
  db_ = nullptr;
  db_ = OpenOrDie({.path = dir_.Path("data"), .max_history_events = 1'000'000});
  ASSERT_NE(db_, nullptr);
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const auto result = db_->RecordEvents(
          {{Event("a", absl::StrCat("i", i), i), Event("b", absl::StrCat("i", i), i)}}, kNow);
      ASSERT_OK(result.status());
      ++written;
    }
  });
  while (written < 20) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) {
    const int before = written;
    Backup();
    const std::string place = dir_.Path(absl::StrCat("restored ", i));
    ASSERT_OK(RestoreBackup(backups_, 0, place).status());
    const auto copy = OpenOrDie({.path = place, .max_history_events = 1'000'000});
    const size_t a = HistoryOf(*copy, "a").size(), b = HistoryOf(*copy, "b").size();
    EXPECT_EQ(a, b);
    EXPECT_GE(a, static_cast<size_t>(before)) << "what was acknowledged before";
  }
  stop = true;
  writer.join();
}

TEST_F(BackupTest, UserVectorsComeBack) {
  const std::string file = dir_.Path("user_vectors.sst");
  auto writer = UserVectorFileWriter::Create(file, 2);
  ASSERT_OK(writer.status());
  const std::vector<float> vector = {3, 4};
  ASSERT_OK((*writer)->Add("u", vector));
  ASSERT_OK((*writer)->Finish());
  ASSERT_OK(db_->IngestUserVectors(7, 2, file, kNow));
  Backup();
  ASSERT_OK(RestoreBackup(backups_, 0, restored_).status());
  const auto copy = OpenOrDie({.path = restored_});
  std::vector<float> read;
  ASSERT_OK(copy->ReadLongTerm(7, "u", &read));
  EXPECT_THAT(read, ElementsAre(3, 4));
}

TEST_F(BackupTest, DamageIsFoundAndNotRestored) {
  Record("u", 1);
  Backup();
  const std::string table = FirstTable();
  ASSERT_NE(table, "");
  {
    std::fstream file(table, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(10);
    file << "damage";
  }
  EXPECT_THAT(VerifyBackup(backups_, 0).status(), Fails(absl::StatusCode::kDataLoss, "backup 1 is damaged"));
  EXPECT_THAT(RestoreBackup(backups_, 0, restored_).status(),
              Fails(absl::StatusCode::kDataLoss, "cannot restore backup 1"));
  EXPECT_THAT(RestoreBackup(backups_, 0, restored_).status(),
              Fails(absl::StatusCode::kDataLoss, fs::path(table).filename().string()));
  EXPECT_FALSE(Database::Open({.path = restored_}, EventTypeTable::Default()).ok())
      << "a part of a backup is not served";
  // The next attempt, from another backup, takes the place of what this one left.
  fs::remove(table);
  EXPECT_THAT(ListBackups(backups_)->damaged, ElementsAre(1));
  const std::string others = dir_.Path("other backups");
  ASSERT_OK(db_->CreateBackup({.directory = others}).status());
  ASSERT_OK(RestoreBackup(others, 0, restored_).status());
  EXPECT_THAT(HistoryOf(*OpenOrDie({.path = restored_}), "u"), SizeIs(1));
}

TEST_F(BackupTest, TellsHowFarItIsAndIsStopped) {
  WriteMegabytes();
  std::vector<uint64_t> told;
  const auto tell = [&](uint64_t num_bytes) {
    told.push_back(num_bytes);
    return absl::OkStatus();
  };
  const absl::StatusOr<BackupInfo> info = db_->CreateBackup({.directory = backups_, .progress = tell});
  ASSERT_OK(info.status());
  EXPECT_GT(info->bytes, 2'000'000u);
  EXPECT_THAT(told, SizeIs(testing::Ge(3u)));
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_GT(told.back(), info->bytes / 2);
  EXPECT_LE(told.back(), info->bytes);
  told.clear();
  ASSERT_OK(VerifyBackup(backups_, 0, tell).status());
  EXPECT_GE(told.back(), info->bytes);

  const auto stop = [](uint64_t num_bytes) {
    return num_bytes > 0 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  EXPECT_THAT(VerifyBackup(backups_, 0, stop).status(), Fails(absl::StatusCode::kCancelled, "enough"));
  const std::string others = dir_.Path("others");
  EXPECT_THAT(db_->CreateBackup({.directory = others, .progress = stop}).status(),
              Fails(absl::StatusCode::kCancelled, "enough"));
  EXPECT_THAT(ListBackups(others)->backups, IsEmpty());
  uint64_t left = 0;
  for (const auto& entry : fs::recursive_directory_iterator(others)) {
    if (entry.is_regular_file()) left += entry.file_size();
  }
  EXPECT_LT(left, 10'000u) << "what was copied is deleted";
  ASSERT_OK(db_->CreateBackup({.directory = others}).status());
}

TEST_F(BackupTest, DirectoriesOfOtherThingsAreLeftAlone) {
  Record("u", 1);
  EXPECT_THAT(ListBackups(backups_).status(), Fails(absl::StatusCode::kNotFound, "no backups there"));
  EXPECT_THAT(VerifyBackup(backups_, 0).status(), Fails(absl::StatusCode::kNotFound, "no backups there"));
  EXPECT_THAT(RestoreBackup(backups_, 0, restored_).status(),
              Fails(absl::StatusCode::kNotFound, "no backups there"));
  EXPECT_FALSE(fs::exists(restored_));
  fs::create_directories(dir_.Path("precious"));
  std::ofstream(dir_.Path("precious/file")) << "x";
  EXPECT_THAT(db_->CreateBackup({.directory = dir_.Path("precious")}).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "holds no backups"));
  EXPECT_THAT(db_->CreateBackup({.directory = dir_.Path("precious/file")}).status(),
              Fails(absl::StatusCode::kUnavailable, "precious/file"));
  // What is there at the root of a file system that nothing was put on.
  fs::create_directories(dir_.Path("disk/lost+found"));
  EXPECT_TRUE(db_->CreateBackup({.directory = dir_.Path("disk")}).ok());
  Backup();
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("precious")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "is not empty (file)"));
  EXPECT_TRUE(fs::exists(dir_.Path("precious/file")));
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("data")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "a process has this database open"));
  EXPECT_THAT(HistoryOf(*db_, "u"), SizeIs(1));
  db_ = nullptr;
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("data")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "is not empty"));
  // Not even where the last step of a restore is missing.
  fs::create_directory(dir_.Path("data/restoring"));
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("data")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "is not empty"));
}

TEST_F(BackupTest, DataAndBackupsAreApart) {
  Record("u", 1);
  Backup();
  fs::create_directory_symlink(dir_.Path("data"), dir_.Path("to data"));
  fs::create_directory_symlink(backups_, dir_.Path("to backups"));
  for (const char* name : {"data", "data/sub", "data/new/sub/", "backups/../data/sub", "to data/sub"}) {
    const std::string path = dir_.Path(name);
    EXPECT_THAT(db_->CreateBackup({.directory = path}).status(),
                Fails(absl::StatusCode::kFailedPrecondition,
                      absl::StrCat("the directory of backups, ", path, ", is in the data directory, ",
                                   dir_.Path("data"))));
  }
  EXPECT_FALSE(fs::exists(dir_.Path("data/sub")));
  EXPECT_FALSE(fs::exists(dir_.Path("data/new")));
  for (const char* name : {"backups/x", "backups/new/x/", "data/../backups/x", "to backups/x"}) {
    const std::string path = dir_.Path(name);
    EXPECT_THAT(
        RestoreBackup(backups_, 0, path).status(),
        Fails(absl::StatusCode::kFailedPrecondition,
              absl::StrCat("the data directory, ", path, ", is in the directory of backups, ", backups_)));
  }
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("backups")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "they must differ"));
  EXPECT_FALSE(fs::exists(dir_.Path("backups/x")));
  EXPECT_FALSE(fs::exists(dir_.Path("backups/new")));
  // A restore empties what an earlier attempt left: not with the backups in it.
  const std::string place = dir_.Path("place");
  fs::create_directories(place + "/restoring");
  fs::rename(backups_, place + "/backups");
  EXPECT_THAT(RestoreBackup(place + "/backups", 0, place).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "is in the data directory"));
  EXPECT_THAT(ListBackups(place + "/backups")->backups, SizeIs(1));
}

TEST_F(BackupTest, AMessageNamesTheNewestOnesOnly) {
  Record("u", 1);
  Backup();
  EXPECT_THAT(RestoreBackup(backups_, 9, restored_).status(),
              Fails(absl::StatusCode::kNotFound, absl::StrCat("no backup 9 in ", backups_, "; there is 1")));
  for (int i = 2; i <= 23; ++i) Backup();
  EXPECT_THAT(RestoreBackup(backups_, 99, restored_).status(),
              Fails(absl::StatusCode::kNotFound, "; there are 4, 5, "));
  EXPECT_THAT(RestoreBackup(backups_, 99, restored_).status(),
              Fails(absl::StatusCode::kNotFound, ", 22, 23, and 3 older ones"));
}

TEST_F(BackupTest, OfRestoresToOnePlaceOneIsMade) {
  Record("u", 1);
  Backup();
  for (int round = 0; round < 5; ++round) {
    const std::string place = dir_.Path(absl::StrCat("place ", round));
    std::atomic<int> made{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        const absl::Status status = RestoreBackup(backups_, 0, place).status();
        if (status.ok()) return static_cast<void>(++made);
        EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, 1);
    EXPECT_THAT(HistoryOf(*OpenOrDie({.path = place}), "u"), SizeIs(1));
  }
}

TEST_F(BackupTest, ADatabaseThatIsOpenIsNotRestoredOver) {
  Record("u", 1);
  Backup();
  fs::create_directory(dir_.Path("data/restoring"));
  fs::remove(dir_.Path("data/CURRENT"));
  EXPECT_THAT(RestoreBackup(backups_, 0, dir_.Path("data")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "a process has this database open"));
}

TEST_F(BackupTest, NoTwoAtOnceInADirectory) {
  Record("u", 1);
  Backup();
  std::atomic<int> made{0}, refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const absl::Status status = db_->CreateBackup({.directory = backups_}).status();
      if (status.ok()) return static_cast<void>(++made);
      EXPECT_THAT(status, Fails(absl::StatusCode::kFailedPrecondition, "another backup is being made"));
      ++refused;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(made, 1);
  EXPECT_EQ(made + refused, 4);
  EXPECT_THAT(Ids(), SizeIs(static_cast<size_t>(made) + 1));
}

}  // namespace
}  // namespace swiftlet

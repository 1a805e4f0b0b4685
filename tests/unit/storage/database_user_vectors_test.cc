// User vectors of storage/database.h.
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "rocksdb/db.h"
#include "storage/database.h"
#include "storage/schema.h"
#include "storage/training_reader.h"
#include "storage/user_vector_file.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::FileBytes;
using storage_testing::HistoryOf;
using storage_testing::kHourMs;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;

void WriteFile(const std::string& path, const std::map<std::string, std::vector<float>>& users) {
  auto writer = UserVectorFileWriter::Create(path, static_cast<uint32_t>(users.begin()->second.size()));
  ASSERT_OK(writer.status());
  for (const auto& [id, vector] : users) ASSERT_OK((*writer)->Add(id, vector));
  ASSERT_OK((*writer)->Finish());
}

class DatabaseUserVectorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_.Path("models"));
    WriteFile(sst_, {{"a", {1, 2}}, {"b", {3, 4}}});
    Reopen();
  }
  void Reopen() {
    db_ = nullptr;
    db_ = OpenOrDie(options_);
    ASSERT_NE(db_, nullptr);
  }
  std::vector<float> Read(int64_t version, std::string_view user) {
    std::vector<float> vector = {99};
    EXPECT_OK(db_->ReadLongTerm(version, user, &vector));
    return vector;
  }
  std::vector<int64_t> Versions() { return *db_->IngestedVersions(); }
  // Files of the data directory whose name says that an ingestion is going on.
  int ScratchFiles() {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(options_.path)) {
      n += entry.path().filename().string().starts_with("ingest");
    }
    return n;
  }

  const TempDir dir_;
  const DatabaseOptions options_ = {.path = dir_.Path("db")};
  const std::string sst_ = dir_.Path("models/user_vectors.sst");
  std::unique_ptr<Database> db_;
};

TEST_F(DatabaseUserVectorsTest, IngestReadDropAndIngestAgain) {
  const std::string bytes = FileBytes(sst_);
  std::vector<float> vector;
  EXPECT_THAT(db_->ReadLongTerm(1, "a", &vector), Fails(absl::StatusCode::kNotFound, "version 1"));
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow));
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow)) << "idempotent";
  ASSERT_OK(db_->IngestUserVectors(2, 2, sst_, kNow)) << "one file may serve two versions";
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(Read(2, "b"), (std::vector<float>{3, 4}));
  EXPECT_TRUE(Read(1, "nobody").empty());
  EXPECT_THAT(Versions(), testing::ElementsAre(1, 2));
  Reopen();
  EXPECT_THAT(Versions(), testing::ElementsAre(1, 2));
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{1, 2}));
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow));

  ASSERT_OK(db_->DropUserVectors(1));
  ASSERT_OK(db_->DropUserVectors(1));
  ASSERT_OK(db_->DropUserVectors(77));
  EXPECT_EQ(db_->ReadLongTerm(1, "a", &vector).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Versions(), testing::ElementsAre(2));
  Reopen();
  EXPECT_THAT(Versions(), testing::ElementsAre(2));
  EXPECT_EQ(FileBytes(sst_), bytes) << "the snapshot keeps its file, byte for byte";
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow)) << "a rollback";
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(FileBytes(sst_), bytes);
  EXPECT_EQ(ScratchFiles(), 0);
}

TEST_F(DatabaseUserVectorsTest, TheFileIsSharedNotCopied) {
  struct stat before, after;
  ASSERT_EQ(stat(sst_.c_str(), &before), 0);
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow));
  ASSERT_EQ(stat(sst_.c_str(), &after), 0);
  EXPECT_EQ(after.st_nlink, before.st_nlink + 1);
  EXPECT_EQ(after.st_mtime, before.st_mtime);
  // The snapshot may be deleted while its vectors are in use.
  std::filesystem::remove(sst_);
  Reopen();
  EXPECT_EQ(Read(1, "b"), (std::vector<float>{3, 4}));
}

TEST_F(DatabaseUserVectorsTest, AnotherFileSystemIsCopiedFrom) {
  const std::string shm = absl::StrCat("/dev/shm/swiftlet_storage_test_", getpid());
  struct stat a, b;
  if (stat("/dev/shm", &a) != 0 || stat(options_.path.c_str(), &b) != 0 || a.st_dev == b.st_dev ||
      !std::filesystem::copy_file(sst_, shm)) {
    GTEST_SKIP() << "no second file system here";
  }
  EXPECT_THAT(db_->IngestUserVectors(1, 2, shm, kNow, {.stopped = [] { return true; }}),
              Fails(absl::StatusCode::kCancelled, "given up"));
  EXPECT_EQ(ScratchFiles(), 0);
  EXPECT_TRUE(Versions().empty());
  const auto start = std::chrono::steady_clock::now();
  const auto bytes = static_cast<int64_t>(FileBytes(sst_).size());
  EXPECT_OK(db_->IngestUserVectors(1, 2, shm, kNow, {.bytes_per_second = 5 * bytes}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(200));
  EXPECT_EQ(FileBytes(shm), FileBytes(sst_));
  std::filesystem::remove(shm);
  Reopen();
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(ScratchFiles(), 0);
}

TEST_F(DatabaseUserVectorsTest, AnotherFileUnderAKnownVersionReplacesIt) {
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow));
  const std::string other = dir_.Path("models/other.sst");
  WriteFile(other, {{"a", {5, 6}}, {"b", {7, 8}}});
  ASSERT_OK(db_->IngestUserVectors(1, 2, other, kNow));
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{5, 6}));
  Reopen();
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{5, 6}));
}

TEST_F(DatabaseUserVectorsTest, BadFilesLeaveNothingBehind) {
  EXPECT_THAT(db_->IngestUserVectors(1, 3, sst_, kNow),
              Fails(absl::StatusCode::kDataLoss, "8 bytes, expected 12"));
  EXPECT_THAT(db_->IngestUserVectors(1, 2, dir_.Path("none"), kNow),
              Fails(absl::StatusCode::kNotFound, "none"));
  const std::string bytes = FileBytes(sst_);
  const std::string cut = dir_.Path("models/cut.sst");
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_THAT(db_->IngestUserVectors(1, 2, cut, kNow), Fails(absl::StatusCode::kDataLoss, cut));
  EXPECT_EQ(db_->IngestUserVectors(0, 2, sst_, kNow).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(db_->IngestUserVectors(1, 0, sst_, kNow).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Versions().empty());
  EXPECT_EQ(ScratchFiles(), 0);
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow)) << "and the version can still be ingested";
  EXPECT_EQ(Read(1, "a"), (std::vector<float>{1, 2}));
  EXPECT_EQ(FileBytes(sst_), bytes);
}

TEST_F(DatabaseUserVectorsTest, AFamilyWithoutItsRecordIsUnfinished) {
  db_ = nullptr;
  {  // a crash after the family was created, before its file was in
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, options_.path, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, FamilyOptions(name, {}));
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, options_.path, families, &handles, &raw).ok());
    rocksdb::ColumnFamilyHandle* family = nullptr;
    ASSERT_TRUE(raw->CreateColumnFamily(UserVectorsOptions(nullptr), UserVectorsFamily(5), &family).ok());
    handles.push_back(family);
    for (auto* handle : handles) ASSERT_TRUE(raw->DestroyColumnFamilyHandle(handle).ok());
    delete raw;
  }
  std::ofstream(options_.path + "/ingest-5") << "left over";
  Reopen();
  EXPECT_TRUE(Versions().empty());
  EXPECT_EQ(ScratchFiles(), 0);
  ASSERT_OK(db_->IngestUserVectors(5, 2, sst_, kNow));
  EXPECT_EQ(Read(5, "a"), (std::vector<float>{1, 2}));
}

TEST_F(DatabaseUserVectorsTest, ErasureMasksVectorsThatWereTrainedEarlier) {
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, /*trained_through_ms=*/kNow));
  ASSERT_OK(db_->DeleteUser("a", kNow + 500));
  ASSERT_OK(db_->IngestUserVectors(2, 2, sst_, /*trained_through_ms=*/kNow + 1000));
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(Read(1, "a").empty());
    EXPECT_EQ(Read(2, "a"), (std::vector<float>{1, 2})) << "trained on what came after the erasure";
    EXPECT_EQ(Read(1, "b"), (std::vector<float>{3, 4}));
    Reopen();
  }
  // An older snapshot that is loaded later is masked too.
  ASSERT_OK(db_->IngestUserVectors(3, 2, sst_, /*trained_through_ms=*/kNow - 1000));
  EXPECT_TRUE(Read(3, "a").empty());
}

TEST_F(DatabaseUserVectorsTest, ErasureMasksWhatIsThereThoughItsTrainersClockIsAhead) {
  ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, /*trained_through_ms=*/kNow + kHourMs));
  ASSERT_OK(db_->DeleteUser("a", kNow));
  EXPECT_TRUE(Read(1, "a").empty());
  EXPECT_EQ(Read(1, "b"), (std::vector<float>{3, 4}));
  // One that is on disk, and ingested later.
  db_->EraseThrough(kNow + 2 * kHourMs);
  db_->EraseThrough(kNow + kHourMs);
  ASSERT_OK(db_->DeleteUser("b", kNow));
  Reopen();
  ASSERT_OK(db_->IngestUserVectors(2, 2, sst_, /*trained_through_ms=*/kNow + 2 * kHourMs));
  EXPECT_TRUE(Read(2, "b").empty());
  // Events go on at their own time.
  ASSERT_OK(db_->RecordEvents({{Event("a", "i", 1)}}, kNow).status());
  EXPECT_EQ(HistoryOf(*db_, "a").size(), 1);
}

TEST_F(DatabaseUserVectorsTest, ErasureIsLaterThanWhatArrivedBeforeItWhateverTheClockSays) {
  // What a trainer takes for the time that its snapshot was trained through.
  const auto newest_arrival_ms = [&] {
    auto reader = TrainingReader::Open(options_.path, dir_.Path("scratch"));
    EXPECT_OK(reader.status());
    int64_t newest_ms = 0;
    EXPECT_OK((*reader)->ForEachEvent([&](int64_t arrival_ms, const EventRecord&) {
      EXPECT_GE(arrival_ms, newest_ms);
      newest_ms = arrival_ms;
      return absl::OkStatus();
    }));
    return newest_ms;
  };
  int64_t version = 0;
  for (const int64_t clock_ms : {kNow, kNow - 5000, kNow + 5000}) {  // of the erasure and what follows
    ASSERT_OK(db_->RecordEvents(std::vector{Event("b", "x", 1), Event("a", "x", 1)}, kNow).status());
    ASSERT_OK(db_->IngestUserVectors(++version, 2, sst_, newest_arrival_ms()));
    ASSERT_EQ(Read(version, "a"), (std::vector<float>{1, 2}));
    ASSERT_OK(db_->DeleteUser("a", clock_ms));
    EXPECT_TRUE(Read(version, "a").empty()) << "trained before the erasure";
    if (clock_ms < kNow) Reopen();
    ASSERT_OK(db_->RecordEvents(std::vector{Event("a", "y", 1)}, clock_ms).status());
    ASSERT_OK(db_->IngestUserVectors(++version, 2, sst_, newest_arrival_ms()));
    EXPECT_EQ(Read(version, "a"), (std::vector<float>{1, 2})) << "trained on what came later";
  }
}

TEST_F(DatabaseUserVectorsTest, ReadersAndDropsDoNotDisturbEachOther) {
  std::atomic<bool> stop{false};
  std::atomic<int> found{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        std::vector<float> vector;
        const absl::Status status = db_->ReadLongTerm(1, "a", &vector);
        if (status.ok()) {
          EXPECT_EQ(vector, (std::vector<float>{1, 2})) << "a family is seen whole or not at all";
          ++found;
        } else {
          EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
        }
      }
    });
  }
  for (int round = 0; round < 20 || found == 0; ++round) {
    ASSERT_OK(db_->IngestUserVectors(1, 2, sst_, kNow));
    ASSERT_OK(db_->DropUserVectors(1));
  }
  stop = true;
  for (std::thread& t : readers) t.join();
}

}  // namespace
}  // namespace swiftlet

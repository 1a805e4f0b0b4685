// Damaged and missing files: what is damaged is named, what is not is kept.
#include <functional>

#include "storage/database.h"
#include "storage/training_reader.h"
#include "storage/user_vector_file.h"
#include "storage/wal_check.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::FileBytes;
using storage_testing::HistoryOf;
using storage_testing::Item;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;
using testing::HasSubstr;
using testing::IsEmpty;

// Changes the bytes of a file in place, as `cp` over it does.
void Overwrite(const std::string& path, uint64_t offset, const std::string& bytes) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file << bytes;
  EXPECT_TRUE(file.good()) << path;
}

std::vector<std::string> FilesWith(const std::string& directory, const std::string& extension) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == extension && entry.path().filename() != "rocksdb.log") {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Reopen();
    for (int i = 0; i < 3; ++i) Record(i);
    ASSERT_OK(db_->WriteItems({{Item("item", "title")}}));
  }
  void Reopen() {
    db_ = nullptr;
    db_ = OpenOrDie(options_);
    ASSERT_NE(db_, nullptr);
  }
  absl::Status OpenError() { return Database::Open(options_, EventTypeTable::Default()).status(); }
  void Record(int i) {
    ASSERT_OK(
        db_->RecordEvents({{Event("u", absl::StrCat("i", i), i, absl::StrCat("id ", i))}}, kNow).status());
  }
  // Everything but user vectors.
  void ExpectAllElse() {
    EXPECT_EQ(HistoryOf(*db_, "u").size(), 3);
    const auto item = db_->ReadItem(ItemKeyOf("item"));
    ASSERT_OK(item.status());
    ASSERT_TRUE(item->has_value());
    EXPECT_EQ((*item)->title, "title");
    const auto again = db_->RecordEvents({{Event("u", "i0", 0, "id 0")}}, kNow);
    ASSERT_OK(again.status());
    EXPECT_EQ(again->num_duplicates, 1);
    const auto reader = TrainingReader::Open(options_.path, dir_.Path("scratch"));
    ASSERT_OK(reader.status());
    int num_events = 0;
    EXPECT_OK((*reader)->ForEachEvent([&](int64_t, const EventRecord&) {
      ++num_events;
      return absl::OkStatus();
    }));
    EXPECT_EQ(num_events, 3);
    ASSERT_OK(db_->CheckWritable());
  }
  // A file large enough that reads of its vectors need blocks that are not in memory yet.
  void WriteVectors(const std::string& path, float x) {
    auto writer = UserVectorFileWriter::Create(path, 16);
    ASSERT_OK(writer.status());
    for (int u = 10000; u < 14000; ++u) {
      ASSERT_OK((*writer)->Add(absl::StrCat("user ", u), std::vector<float>(16, x)));
    }
    ASSERT_OK((*writer)->Finish());
  }
  absl::Status ReadVector(int64_t version, int user, float expected) {
    std::vector<float> vector;
    absl::Status status = db_->ReadLongTerm(version, absl::StrCat("user ", user), &vector);
    if (status.ok()) {
      EXPECT_EQ(vector, std::vector<float>(16, expected));
    }
    return status;
  }

  const TempDir dir_;
  const DatabaseOptions options_ = {.path = dir_.Path("db")};
  std::unique_ptr<Database> db_;
};

// --- user vectors ---

// What can happen to the file of a snapshot, and so to that of the database which is the same.
struct Harm {
  const char* name;
  std::function<void(const std::string& path)> apply;
  bool shared = true;  // a second name of the file sees it
};

std::vector<Harm> Harms() {
  return {
      {"garbage", [](const std::string& p) { Overwrite(p, 0, std::string(fs::file_size(p), 'x')); }},
      {"zeros", [](const std::string& p) { Overwrite(p, 0, std::string(fs::file_size(p), '\0')); }},
      {"cut", [](const std::string& p) { fs::resize_file(p, fs::file_size(p) / 2); }},
      {"empty", [](const std::string& p) { fs::resize_file(p, 0); }},
      {"longer", [](const std::string& p) { fs::resize_file(p, fs::file_size(p) + 4096); }},
      {"end", [](const std::string& p) { Overwrite(p, fs::file_size(p) - 60, std::string(60, 'x')); }},
      {"other vectors",
       [](const std::string& p) {
         auto writer = UserVectorFileWriter::Create(p + ".new", 2);
         ASSERT_OK(writer.status());
         ASSERT_OK((*writer)->Add("somebody", std::vector<float>{1, 2}));
         ASSERT_OK((*writer)->Finish());
         fs::resize_file(p, 0);
         Overwrite(p, 0, FileBytes(p + ".new"));
         fs::remove(p + ".new");
       }},
      {"deleted", [](const std::string& p) { fs::remove(p); }, /*shared=*/false},
  };
}

TEST_F(DamageTest, UserVectorsThatAreDamagedWhileClosedAreDroppedAndAllElseIsThere) {
  const std::string good = dir_.Path("good.sst"), other = dir_.Path("other.sst");
  WriteVectors(good, 1);
  WriteVectors(other, 2);
  ASSERT_OK(db_->IngestUserVectors(2, 16, other, kNow));
  for (const Harm& harm : Harms()) {
    SCOPED_TRACE(harm.name);
    const std::vector<std::string> before = FilesWith(options_.path, ".sst");
    ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow));
    std::string own;  // the database's name for it
    for (const std::string& path : FilesWith(options_.path, ".sst")) {
      if (std::find(before.begin(), before.end(), path) == before.end() &&
          FileBytes(path) == FileBytes(good)) {
        own = path;
      }
    }
    ASSERT_FALSE(own.empty());
    db_ = nullptr;
    harm.apply(own);
    Reopen();
    EXPECT_THAT(*db_->IngestedVersions(), testing::ElementsAre(2)) << "only that one is dropped";
    ASSERT_EQ(db_->DamagedUserVectors().size(), 1);
    EXPECT_THAT(db_->DamagedUserVectors()[0], HasSubstr(fs::path(own).filename().string()));
    EXPECT_EQ(ReadVector(1, 10000, 1).code(), absl::StatusCode::kNotFound);
    EXPECT_OK(ReadVector(2, 13999, 2));
    ExpectAllElse();
    if (harm.shared && fs::exists(good)) fs::remove(good);  // perhaps the same file
    WriteVectors(good, 1);
    ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow)) << "it is ingested again";
    EXPECT_THAT(db_->DamagedUserVectors(), IsEmpty());
    EXPECT_OK(ReadVector(1, 10000, 1));
    Reopen();
    EXPECT_OK(ReadVector(1, 12000, 1));
    EXPECT_THAT(db_->DamagedUserVectors(), IsEmpty());
    ASSERT_OK(db_->DropUserVectors(1));
  }
}

TEST_F(DamageTest, UserVectorsThatAreDamagedWhileOpenHurtNothingElse) {
  const std::string good = dir_.Path("good.sst");
  for (const Harm& harm : Harms()) {
    SCOPED_TRACE(harm.name);
    fs::remove(good);
    WriteVectors(good, 1);
    ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow));
    harm.apply(good);
    bool failed = false;
    for (int u = 10000; u < 14000; u += 100) {
      const absl::Status status = ReadVector(1, u, 1);
      failed |= !status.ok();
      if (!status.ok()) {
        EXPECT_THAT(status, Fails(absl::StatusCode::kDataLoss, "user vectors of version 1"));
      }
    }
    EXPECT_EQ(!db_->DamagedUserVectors().empty(), failed);
    EXPECT_OK(db_->LastWrite());
    ExpectAllElse();
    EXPECT_EQ(db_->Stats().properties["background_errors"], 0);
    fs::remove(good);
    WriteVectors(good, 3);
    ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow));
    EXPECT_OK(ReadVector(1, 10000, 3));
    EXPECT_THAT(db_->DamagedUserVectors(), IsEmpty());
    Reopen();
    EXPECT_OK(ReadVector(1, 13000, 3));
    ExpectAllElse();
    ASSERT_OK(db_->DropUserVectors(1));
  }
}

TEST_F(DamageTest, TheSameFileIsIngestedAgainAfterItCouldNotBeRead) {
  const std::string good = dir_.Path("good.sst");
  WriteVectors(good, 1);
  const std::string bytes = FileBytes(good);
  ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow));
  Overwrite(good, 0, std::string(bytes.size() / 2, 'x'));
  if (ReadVector(1, 10100, 1).ok()) GTEST_SKIP() << "the file system clones files: nothing was damaged";
  ASSERT_EQ(db_->DamagedUserVectors().size(), 1);
  Overwrite(good, 0, bytes);
  ASSERT_OK(db_->IngestUserVectors(1, 16, good, kNow));
  EXPECT_THAT(db_->DamagedUserVectors(), IsEmpty());
  EXPECT_OK(ReadVector(1, 10100, 1));
}

// --- the database's own files ---

TEST_F(DamageTest, CurrentMustNameAManifest) {
  db_ = nullptr;
  const std::string current = options_.path + "/CURRENT", bytes = FileBytes(current);
  fs::remove(current);
  const auto listing = [&] { return FilesWith(options_.path, ".log"); };
  const auto before = listing();
  EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, "the file CURRENT is missing"));
  EXPECT_EQ(listing(), before) << "nothing is begun anew, nothing is deleted";
  for (const std::string& garbage : {std::string("garbage"), std::string(), bytes.substr(0, 5)}) {
    std::ofstream(current, std::ios::trunc) << garbage;
    EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, options_.path)) << garbage;
  }
  std::ofstream(current, std::ios::trunc) << "MANIFEST-999999\n";
  EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kUnavailable, "MANIFEST-999999"));
  std::ofstream(current, std::ios::trunc) << bytes;
  Reopen();
  ExpectAllElse();
}

TEST_F(DamageTest, AManifestThatIsDamagedIsNamed) {
  db_ = nullptr;
  std::string manifest = FileBytes(options_.path + "/CURRENT");
  manifest.pop_back();
  const std::string path = options_.path + "/" + manifest, bytes = FileBytes(path);
  Overwrite(path, 20, "xxxx");
  EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, options_.path));
  fs::resize_file(path, 0);
  EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, options_.path));
  std::ofstream(path, std::ios::trunc) << bytes;
  Reopen();
  ExpectAllElse();
}

TEST_F(DamageTest, ALogThatIsDamagedBeforeAcknowledgedWritesIsRefused) {
  db_ = nullptr;
  const auto logs = FilesWith(options_.path, ".log");
  ASSERT_FALSE(logs.empty());
  const std::string log = logs.back(), bytes = FileBytes(log);
  ASSERT_GT(bytes.size(), 200);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{10}, uint64_t{bytes.size() / 3}}) {
    SCOPED_TRACE(offset);
    Overwrite(log, offset, "damage!!");
    EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, log + ": damaged at byte "));
    std::ofstream(log, std::ios::trunc) << bytes;
  }
  // The end may be a write that was never acknowledged.
  fs::resize_file(log, bytes.size() - 3);
  EXPECT_OK(CheckWriteAheadLogs(options_.path));
  std::ofstream(log, std::ios::trunc) << bytes << std::string(5000, '\0');
  EXPECT_OK(CheckWriteAheadLogs(options_.path));
  std::ofstream(log, std::ios::trunc) << bytes << std::string(100'000, 'x');
  EXPECT_OK(CheckWriteAheadLogs(options_.path));
  std::ofstream(log, std::ios::trunc) << bytes;
  Reopen();
  ExpectAllElse();
}

TEST_F(DamageTest, LargeWritesSpanBlocksOfTheLog) {
  std::vector<EventRecord> events;
  for (int i = 0; i < 1000; ++i) {
    events.push_back(Event(absl::StrCat("v", i), std::string(200, 'i'), i, absl::StrCat("large ", i)));
  }
  for (int call = 0; call < 3; ++call) {
    for (EventRecord& e : events) e.event_id += "x";
    ASSERT_OK(db_->RecordEvents(events, kNow).status());
  }
  db_ = nullptr;
  const std::string log = FilesWith(options_.path, ".log").back();
  ASSERT_GT(fs::file_size(log), 500'000);
  EXPECT_OK(CheckWriteAheadLogs(options_.path));
  Overwrite(log, 100'000, "damage!!");
  EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, log));
}

TEST_F(DamageTest, ATableThatIsDamagedOrMissingIsNamed) {
  Reopen();  // the log becomes tables
  db_ = nullptr;
  for (const std::string& table : FilesWith(options_.path, ".sst")) {
    SCOPED_TRACE(table);
    const std::string bytes = FileBytes(table), name = fs::path(table).filename();
    Overwrite(table, bytes.size() - 40, std::string(40, 'x'));
    EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, name));
    fs::resize_file(table, bytes.size() / 2);
    EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, name));
    fs::remove(table);
    EXPECT_THAT(OpenError(), Fails(absl::StatusCode::kDataLoss, name));
    std::ofstream(table) << bytes;
  }
  Reopen();
  ExpectAllElse();
}

TEST_F(DamageTest, WritesAreRefusedWhenTheDirectoryWasDeletedUnderneath) {
  fs::remove_all(options_.path);
  EXPECT_THAT(
      db_->RecordEvents({{Event("u", "late", 9)}}, kNow).status(),
      Fails(absl::StatusCode::kFailedPrecondition, options_.path + ": the data directory was deleted"));
  EXPECT_THAT(db_->CheckWritable(), Fails(absl::StatusCode::kFailedPrecondition, "deleted"));
  EXPECT_FALSE(db_->LastWrite().ok());
  EXPECT_EQ(HistoryOf(*db_, "u").size(), 3) << "reads go on";
  Reopen();
  EXPECT_TRUE(HistoryOf(*db_, "u").empty());
  ASSERT_OK(db_->CheckWritable());
}

TEST(Crc32cTest, KnownValues) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(std::string_view("123456789")), 0xe3069283u);
}

}  // namespace
}  // namespace swiftlet

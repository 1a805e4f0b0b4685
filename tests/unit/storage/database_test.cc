#include "storage/database.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rocksdb/db.h"
#include "storage/rocksdb_status.h"
#include "storage/schema.h"
#include "storage/training_reader.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::HistoryOf;
using storage_testing::kHourMs;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;

EventTypeTable Types(std::vector<EventType> types) {
  auto table = EventTypeTable::Create(std::move(types));
  EXPECT_OK(table.status());
  return *table;
}

TEST(DatabaseOpenTest, CreatesDirectoriesAndReopens) {
  const TempDir dir;
  const std::string path = dir.Path("a/b/c");
  for (int i = 0; i < 3; ++i) {
    auto db = OpenOrDie({.path = path});
    ASSERT_NE(db, nullptr);
    EXPECT_OK(db->CheckWritable());
  }
}

TEST(DatabaseOpenTest, ForeignDirectoriesAreRefusedAndUntouched) {
  const TempDir dir;
  const std::string foreign = dir.Path("foreign");
  std::filesystem::create_directory(foreign);
  std::ofstream(foreign + "/letter.txt") << "hello";
  EXPECT_THAT(Database::Open({.path = foreign}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, foreign));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(foreign), {}), 1);

  const std::string other_db = dir.Path("other_db");
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* raw = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, other_db, &raw).ok());
  delete raw;
  EXPECT_THAT(Database::Open({.path = other_db}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "not a Swiftlet database"));

  EXPECT_THAT(Database::Open({.path = foreign + "/letter.txt"}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "not a directory"));
}

TEST(DatabaseOpenTest, AFreshFileSystemCountsAsEmpty) {
  const TempDir dir;
  std::filesystem::create_directories(dir.Path("mount/lost+found"));
  EXPECT_NE(OpenOrDie({.path = dir.Path("mount")}), nullptr);
}

TEST(DatabaseOpenTest, AnInterruptedCreationIsContinued) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  std::filesystem::create_directory(path);
  std::ofstream(path + "/" + kMarkerFile);  // empty: the crash came before the first byte
  EXPECT_NE(OpenOrDie({.path = path}), nullptr);
  EXPECT_EQ(storage_testing::FileBytes(path + "/" + kMarkerFile), kMarkerText);
}

TEST(DatabaseOpenTest, ASecondServerIsRefused) {
  const TempDir dir;
  const auto db = OpenOrDie({.path = dir.Path("db")});
  EXPECT_THAT(Database::Open({.path = dir.Path("db")}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "another process has this database open"));
}

TEST(DatabaseOpenTest, RocksDbsOwnLockIsRefusedClearly) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  OpenOrDie({.path = path}).reset();
  const int fd = open((path + "/LOCK").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  // RocksDB's lock is an fcntl lock, which does not conflict within one process: hold it in another.
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t child = fork();
  if (child == 0) {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    char c = fcntl(fd, F_SETLK, &lock) == 0 ? 'y' : 'n';
    if (write(ready[1], &c, 1) != 1) _exit(1);
    close(done[1]);
    (void)!read(done[0], &c, 1);
    _exit(0);
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  ASSERT_EQ(c, 'y');
  EXPECT_THAT(Database::Open({.path = path}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "LOCK"));
  for (const int end : {ready[0], ready[1], done[0], done[1], fd}) close(end);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_NE(OpenOrDie({.path = path}), nullptr);
}

TEST(DatabaseOpenTest, BadOptionsAreRefused) {
  const TempDir dir;
  const EventTypeTable types = EventTypeTable::Default();
  EXPECT_EQ(Database::Open({.path = ""}, types).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Database::Open({.path = dir.Path("x"), .max_history_events = 0}, types).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Database::Open({.path = dir.Path("x"), .idempotency_window_ms = 0}, types).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(dir.Path("x")));
}

TEST(DatabaseOpenTest, NewerFormatsAreRefused) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  OpenOrDie({.path = path}).reset();
  const auto change =
      [&](const std::function<void(rocksdb::DB*, std::vector<rocksdb::ColumnFamilyHandle*>&)>& fn) {
        std::vector<std::string> names;
        ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
        std::vector<rocksdb::ColumnFamilyDescriptor> families;
        for (const std::string& name : names) families.emplace_back(name, FamilyOptions(name, {}));
        std::vector<rocksdb::ColumnFamilyHandle*> handles;
        rocksdb::DB* raw = nullptr;
        ASSERT_TRUE(rocksdb::DB::Open({}, path, families, &handles, &raw).ok());
        fn(raw, handles);
        for (auto* handle : handles) ASSERT_TRUE(raw->DestroyColumnFamilyHandle(handle).ok());
        delete raw;
      };
  change([](rocksdb::DB* db, auto& handles) {
    for (auto* handle : handles) {
      if (handle->GetName() == kMetaFamily) {
        ASSERT_TRUE(db->Put({}, handle, kFormatKey, "2").ok());
      }
    }
  });
  EXPECT_THAT(Database::Open({.path = path}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "format \"2\""));
  change([](rocksdb::DB* db, auto& handles) {
    rocksdb::ColumnFamilyHandle* extra = nullptr;
    ASSERT_TRUE(db->CreateColumnFamily({}, "from_the_future", &extra).ok());
    handles.push_back(extra);
  });
  EXPECT_THAT(Database::Open({.path = path}, EventTypeTable::Default()).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "from_the_future"));
}

TEST(DatabaseOpenTest, EventTypesAreCheckedAndRemembered) {
  const TempDir dir;
  const DatabaseOptions options = {.path = dir.Path("db")};
  OpenOrDie(options, Types({{1, "view", 1}, {2, "buy", 5}})).reset();
  EXPECT_THAT(Database::Open(options, Types({{1, "view", 1}, {2, "purchase", 5}})).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "event type 2 is \"buy\""));
  // Weights may change, ids may be added, ids may be left out (the log still holds them).
  OpenOrDie(options, Types({{1, "view", 2}, {3, "like", 3}})).reset();
  EXPECT_THAT(Database::Open(options, Types({{1, "view", 1}, {4, "buy", 5}})).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "\"buy\" is used twice"));
  const auto db = OpenOrDie(options, Types({{1, "view", 2}}));
  EXPECT_THAT(db->RecordEvents({{Event("u", "i", 1, "", 0, 3)}}, kNow).status(),
              Fails(absl::StatusCode::kInvalidArgument, "events[0].type: 3"));
  const auto reader = TrainingReader::Open(options.path, dir.Path("scratch"));
  ASSERT_OK(reader.status());
  const auto types = (*reader)->event_types().types();
  EXPECT_EQ(std::vector<EventType>(types.begin(), types.end()),
            (std::vector<EventType>{{1, "view", 2}, {2, "buy", 5}, {3, "like", 3}}));
}

TEST(RocksDbStatusTest, MapsToOurCodesWithPath) {
  using rocksdb::Status;
  EXPECT_OK(FromRocksDb(Status::OK(), "/data", "x"));
  EXPECT_THAT(FromRocksDb(Status::NoSpace("full"), "/data", "cannot write"),
              Fails(absl::StatusCode::kResourceExhausted, "/data: cannot write: "));
  EXPECT_THAT(FromRocksDb(Status::Corruption("bits"), "/data", "x"),
              Fails(absl::StatusCode::kDataLoss, "bits"));
  EXPECT_THAT(FromRocksDb(Status::IOError("disk"), "/data", "x"),
              Fails(absl::StatusCode::kUnavailable, "disk"));
  EXPECT_THAT(FromRocksDb(Status::Busy(), "/data", "x"), Fails(absl::StatusCode::kUnavailable, "/data"));
  EXPECT_THAT(FromRocksDb(Status::Incomplete(), "/data", "x"),
              Fails(absl::StatusCode::kUnavailable, "/data"));
  EXPECT_THAT(FromErrno(ENOSPC, "/data", "x"), Fails(absl::StatusCode::kResourceExhausted, "/data"));
}

TEST(DatabaseMaintainTest, OldEventsLeaveTheLogButNotTheHistories) {
  const TempDir dir;
  const DatabaseOptions options = {.path = dir.Path("db"), .event_retention_ms = 10 * kHourMs};
  auto db = OpenOrDie(options);
  for (int h = 0; h < 20; ++h) {
    ASSERT_OK(db->RecordEvents({{Event("u", absl::StrCat("i", h), 5)}}, kNow + h * kHourMs).status());
  }
  ASSERT_OK(db->Maintain(kNow + 20 * kHourMs));
  const auto logged = [&] {
    std::vector<int64_t> hours;
    const auto reader = TrainingReader::Open(options.path, dir.Path("scratch"));
    EXPECT_OK(reader.status());
    EXPECT_OK((*reader)->ForEachEvent([&](int64_t arrival_ms, const EventRecord&) {
      hours.push_back((arrival_ms - kNow) / kHourMs);
      return absl::OkStatus();
    }));
    return hours;
  };
  EXPECT_THAT(logged(), testing::ElementsAre(10, 11, 12, 13, 14, 15, 16, 17, 18, 19));
  EXPECT_EQ(HistoryOf(*db, "u").size(), 20);
  ASSERT_OK(db->Maintain(kNow + 25 * kHourMs));
  db = nullptr;
  db = OpenOrDie(options);
  EXPECT_THAT(logged(), testing::ElementsAre(15, 16, 17, 18, 19));
  ASSERT_OK(db->Maintain(kNow + 100 * kHourMs));
  EXPECT_THAT(logged(), testing::IsEmpty());
  ASSERT_OK(db->RecordEvents({{Event("u", "i", 5)}}, kNow + 100 * kHourMs).status());
  EXPECT_THAT(logged(), testing::ElementsAre(100));
}

TEST(DatabaseMaintainTest, OldEventIdsLeaveWithCompaction) {
  const TempDir dir;
  const DatabaseOptions options = {.path = dir.Path("db"), .idempotency_window_ms = kHourMs};
  {
    auto db = OpenOrDie(options);
    ASSERT_OK(db->RecordEvents({{Event("u", "i", 5, "old")}}, kNow).status());
    ASSERT_OK(db->RecordEvents({{Event("u", "i", 5, "new")}}, kNow + kHourMs).status());
    ASSERT_OK(db->Maintain(kNow + 2 * kHourMs - 1));
  }
  // The family's own options, with the cutoff that Maintain sets.
  const FamilySettings settings = {.event_id_cutoff_ms =
                                       std::make_shared<const std::atomic<int64_t>>(kNow + kHourMs - 1)};
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, options.path, &names).ok());
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, FamilyOptions(name, settings));
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open({}, options.path, families, &handles, &raw).ok());
  const std::unique_ptr<rocksdb::DB> db(raw);
  for (auto* handle : handles) {
    if (handle->GetName() == kEventIdsFamily) {
      rocksdb::CompactRangeOptions all;
      all.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
      ASSERT_TRUE(db->CompactRange(all, handle, nullptr, nullptr).ok());
      std::string value;
      EXPECT_TRUE(db->Get({}, handle, "old", &value).IsNotFound());
      EXPECT_TRUE(db->Get({}, handle, "new", &value).ok());
    }
  }
  for (auto* handle : handles) ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
}

// No file of this process may grow over a limit while one of these lives: a disk that fails (EFBIG), but is
// not full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit_), 0);
    const rlimit limit = {bytes, old_limit_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit_), 0);
    signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_;
  void (*old_handler_)(int);
};

TEST(DatabaseFailureTest, WritesWorkAgainOnceTheDiskDoesAndNothingAcknowledgedIsLost) {
  const TempDir dir;
  auto db = OpenOrDie({.path = dir.Path("db")});
  int recorded = 0;
  const auto record = [&] {
    const absl::Status status =
        db->RecordEvents({{Event("u", absl::StrCat("i", recorded), recorded)}}, kNow).status();
    if (status.ok()) ++recorded;
    return status;
  };
  for (int i = 0; i < 3; ++i) ASSERT_OK(record());
  EXPECT_OK(db->LastWrite());
  {
    const FileSizeLimit limit(20'000);
    absl::Status status;
    for (int i = 0; i < 1000 && status.ok(); ++i) status = record();
    EXPECT_THAT(status, Fails(absl::StatusCode::kUnavailable, "File too large"));
    EXPECT_EQ(db->LastWrite().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(record().ok());
    // Not even a new log: the attempts to resume fail too, and leave all as it was.
    const FileSizeLimit nothing(10);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(db->CheckWritable().ok());
    EXPECT_FALSE(record().ok());
    EXPECT_FALSE(db->LastWrite().ok());
    EXPECT_EQ(HistoryOf(*db, "u").size(), std::min(recorded, 200)) << "reads go on";
  }
  // RocksDB refuses on, although the disk works.
  EXPECT_FALSE(record().ok());
  ASSERT_OK(db->CheckWritable());
  EXPECT_OK(db->LastWrite());
  for (int i = 0; i < 10; ++i) ASSERT_OK(record());
  const auto items = [&] { return HistoryOf(*db, "u").size(); };
  EXPECT_EQ(items(), std::min(recorded, 200));
  db = nullptr;
  db = OpenOrDie({.path = dir.Path("db")});
  EXPECT_EQ(items(), std::min(recorded, 200));
  EXPECT_EQ(HistoryOf(*db, "u").back().item_key, ItemKeyOf(absl::StrCat("i", recorded - 1)));
}

TEST(DatabaseStatsTest, NamesWhatMetricsNeed) {
  const TempDir dir;
  const auto db = OpenOrDie({.path = dir.Path("db")});
  const uint64_t syncs = db->Stats().properties["wal_syncs"];
  ASSERT_OK(db->RecordEvents({{Event("u", "i", 5)}}, kNow).status());
  DatabaseStats stats = db->Stats();
  EXPECT_EQ(stats.properties["wal_syncs"], syncs + 1);
  EXPECT_GT(stats.properties["memtable_bytes"], 0);
  for (const char* name : {"block_cache_usage_bytes", "sst_bytes", "pending_compaction_bytes",
                           "background_errors", "writes_stopped", "ingested_versions", "wal_bytes"}) {
    EXPECT_TRUE(stats.properties.contains(name)) << name;
  }
}

}  // namespace
}  // namespace swiftlet

#include "storage/training_reader.h"

#include <atomic>
#include <set>
#include <thread>

#include "rocksdb/db.h"
#include "storage/coding.h"
#include "storage/database.h"
#include "storage/schema.h"
#include "storage/user_vector_file.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::Item;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;

TEST(TrainingReaderTest, NoDatabaseIsNotFound) {
  const TempDir dir;
  EXPECT_THAT(TrainingReader::Open(dir.Path("none"), dir.Path("s")).status(),
              Fails(absl::StatusCode::kNotFound, "none"));
  std::filesystem::create_directory(dir.Path("empty"));
  EXPECT_EQ(TrainingReader::Open(dir.Path("empty"), dir.Path("s")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(dir.Path("s")));
}

TEST(TrainingReaderTest, ReadsBesideALiveServerAndAtRest) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  auto db = OpenOrDie({.path = path});
  std::vector<EventRecord> events;
  for (int i = 0; i < 50; ++i)
    events.push_back(Event(absl::StrCat("u", i % 5), absl::StrCat("i", i), 100 - i));
  ASSERT_OK(db->RecordEvents(events, kNow).status());
  ASSERT_OK(db->DeleteUser("u2", kNow));
  ASSERT_OK(db->WriteItems(std::vector<CatalogItem>{Item("x", "X"), Item("y")}));
  for (const bool live : {true, false}) {
    SCOPED_TRACE(live);
    if (!live) db = nullptr;
    {
      auto reader = TrainingReader::Open(path, dir.Path("scratch/deep"));
      ASSERT_OK(reader.status());
      for (int again = 0; again < 2; ++again) {
        std::vector<EventRecord> read;
        ASSERT_OK((*reader)->ForEachEvent([&](int64_t arrival_ms, const EventRecord& event) {
          EXPECT_EQ(arrival_ms, kNow);
          read.push_back(event);
          return absl::OkStatus();
        }));
        std::vector<EventRecord> expected = events;
        std::erase_if(expected, [](const EventRecord& e) { return e.user_id == "u2"; });
        EXPECT_EQ(read, expected);
        EXPECT_EQ((*reader)->num_erased_events(), 10);
      }
      std::set<std::string> items;
      ASSERT_OK((*reader)->ForEachItem([&](const CatalogItem& item) {
        items.insert(item.item_id);
        return absl::OkStatus();
      }));
      EXPECT_THAT(items, testing::ElementsAre("x", "y"));
      EXPECT_EQ((*reader)->ForEachEvent([](auto, auto&) { return absl::AbortedError("enough"); }).code(),
                absl::StatusCode::kAborted);
    }
    EXPECT_FALSE(std::filesystem::exists(dir.Path("scratch/deep")));
  }
  EXPECT_NE(OpenOrDie({.path = path}), nullptr) << "reading changed nothing";
}

TEST(TrainingReaderTest, TheScratchDirectoryIsNeverSomethingElse) {
  const TempDir dir;
  OpenOrDie({.path = dir.Path("db")}).reset();
  std::filesystem::create_directory(dir.Path("full"));
  std::ofstream(dir.Path("full/precious")) << "x";
  EXPECT_THAT(TrainingReader::Open(dir.Path("db"), dir.Path("full")).status(),
              Fails(absl::StatusCode::kFailedPrecondition, "not empty"));
  EXPECT_TRUE(std::filesystem::exists(dir.Path("full/precious")));
}

TEST(TrainingReaderTest, OpensWhileTheServerWritesAndIngests) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  const auto db = OpenOrDie({.path = path, .sync_writes = false});
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> acknowledged{0};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      std::vector<EventRecord> batch(20, Event(absl::StrCat("u", i % 100), absl::StrCat("i", i), i));
      EXPECT_OK(db->RecordEvents(batch, kNow).status());
      acknowledged += batch.size();
    }
  });
  // One event of "e" at a time: it is erased before the next. Families of user vectors come and go.
  const std::string sst = dir.Path("user_vectors.sst");
  {
    auto vectors = UserVectorFileWriter::Create(sst, 2);
    ASSERT_OK(vectors.status());
    ASSERT_OK((*vectors)->Add("e", std::vector<float>{1, 2}));
    ASSERT_OK((*vectors)->Finish());
  }
  std::thread eraser([&] {
    for (int i = 0; !stop; ++i) {
      EXPECT_OK(db->RecordEvents(std::vector{Event("e", "x", i)}, kNow).status());
      EXPECT_OK(db->DeleteUser("e", kNow));
      EXPECT_OK(db->IngestUserVectors(1 + i % 2, 2, sst, kNow));
      EXPECT_OK(db->DropUserVectors(2 - i % 2));
    }
  });
  uint64_t last = 0;
  for (int round = 0; round < 10; ++round) {
    const uint64_t before = acknowledged;
    auto reader = TrainingReader::Open(path, dir.Path("scratch"));
    ASSERT_OK(reader.status());
    uint64_t seen = 0, seen_erased = 0;
    ASSERT_OK((*reader)->ForEachEvent([&](auto, auto& event) {
      ++(event.user_id == "e" ? seen_erased : seen);
      return absl::OkStatus();
    }));
    EXPECT_LE(seen_erased, 1) << "erasures are seen with all that came before them";
    EXPECT_GE(seen, before) << "what was acknowledged before the reader opened is there";
    EXPECT_EQ(seen % 20, 0) << "no half-applied batch";
    EXPECT_GE(seen, last);
    last = seen;
  }
  stop = true;
  writer.join();
  eraser.join();
}

TEST(TrainingReaderTest, DamagedRecordsAreDataLossWithTheirKey) {
  const TempDir dir;
  const std::string path = dir.Path("db");
  OpenOrDie({.path = path}).reset();
  {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, path, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const std::string& name : names) families.emplace_back(name, FamilyOptions(name, {}));
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, path, families, &handles, &raw).ok());
    for (auto* handle : handles) {
      if (handle->GetName() == kEventsFamily) {
        ASSERT_TRUE(raw->Put({}, handle, EncodeKey64(7), "junk").ok());
      }
      ASSERT_TRUE(raw->DestroyColumnFamilyHandle(handle).ok());
    }
    delete raw;
  }
  auto reader = TrainingReader::Open(path, dir.Path("scratch"));
  ASSERT_OK(reader.status());
  EXPECT_THAT((*reader)->ForEachEvent([](auto, auto&) { return absl::OkStatus(); }),
              Fails(absl::StatusCode::kDataLoss, "0000000000000007"));
}

}  // namespace
}  // namespace swiftlet

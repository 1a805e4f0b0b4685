#include "storage/history_merge_operator.h"

#include <random>

#include "rocksdb/db.h"
#include "storage/records.h"
#include "storage/schema.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::InHistory;
using storage_testing::Oracle;
using storage_testing::TempDir;

std::string Merge(const std::vector<std::string>& parts, uint32_t max_events) {
  const std::vector<std::string_view> views(parts.begin(), parts.end());
  std::string result;
  MergeHistories(views, max_events, &result);
  return result;
}

std::vector<EventRecord> RandomEvents(std::mt19937& rng, size_t n) {
  std::vector<EventRecord> events;
  for (size_t i = 0; i < n; ++i) {
    // Few different times: ties are common. The item tells events apart.
    events.push_back(Event("u", "item" + std::to_string(i), static_cast<int64_t>(rng() % 6)));
  }
  return events;
}

TEST(HistoryMergeTest, OrdersByTimeThenArrivalAndKeepsTheNewest) {
  std::mt19937 rng(1);
  for (int round = 0; round < 200; ++round) {
    const std::vector<EventRecord> events = RandomEvents(rng, 1 + rng() % 20);
    const uint32_t limit = 1 + rng() % 12;
    std::vector<std::string> operands;
    for (const EventRecord& e : events) operands.push_back(EncodeHistory({{InHistory(e)}}));
    std::vector<HistoryEvent> merged;
    ASSERT_OK(DecodeHistory(Merge(operands, limit), &merged));
    EXPECT_EQ(merged, Oracle(events, limit));
  }
}

TEST(HistoryMergeTest, AnyGroupingGivesTheSameBytes) {
  std::mt19937 rng(2);
  for (int round = 0; round < 300; ++round) {
    const std::vector<EventRecord> events = RandomEvents(rng, 2 + rng() % 15);
    const uint32_t limit = 1 + rng() % 10;
    std::vector<std::string> parts;
    for (const EventRecord& e : events) parts.push_back(EncodeHistory({{InHistory(e)}}));
    const std::string at_once = Merge(parts, limit);
    while (parts.size() > 1) {  // join random neighbours
      const size_t first = rng() % (parts.size() - 1);
      const size_t count = 2 + rng() % (parts.size() - first - 1);
      const std::vector<std::string> some(parts.begin() + static_cast<ptrdiff_t>(first),
                                          parts.begin() + static_cast<ptrdiff_t>(first + count));
      parts.erase(parts.begin() + static_cast<ptrdiff_t>(first),
                  parts.begin() + static_cast<ptrdiff_t>(first + count));
      parts.insert(parts.begin() + static_cast<ptrdiff_t>(first), Merge(some, limit));
    }
    EXPECT_EQ(parts[0], at_once);
  }
}

TEST(HistoryMergeTest, DamageStaysWithTheUserAndIsDataLoss) {
  const std::string good = EncodeHistory({{{1, 2, 3, 4}}});
  for (const std::string& bad : {std::string("nonsense"), std::string(), good.substr(0, 10), "\x02" + good}) {
    std::vector<HistoryEvent> out;
    const std::string merged = Merge({good, bad, good}, 10);
    EXPECT_EQ(DecodeHistory(merged, &out).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DecodeHistory(Merge({merged, good}, 10), &out).code(), absl::StatusCode::kDataLoss);
  }
}

// The operator inside RocksDB: operands in memory, in files of several levels, and after compaction.
TEST(HistoryMergeTest, RocksDbReadsTheSameBeforeAndAfterFlushesAndCompactions) {
  const TempDir dir;
  constexpr uint32_t kLimit = 20;
  rocksdb::Options options(rocksdb::DBOptions(), FamilyOptions(kUsersFamily, {.max_history_events = kLimit}));
  options.create_if_missing = true;
  rocksdb::DB* raw = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, dir.Path("db"), &raw).ok());
  const std::unique_ptr<rocksdb::DB> db(raw);
  std::mt19937 rng(3);
  std::vector<EventRecord> events;
  for (int i = 0; i < 300; ++i) {
    events.push_back(Event("u", "item" + std::to_string(i), static_cast<int64_t>(rng() % 50)));
    ASSERT_TRUE(db->Merge({}, "u", EncodeHistory({{InHistory(events.back())}})).ok());
    if (i % 37 == 0) {
      ASSERT_TRUE(db->Flush({}).ok());
    }
    std::string value;
    ASSERT_TRUE(db->Get({}, "u", &value).ok());
    std::vector<HistoryEvent> history;
    ASSERT_OK(DecodeHistory(value, &history));
    ASSERT_EQ(history, Oracle(events, kLimit)) << "after event " << i;
  }
  // One user's damage neither stops the compaction nor touches others.
  ASSERT_TRUE(db->Merge({}, "damaged", "no history").ok());
  ASSERT_TRUE(db->CompactRange({}, nullptr, nullptr).ok());
  std::string value;
  std::vector<HistoryEvent> history;
  ASSERT_TRUE(db->Get({}, "u", &value).ok());
  ASSERT_OK(DecodeHistory(value, &history));
  EXPECT_EQ(history, Oracle(events, kLimit));
  history.clear();
  ASSERT_TRUE(db->Get({}, "damaged", &value).ok());
  EXPECT_EQ(DecodeHistory(value, &history).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(db->Put({}, "new", "x").ok()) << "the database still takes writes";
}

}  // namespace
}  // namespace swiftlet

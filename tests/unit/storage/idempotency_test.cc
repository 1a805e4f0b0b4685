// An event id counts once within the window: across restarts, flushes, compactions and concurrent calls.
#include <atomic>
#include <thread>

#include "storage/database.h"
#include "storage/training_reader.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::HistoryOf;
using storage_testing::kHourMs;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::TempDir;

class IdempotencyTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    db_ = nullptr;
    db_ = OpenOrDie(options_);
    ASSERT_NE(db_, nullptr);
  }
  // Events e0 to e<n-1> at that time; returns how many were new.
  int Record(int n, int64_t now_ms) {
    std::vector<EventRecord> events;
    for (int i = 0; i < n; ++i) {
      events.push_back(Event("u", absl::StrCat("i", i), i, absl::StrCat("e", i)));
    }
    const auto result = db_->RecordEvents(events, now_ms);
    EXPECT_OK(result.status());
    return result.ok() ? static_cast<int>(result->num_recorded) : -1;
  }
  int NumLogged() {
    int n = 0;
    const auto reader = TrainingReader::Open(options_.path, dir_.Path("scratch"));
    EXPECT_OK(reader.status());
    EXPECT_OK((*reader)->ForEachEvent([&](int64_t, const EventRecord&) {
      ++n;
      return absl::OkStatus();
    }));
    return n;
  }

  const TempDir dir_;
  const DatabaseOptions options_ = {.path = dir_.Path("db"), .idempotency_window_ms = kHourMs};
  std::unique_ptr<Database> db_;
};

TEST_F(IdempotencyTest, AcrossRestartsWithinTheWindowAndNotAfterIt) {
  EXPECT_EQ(Record(50, kNow), 50);
  for (int restart = 0; restart < 6; ++restart) {  // each writes tables; four of them are compacted
    EXPECT_EQ(Record(50, kNow + kHourMs - 1), 0) << restart;
    Reopen();
    EXPECT_EQ(Record(51 + restart, kNow + kHourMs - 1), 1) << "new ones count";
    ASSERT_OK(db_->Maintain(kNow + kHourMs - 1));
  }
  EXPECT_EQ(NumLogged(), 56);
  EXPECT_EQ(HistoryOf(*db_, "u").size(), 56);
  // A window later the first fifty are new again, and only they.
  EXPECT_EQ(Record(56, kNow + kHourMs), 50);
  EXPECT_EQ(Record(56, kNow + kHourMs), 0) << "and the window begins anew";
  Reopen();
  EXPECT_EQ(Record(56, kNow + kHourMs), 0);
  EXPECT_EQ(NumLogged(), 106);
}

TEST_F(IdempotencyTest, ADuplicateDoesNotLengthenTheWindow) {
  EXPECT_EQ(Record(1, kNow), 1);
  EXPECT_EQ(Record(1, kNow + kHourMs / 2), 0);
  EXPECT_EQ(Record(1, kNow + kHourMs), 1);
}

TEST_F(IdempotencyTest, AClockThatStepsBackStillRecognisesThem) {
  EXPECT_EQ(Record(5, kNow), 5);
  EXPECT_EQ(Record(5, kNow - 10 * kHourMs), 0);
  Reopen();
  EXPECT_EQ(Record(5, kNow - 10 * kHourMs), 0);
}

TEST_F(IdempotencyTest, CompactionsWithTheFilterKeepWhatIsInTheWindow) {
  int hour = 0;
  for (; hour < 8; ++hour) {  // a table each; compacted at four
    const int64_t now = kNow + hour * kHourMs / 2;
    for (int i = 0; i < 200; ++i) {
      ASSERT_OK(db_->RecordEvents({{Event("u", "i", i, absl::StrCat(hour, "/", i))}}, now).status());
    }
    ASSERT_OK(db_->Maintain(now));
    Reopen();
    ASSERT_OK(db_->Maintain(now));
    // Of this half hour and the one before.
    for (int back = 0; back < std::min(hour + 1, 2); ++back) {
      const auto again = db_->RecordEvents({{Event("u", "i", 0, absl::StrCat(hour - back, "/", 7))}}, now);
      ASSERT_OK(again.status());
      EXPECT_EQ(again->num_duplicates, 1) << hour << " " << back;
    }
  }
}

TEST_F(IdempotencyTest, ConcurrentCallsWithTheSameIdsRecordThemOnce) {
  std::atomic<int> recorded{0}, duplicates{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int call = 0; call < 40; ++call) {
        std::vector<EventRecord> events;
        for (int i = 0; i < 5; ++i) {  // the same ids, for other users and in other orders
          const int id = call * 5 + (i + t) % 5;
          events.push_back(Event(absl::StrCat("u", t), "i", i, absl::StrCat("c", id)));
        }
        const auto result = db_->RecordEvents(events, kNow);
        ASSERT_OK(result.status());
        recorded += static_cast<int>(result->num_recorded);
        duplicates += static_cast<int>(result->num_duplicates);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(recorded, 200);
  EXPECT_EQ(duplicates, 600);
  EXPECT_EQ(NumLogged(), 200);
  Reopen();
  EXPECT_EQ(NumLogged(), 200);
  size_t in_histories = 0;
  for (int t = 0; t < 4; ++t) in_histories += HistoryOf(*db_, absl::StrCat("u", t)).size();
  EXPECT_EQ(in_histories, 200);
}

TEST_F(IdempotencyTest, AnErasedUsersIdsStayKnown) {
  EXPECT_EQ(Record(3, kNow), 3);
  ASSERT_OK(db_->DeleteUser("u", kNow + 1));
  EXPECT_EQ(Record(3, kNow + 2), 0) << "a late retry does not bring back what was erased";
  EXPECT_TRUE(HistoryOf(*db_, "u").empty());
}

}  // namespace
}  // namespace swiftlet

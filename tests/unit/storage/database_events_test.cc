// Users and events of storage/database.h.
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "storage/database.h"
#include "storage/training_reader.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::Fails;
using storage_testing::HistoryOf;
using storage_testing::InHistory;
using storage_testing::kHourMs;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::Oracle;
using storage_testing::TempDir;

class DatabaseEventsTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    db_ = nullptr;
    db_ = OpenOrDie(options_);
    ASSERT_NE(db_, nullptr);
  }
  RecordResult Record(const std::vector<EventRecord>& events, int64_t now_ms = kNow) {
    auto result = db_->RecordEvents(events, now_ms);
    EXPECT_OK(result.status());
    return result.ok() ? *result : RecordResult();
  }
  // What a trainer reads: events with the time of arrival.
  std::vector<std::pair<int64_t, EventRecord>> Log() {
    std::vector<std::pair<int64_t, EventRecord>> log;
    const auto reader = TrainingReader::Open(options_.path, dir_.Path("scratch"));
    EXPECT_OK(reader.status());
    if (!reader.ok()) return log;
    EXPECT_OK((*reader)->ForEachEvent([&](int64_t arrival_ms, const EventRecord& event) {
      log.emplace_back(arrival_ms, event);
      return absl::OkStatus();
    }));
    return log;
  }

  const TempDir dir_;
  DatabaseOptions options_ = {.path = dir_.Path("db"), .max_history_events = 10};
  std::unique_ptr<Database> db_;
};

TEST_F(DatabaseEventsTest, HistoryIsOrderedByTimeThenArrivalAndBounded) {
  std::mt19937 rng(5);
  std::vector<EventRecord> all;
  for (int call = 0; call < 60; ++call) {
    std::vector<EventRecord> batch;
    for (size_t i = 0; i < 1 + rng() % 4; ++i) {
      batch.push_back(Event("u", absl::StrCat("i", call, "-", i), static_cast<int64_t>(rng() % 40)));
    }
    all.insert(all.end(), batch.begin(), batch.end());
    EXPECT_EQ(Record(batch).num_recorded, batch.size());
    ASSERT_EQ(HistoryOf(*db_, "u"), Oracle(all, 10));
    if (call % 20 == 19) Reopen();
  }
  EXPECT_EQ(HistoryOf(*db_, "u"), Oracle(all, 10));
  EXPECT_EQ(Log().size(), all.size()) << "the log keeps what the history drops";
  EXPECT_TRUE(HistoryOf(*db_, "nobody").empty());
}

TEST_F(DatabaseEventsTest, ASmallerLimitHoldsAtOnce) {
  std::vector<EventRecord> all;
  for (int i = 0; i < 10; ++i) all.push_back(Event("u", absl::StrCat("i", i), i));
  Record(all);
  options_.max_history_events = 3;
  Reopen();
  EXPECT_EQ(HistoryOf(*db_, "u"), Oracle(all, 3));
}

TEST_F(DatabaseEventsTest, BadEventsAreNamedAndNothingIsStored) {
  const EventRecord good = Event("u", "i", 5);
  const auto refused = [&](EventRecord bad, const std::string& message) {
    EXPECT_THAT(db_->RecordEvents(std::vector<EventRecord>{good, bad}, kNow).status(),
                Fails(absl::StatusCode::kInvalidArgument, message));
  };
  refused(Event("", "i", 5), "events[1].user_id");
  refused(Event(std::string(257, 'x'), "i", 5), "events[1].user_id");
  refused(Event("u", "\xFF", 5), "events[1].item_id");
  refused(Event("u", "i", 5, std::string(300, 'x')), "events[1].event_id");
  refused(Event("u", "i", -1), "events[1].timestamp_ms: -1");
  refused(Event("u", "i", 5, "", std::numeric_limits<float>::quiet_NaN()), "events[1].value");
  refused(Event("u", "i", 5, "", 0, 200), "events[1].type: 200");
  EXPECT_THAT(db_->RecordEvents({{good}}, -1).status(), Fails(absl::StatusCode::kInvalidArgument, "now_ms"));
  EXPECT_TRUE(HistoryOf(*db_, "u").empty());
  EXPECT_TRUE(Log().empty());
  EXPECT_EQ(Record({}).num_recorded, 0);
}

TEST_F(DatabaseEventsTest, EventIdsCountOnceWithinTheWindow) {
  RecordResult r = Record(
      {Event("u", "a", 1, "e1"), Event("u", "b", 2, "e2"), Event("v", "c", 3, "e1"), Event("u", "d", 4)});
  EXPECT_EQ(r.num_recorded, 3);
  EXPECT_EQ(r.num_duplicates, 1);
  ASSERT_EQ(r.arrivals.size(), 4);
  EXPECT_EQ(r.arrivals[2], 0);
  EXPECT_LT(0, r.arrivals[0]);
  EXPECT_LT(r.arrivals[0], r.arrivals[1]);
  EXPECT_LT(r.arrivals[1], r.arrivals[3]);
  EXPECT_EQ(Record({Event("u", "a", 1, "e1")}, kNow + 24 * kHourMs - 1).num_duplicates, 1);
  Reopen();
  EXPECT_EQ(Record({Event("u", "a", 1, "e1"), Event("u", "z", 9)}, kNow + kHourMs).num_duplicates, 1);
  EXPECT_TRUE(HistoryOf(*db_, "v").empty());
  EXPECT_EQ(HistoryOf(*db_, "u").size(), 4);
  // After the window the id is free again.
  EXPECT_EQ(Record({Event("u", "a", 1, "e1")}, kNow + 24 * kHourMs).num_recorded, 1);
  EXPECT_EQ(Record({Event("u", "a", 1, "e1")}, kNow + 24 * kHourMs).num_duplicates, 1);
  EXPECT_EQ(Log().size(), 5);
}

TEST_F(DatabaseEventsTest, ArrivalsGrowWhateverTheClockDoes) {
  uint64_t last = 0;
  for (const int64_t now : {kNow, kNow + 5, kNow - kHourMs, int64_t{0}, kNow + 6}) {
    for (int again = 0; again < 2; ++again) {
      const RecordResult r = Record({Event("u", absl::StrCat("i", last), 1), Event("v", "i", 1)}, now);
      for (const uint64_t arrival : r.arrivals) {
        EXPECT_LT(last, arrival);
        last = arrival;
      }
      Reopen();
    }
  }
  const auto log = Log();
  ASSERT_EQ(log.size(), 20);
  EXPECT_EQ(log[0].first, kNow);
  EXPECT_EQ(log[8].first, kNow + 5) << "order of arrival, not of the clock";
}

TEST_F(DatabaseEventsTest, ErasureMasksWhatCameBeforeAndNothingAfter) {
  Record({Event("u", "a", 1), Event("other", "a", 1)});
  ASSERT_OK(db_->DeleteUser("u", kNow + 1));
  ASSERT_OK(db_->DeleteUser("u", kNow + 1)) << "idempotent";
  ASSERT_OK(db_->DeleteUser("nobody", kNow + 1));
  EXPECT_TRUE(HistoryOf(*db_, "u").empty());
  EXPECT_EQ(Log().size(), 1);
  // The clock goes back and the process restarts: later is later still.
  Reopen();
  const EventRecord later = Event("u", "b", 1);
  Record({later}, kNow - kHourMs);
  EXPECT_THAT(HistoryOf(*db_, "u"), testing::ElementsAre(InHistory(later)));
  const auto log = Log();
  ASSERT_EQ(log.size(), 2);
  EXPECT_EQ(log[1].second, later);
  EXPECT_EQ(db_->DeleteUser("", kNow).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DatabaseEventsTest, AUsersLogIsReadInPartsAndHoldsNothingOfOthers) {
  std::vector<EventRecord> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(Event(i % 3 == 0   ? "u"
                        : i % 3 == 1 ? "uu"
                                     : "v",
                        absl::StrCat("item-", i), i, absl::StrCat(i)));
  }
  Record(all);
  // Every way to cut it gives the same.
  for (const uint64_t max_scanned : {1u, 7u, 1000u}) {
    for (const size_t max_entries : {size_t{1}, size_t{5}, size_t{1000}}) {
      std::vector<EventRecord> found;
      std::optional<uint64_t> from = 0;
      while (from.has_value()) {
        const absl::StatusOr<UserLogPart> part = db_->ReadUserLog("u", *from, max_scanned, max_entries);
        ASSERT_OK(part.status());
        EXPECT_LE(part->entries.size(), std::min<size_t>(max_entries, max_scanned));
        for (const UserLogPart::Entry& entry : part->entries) {
          EXPECT_EQ(entry.arrival_ms, kNow);
          found.push_back(entry.event);
        }
        from = part->next;
      }
      ASSERT_EQ(found.size(), 34) << max_scanned << " " << max_entries;
      for (size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], all[3 * i]);
    }
  }
  EXPECT_EQ(*db_->ReadErasedMs("u"), 0);
  ASSERT_OK(db_->DeleteUser("u", kNow + 5));
  Record({Event("u", "after", 1)}, kNow + 6);
  const absl::StatusOr<UserLogPart> part = db_->ReadUserLog("u", 0, 1000, 1000);
  ASSERT_OK(part.status());
  ASSERT_EQ(part->entries.size(), 1);
  EXPECT_EQ(part->entries[0].event.item_id, "after");
  EXPECT_EQ(part->num_erased, 34);
  EXPECT_GE(*db_->ReadErasedMs("u"), kNow + 5);
  EXPECT_TRUE(db_->ReadUserLog("nobody", 0, 1000, 1000)->entries.empty());
}

TEST_F(DatabaseEventsTest, ErasuresAndEventsOfOneUserAreOrdered) {
  options_.max_history_events = 10000;
  Reopen();
  std::thread eraser([&] {
    for (int i = 0; i < 40; ++i) EXPECT_OK(db_->DeleteUser("u", kNow));
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        EXPECT_OK(db_->RecordEvents({{Event("u", absl::StrCat(t, "-", i), i)}}, kNow).status());
      }
    });
  }
  eraser.join();
  for (std::thread& t : writers) t.join();
  std::vector<EventRecord> unmasked;
  for (const auto& [ms, event] : Log()) unmasked.push_back(event);
  EXPECT_EQ(HistoryOf(*db_, "u"), Oracle(unmasked, 10000)) << "serving and training agree on what is erased";
}

TEST_F(DatabaseEventsTest, ConcurrentDuplicatesAreStoredOnce) {
  constexpr int kThreads = 8, kEvents = 40;
  std::atomic<int> recorded{0}, duplicates{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEvents; ++i) {
        const auto r = db_->RecordEvents({{Event("u", absl::StrCat("i", i), i, absl::StrCat("e", i))}}, kNow);
        EXPECT_OK(r.status());
        recorded += static_cast<int>(r->num_recorded);
        duplicates += static_cast<int>(r->num_duplicates);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(recorded, kEvents);
  EXPECT_EQ(duplicates, kEvents * (kThreads - 1));
  EXPECT_EQ(Log().size(), kEvents);
}

TEST_F(DatabaseEventsTest, HistoriesFollowTheLogUnderConcurrency) {
  constexpr int kThreads = 8, kCalls = 40, kUsers = 5;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 rng(static_cast<unsigned>(t));
      for (int c = 0; c < kCalls; ++c) {
        std::vector<EventRecord> batch;
        for (size_t i = 0; i < 1 + rng() % 4; ++i) {
          batch.push_back(Event(absl::StrCat("u", rng() % kUsers), absl::StrCat(t, "/", c, "/", i),
                                static_cast<int64_t>(rng() % 3)));
        }
        EXPECT_OK(db_->RecordEvents(batch, kNow).status());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  const auto log = Log();
  for (int round = 0; round < 2; ++round) {
    for (int u = 0; u < kUsers; ++u) {
      const std::string user = absl::StrCat("u", u);
      std::vector<EventRecord> events;
      for (const auto& [ms, event] : log) {
        if (event.user_id == user) events.push_back(event);
      }
      EXPECT_EQ(HistoryOf(*db_, user), Oracle(events, 10)) << user;
    }
    Reopen();
  }
}

TEST_F(DatabaseEventsTest, UnrelatedCallersShareFsyncs) {
  constexpr int kThreads = 16, kCalls = 50;
  const uint64_t before = db_->Stats().properties["wal_syncs"];
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int c = 0; c < kCalls; ++c) {
        EXPECT_OK(db_->RecordEvents({{Event(absl::StrCat("u", t), "i", c)}}, kNow).status());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  const uint64_t syncs = db_->Stats().properties["wal_syncs"] - before;
  RecordProperty("fsyncs_per_100_calls", static_cast<int>(syncs * 100 / (kThreads * kCalls)));
  EXPECT_GT(syncs, 0);
  EXPECT_LT(syncs, kThreads * kCalls) << "a lock is held across the fsync";
}

TEST_F(DatabaseEventsTest, WithoutSyncNothingIsFsyncedPerCall) {
  options_.sync_writes = false;
  Reopen();
  const uint64_t before = db_->Stats().properties["wal_syncs"];
  for (int i = 0; i < 20; ++i) Record({Event("u", "i", i)});
  EXPECT_EQ(db_->Stats().properties["wal_syncs"], before);
  Reopen();
  EXPECT_EQ(HistoryOf(*db_, "u").size(), 10);
}

}  // namespace
}  // namespace swiftlet

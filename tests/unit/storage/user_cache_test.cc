#include "storage/user_cache.h"

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "engine/base/mutex.h"
#include "storage/training_reader.h"
#include "storage/user_vector_file.h"
#include "storage_test_util.h"
#include "tests/testing/count_allocations.h"

namespace swiftlet {
namespace {

using storage_testing::Event;
using storage_testing::HistoryOf;
using storage_testing::InHistory;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::Oracle;
using storage_testing::TempDir;

// Opens once; until then Wait blocks.
class Gate {
 public:
  void Open() {
    MutexLock lock(mu_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(mu_);
    while (!open_) changed_.Wait(mu_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

// A store in memory whose steps a test can hold up. Thread-safe.
class FakeStore final : public UserStore {
 public:
  absl::StatusOr<RecordResult> RecordEvents(std::span<const EventRecord> events, int64_t) override {
    RecordResult result;
    {
      MutexLock lock(mu_);
      if (!next_error.ok()) return std::exchange(next_error, absl::OkStatus());
      for (const EventRecord& e : events) {
        const bool duplicate = !e.event_id.empty() && !ids_.insert(e.event_id).second;
        result.arrivals.push_back(duplicate ? 0 : ++arrival_);
        ++(duplicate ? result.num_duplicates : result.num_recorded);
        if (!duplicate) events_[e.user_id].push_back(e);
      }
    }
    if (after_commit) after_commit(events);
    return result;
  }
  absl::Status ReadHistory(std::string_view user_id, std::vector<HistoryEvent>* history) override {
    const int read = num_history_reads.fetch_add(1);
    {
      MutexLock lock(mu_);
      *history = Oracle(events_[std::string(user_id)], kLimit);
    }
    if (after_history_read) after_history_read(read);
    return absl::OkStatus();
  }
  absl::Status ReadLongTerm(int64_t version, std::string_view user_id, std::vector<float>* vector) override {
    ++num_vector_reads;
    if (during_vector_read) during_vector_read();
    if (version == kMissingVersion) return absl::NotFoundError("no such version");
    *vector = {static_cast<float>(version), static_cast<float>(user_id.size())};
    if (dim > 2) vector->resize(dim);
    return absl::OkStatus();
  }
  absl::Status DeleteUser(std::string_view user_id, int64_t) override {
    MutexLock lock(mu_);
    events_.erase(std::string(user_id));
    return absl::OkStatus();
  }

  static constexpr size_t kLimit = 5;
  static constexpr int64_t kMissingVersion = 404;
  std::function<void()> during_vector_read;
  std::atomic<int> num_history_reads{0}, num_vector_reads{0};
  size_t dim = 2;
  // Set before the threads start.
  std::function<void(int)> after_history_read;  // with the number of the read
  std::function<void(std::span<const EventRecord>)> after_commit;
  absl::Status next_error;

 private:
  Mutex mu_;
  uint64_t arrival_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, std::vector<EventRecord>> events_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> ids_ ABSL_GUARDED_BY(mu_);
};

// Null when the user is not cached.
std::shared_ptr<const CachedUser> FindIn(UserCache& cache, std::string_view user_id,
                                         UserVectorsId vectors = {}) {
  auto user = std::make_shared<CachedUser>();
  return cache.Find(user_id, vectors, user.get()) ? user : nullptr;
}
// Null after an error.
std::shared_ptr<const CachedUser> GetIn(UserCache& cache, std::string_view user_id,
                                        UserVectorsId vectors = {}) {
  auto user = std::make_shared<CachedUser>();
  const absl::Status status = cache.Get(user_id, vectors, user.get());
  EXPECT_OK(status);
  return status.ok() ? user : nullptr;
}

class UserCacheTest : public ::testing::Test {
 protected:
  std::shared_ptr<const CachedUser> Find(std::string_view user, UserVectorsId vectors) {
    return FindIn(cache_, user, vectors);
  }
  std::shared_ptr<const CachedUser> Get(std::string_view user, UserVectorsId vectors = {}) {
    return GetIn(cache_, user, vectors);
  }
  void Record(const std::vector<EventRecord>& events) {
    EXPECT_OK(cache_.RecordEvents(events, kNow).status());
  }

  FakeStore store_;
  UserCache cache_{&store_, {.max_history_events = FakeStore::kLimit}};
};

TEST_F(UserCacheTest, MissesAreReadOnceAndUnknownUsersAreRemembered) {
  EXPECT_EQ(Find("u", 0), nullptr);
  const auto user = Get("u");
  EXPECT_TRUE(user->history.empty());
  EXPECT_NE(Find("u", 0), nullptr);
  EXPECT_TRUE(Get("u")->history.empty());
  EXPECT_EQ(store_.num_history_reads, 1);
  const UserCacheStats stats = cache_.Stats();
  EXPECT_EQ(stats.hits, 2);
  EXPECT_EQ(stats.misses, 1);
  EXPECT_EQ(stats.entries, 1);
  EXPECT_GT(stats.bytes, sizeof(CachedUser));
}

TEST_F(UserCacheTest, AnotherVersionReadsOnlyTheVector) {
  Record({Event("u", "a", 1)});
  EXPECT_EQ(Get("u", 7)->long_term, (std::vector<float>{7, 1}));
  EXPECT_EQ(Find("u", 8), nullptr);
  const auto eight = Get("u", 8);
  EXPECT_EQ(eight->long_term, (std::vector<float>{8, 1}));
  EXPECT_EQ(eight->history.size(), 1);
  EXPECT_EQ(eight->vectors.version, 8);
  EXPECT_EQ(store_.num_history_reads, 1);
  EXPECT_EQ(store_.num_vector_reads, 2);
  // Version 0 wants no vector, and must not get one of some version.
  const auto none = Find("u", 0);
  ASSERT_NE(none, nullptr);
  EXPECT_TRUE(none->long_term.empty());
  EXPECT_EQ(none->history, eight->history);
  EXPECT_EQ(Find("u", 8)->long_term, eight->long_term) << "and does not displace the one that is there";
  Record({Event("u", "b", 2)});
  EXPECT_EQ(Find("u", 8)->long_term, eight->long_term) << "a write keeps the vector";
}

TEST_F(UserCacheTest, AReusedVersionNumberIsAnotherGenerationAndReadAgain) {
  Record({Event("u", "a", 1)});
  EXPECT_EQ(Get("u", {7, 1})->long_term.size(), 2);
  store_.dim = 3;  // the store's version 7 is another model's now
  EXPECT_EQ(Find("u", {7, 2}), nullptr);
  const auto user = Get("u", {7, 2});
  EXPECT_EQ(user->long_term, (std::vector<float>{7, 1, 0}));
  EXPECT_EQ(user->history.size(), 1);
  Record({Event("u", "b", 2)});
  EXPECT_EQ(Find("u", {7, 2})->vectors, (UserVectorsId{7, 2})) << "a write keeps the generation";
  EXPECT_EQ(Find("u", {7, 1}), nullptr);
  EXPECT_EQ(store_.num_history_reads, 1);
}

TEST_F(UserCacheTest, VectorsThatWereReadAheadAreThereBesideThoseInUse) {
  Record({Event("hot", "a", 1)});
  Get("hot", 7);
  Get("cold", 7);
  EXPECT_NE(Find("hot", 7), nullptr);  // asked for again
  const int reads_before = store_.num_vector_reads;
  EXPECT_EQ(cache_.ReadAhead(8, absl::Hours(1)), 1);
  EXPECT_EQ(store_.num_vector_reads, reads_before + 1);
  EXPECT_EQ(cache_.ReadAhead(8, absl::Hours(1)), 1);
  EXPECT_EQ(Find("hot", 7)->long_term, (std::vector<float>{7, 3})) << "version 7 still serves";
  EXPECT_EQ(Find("hot", {8, 1}), nullptr) << "of another generation";
  Record({Event("hot", "b", 2)});
  EXPECT_EQ(Find("hot", 7)->history.size(), 2);
  const int reads = store_.num_vector_reads;
  for (int i = 0; i < 3; ++i) {
    const auto user = Find("hot", 8);
    ASSERT_NE(user, nullptr);
    EXPECT_EQ(user->long_term, (std::vector<float>{8, 3}));
    EXPECT_EQ(user->vectors.version, 8);
    EXPECT_EQ(user->history.size(), 2);
  }
  EXPECT_EQ(Find("cold", 8), nullptr);
  EXPECT_EQ(Find("hot", 7), nullptr) << "one of both is left when the swap is over";
  EXPECT_EQ(store_.num_vector_reads, reads);
}

TEST_F(UserCacheTest, AnErasureDuringReadAheadHolds) {
  Record({Event("u", "a", 1)});
  Get("u", 7);
  EXPECT_NE(Find("u", 7), nullptr);
  store_.during_vector_read = [this] {
    store_.during_vector_read = nullptr;
    EXPECT_OK(cache_.DeleteUser("u", kNow));
    Get("u", 7);  // it is cached again, as it is after the erasure
  };
  cache_.ReadAhead(8, absl::Hours(1));
  EXPECT_NE(Find("u", 7), nullptr);
  EXPECT_EQ(Find("u", 8), nullptr) << "a vector of before the erasure";
  // And after it.
  EXPECT_EQ(cache_.ReadAhead(8, absl::Hours(1)), 1);
  EXPECT_OK(cache_.DeleteUser("u", kNow));
  EXPECT_EQ(Find("u", 8), nullptr);
}

TEST_F(UserCacheTest, ReadingAheadEndsWhereThereAreNoSuchVectors) {
  Get("u", 7);
  EXPECT_NE(Find("u", 7), nullptr);
  EXPECT_EQ(cache_.ReadAhead(FakeStore::kMissingVersion, absl::Hours(1)), 0);
  EXPECT_EQ(cache_.ReadAhead(0, absl::Hours(1)), 0);
  EXPECT_NE(Find("u", 7), nullptr);
}

TEST_F(UserCacheTest, AVersionThatTheStoreDoesNotHaveIsNotCached) {
  const auto user = Get("u", FakeStore::kMissingVersion);
  EXPECT_TRUE(user->long_term.empty());
  EXPECT_EQ(Find("u", FakeStore::kMissingVersion), nullptr);
}

TEST_F(UserCacheTest, WritesAreSeenAtOnceInTheOrderOfTheStore) {
  std::mt19937 rng(1);
  std::vector<EventRecord> all;
  const auto before = Get("u");
  for (int i = 0; i < 100; ++i) {
    all.push_back(Event("u", absl::StrCat("i", i), static_cast<int64_t>(rng() % 20)));
    Record({all.back()});
    const auto found = Find("u", 0);
    ASSERT_NE(found, nullptr);
    ASSERT_EQ(found->history, Oracle(all, FakeStore::kLimit));
    ASSERT_EQ(found->history, HistoryOf(store_, "u"));
  }
  EXPECT_TRUE(before->history.empty()) << "what was handed out never changes";
}

TEST_F(UserCacheTest, DuplicatesAreNotAppended) {
  Get("u");
  Record({Event("u", "a", 1, "e1"), Event("u", "b", 2, "e1"), Event("v", "c", 3, "e2")});
  Record({Event("u", "a", 1, "e1"), Event("u", "d", 1, "e3")});
  EXPECT_EQ(Find("u", 0)->history, HistoryOf(store_, "u"));
  EXPECT_EQ(Find("u", 0)->history.size(), 2);
  EXPECT_EQ(Find("v", 0), nullptr) << "a write alone caches nobody";
}

TEST_F(UserCacheTest, DeletedUsersAreGoneAtOnceAndStartAfresh) {
  Record({Event("u", "a", 1)});
  EXPECT_EQ(Get("u", 3)->history.size(), 1);
  ASSERT_OK(cache_.DeleteUser("u", kNow));
  EXPECT_TRUE(Get("u", 3)->history.empty());
  Record({Event("u", "b", 1)});
  EXPECT_EQ(Get("u", 3)->history.size(), 1);
}

TEST_F(UserCacheTest, AFailedWriteForgetsTheUserAndABadArgumentDoesNot) {
  Get("u");
  store_.next_error = absl::InvalidArgumentError("bad");
  EXPECT_FALSE(cache_.RecordEvents({{Event("u", "a", 1)}}, kNow).ok());
  EXPECT_NE(Find("u", 0), nullptr);
  store_.next_error = absl::UnavailableError("disk");
  EXPECT_FALSE(cache_.RecordEvents({{Event("u", "a", 1)}}, kNow).ok());
  EXPECT_EQ(Find("u", 0), nullptr);
}

TEST_F(UserCacheTest, ConcurrentMissesShareOneRead) {
  Gate reading, go_on;
  store_.after_history_read = [&](int) {
    reading.Open();
    go_on.Wait();
  };
  std::vector<std::thread> threads;
  std::atomic<int> started{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      ++started;
      EXPECT_NE(Get("u"), nullptr);
    });
  }
  reading.Wait();
  while (started < 4) std::this_thread::yield();
  go_on.Open();
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(store_.num_history_reads, 1);
}

// A read takes its data, a write commits and is acknowledged, then the read ends: what it brought is old.
TEST_F(UserCacheTest, AFillNeverBringsBackAnOlderHistory) {
  Gate read_done, go_on;
  store_.after_history_read = [&](int read) {
    if (read > 0) return;
    read_done.Open();
    go_on.Wait();
  };
  std::thread reader([&] { Get("u"); });
  read_done.Wait();
  Record({Event("u", "a", 1)});
  // Acknowledged: a call from now on must see it, although the old read is still going on.
  EXPECT_EQ(Get("u")->history.size(), 1);
  go_on.Open();
  reader.join();
  EXPECT_EQ(Get("u")->history.size(), 1);
  EXPECT_EQ(Find("u", 0)->history.size(), 1);
}

// A write commits, a read brings its event, then the write gets to the cache: the event must not be there
// twice.
TEST_F(UserCacheTest, AFillInTheMiddleOfAWriteIsNotAppendedTo) {
  Gate committed, go_on;
  store_.after_commit = [&](auto) {
    committed.Open();
    go_on.Wait();
  };
  std::thread writer([&] { Record({Event("u", "a", 1)}); });
  committed.Wait();
  EXPECT_EQ(Get("u")->history.size(), 1);
  go_on.Open();
  writer.join();
  EXPECT_EQ(Get("u")->history.size(), 1);
}

// Two writes of a user commit in one order and come back in the other.
TEST_F(UserCacheTest, WritesThatComeBackOutOfOrderLeaveNoWrongHistory) {
  Get("u");
  Gate first_committed, go_on;
  store_.after_commit = [&](std::span<const EventRecord> events) {
    if (events[0].item_id != "first") return;
    first_committed.Open();
    go_on.Wait();
  };
  std::thread first([&] { Record({Event("u", "first", 1)}); });
  first_committed.Wait();
  Record({Event("u", "second", 1)});
  go_on.Open();
  first.join();
  EXPECT_EQ(Get("u")->history, HistoryOf(store_, "u"));
  EXPECT_EQ(Get("u")->history[0].item_key, ItemKeyOf("first"));
}

TEST(UserCacheBudgetTest, UsersNobodyAsksForLeaveWhenBytesRunOut) {
  FakeStore store;
  constexpr int64_t kBudget = 64 << 10;
  UserCache cache(&store, {.capacity_bytes = kBudget, .num_shards = 1});
  for (int i = 0; i < 2000; ++i) {
    ASSERT_NE(GetIn(cache, absl::StrCat("user", i)), nullptr);
    ASSERT_NE(FindIn(cache, "user0", 0), nullptr) << "used all the time";
    ASSERT_LE(cache.Stats().bytes, kBudget);
  }
  const UserCacheStats stats = cache.Stats();
  EXPECT_GT(stats.entries, 50);
  EXPECT_EQ(stats.entries + stats.evictions, 2000);
  EXPECT_EQ(FindIn(cache, "user1", 0), nullptr);
  EXPECT_NE(FindIn(cache, "user1999", 0), nullptr);
  // Histories grow within the budget too.
  for (int i = 0; i < 300; ++i) {
    ASSERT_OK(cache.RecordEvents({{Event(absl::StrCat("user", 1999 - i % 50), "i", i)}}, kNow).status());
    ASSERT_LE(cache.Stats().bytes, kBudget);
  }
}

TEST(UserCacheBudgetTest, NobodyLeavesForAVectorThatIsReadAhead) {
  FakeStore store;
  store.dim = 64;
  constexpr int64_t kBudget = 64 << 10;
  UserCache cache(&store, {.capacity_bytes = kBudget, .num_shards = 1});
  int num_users = 0;
  for (; cache.Stats().evictions == 0; ++num_users) {
    const std::string id = absl::StrCat("user", num_users);
    ASSERT_NE(GetIn(cache, id, 7), nullptr);
    FindIn(cache, id, 7);
  }
  // A third of them leaves room for the vectors of some of the others.
  for (int i = 0; i < num_users / 3; ++i) ASSERT_OK(cache.DeleteUser(absl::StrCat("user", i), kNow));
  const UserCacheStats before = cache.Stats();
  const uint64_t read = cache.ReadAhead(8, absl::Hours(1));
  EXPECT_GT(read, 10);
  EXPECT_LT(read, before.entries);
  EXPECT_EQ(cache.Stats().entries, before.entries);
  EXPECT_GE(cache.Stats().bytes, before.bytes + read * 64 * sizeof(float)) << "they count";
  EXPECT_LE(cache.Stats().bytes, kBudget);
  uint64_t found = 0;
  for (int i = 0; i < num_users; ++i) found += FindIn(cache, absl::StrCat("user", i), 8) != nullptr;
  EXPECT_EQ(found, read);
  EXPECT_LT(cache.Stats().bytes, before.bytes + 4096) << "they have taken the place of the others";
  for (int i = 0; i < num_users; ++i) ASSERT_OK(cache.DeleteUser(absl::StrCat("user", i), kNow));
  EXPECT_LT(cache.Stats().bytes, 4096);
}

TEST(UserCacheBudgetTest, AUserLargerThanTheCacheIsServedButNotKept) {
  FakeStore store;
  UserCache cache(&store, {.capacity_bytes = 100, .num_shards = 1});
  ASSERT_NE(GetIn(cache, "u"), nullptr);
  ASSERT_OK(cache.RecordEvents({{Event("u", "i", 1)}}, kNow).status());
  EXPECT_EQ(GetIn(cache, "u", 0)->history.size(), 1);
  EXPECT_EQ(cache.Stats().entries, 0);
  EXPECT_EQ(cache.Stats().bytes, 0);
}

TEST(UserCacheBudgetTest, HitsIntoABufferThatIsUsedAgainAllocateNothing) {
  FakeStore store;
  store.dim = 64;
  UserCache cache(&store, {.max_history_events = FakeStore::kLimit});
  for (int i = 0; i < 5; ++i) ASSERT_OK(cache.RecordEvents({{Event("u", "i", i)}}, kNow).status());
  CachedUser user;
  ASSERT_OK(cache.Get("u", 7, &user));
  const HistoryEvent* const history = user.history.data();
  const float* const long_term = user.long_term.data();
  const size_t before = testing::NumAllocations();
  ASSERT_GT(before, 0);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cache.Find("u", 7, &user));
  EXPECT_EQ(testing::NumAllocations(), before);
  EXPECT_EQ(user.history.data(), history);
  EXPECT_EQ(user.long_term.data(), long_term);
  EXPECT_EQ(user.history.size(), 5);
  EXPECT_EQ(user.long_term.size(), 64);
}

// Many callers for unknown users, one for users who exist: those stay, through the whole cache.
TEST(UserCacheBudgetTest, AFloodOfUnknownUsersLeavesTheUsersInUse) {
  FakeStore store;
  UserCache cache(&store,
                  {.capacity_bytes = 1 << 20, .max_history_events = FakeStore::kLimit, .num_shards = 4});
  constexpr int kUsers = 1000;
  for (int u = 0; u < kUsers; ++u) {
    ASSERT_OK(cache.RecordEvents({{Event(absl::StrCat("u", u), "i", 1)}}, kNow).status());
    for (int i = 0; i < 3; ++i) GetIn(cache, absl::StrCat("u", u));
  }
  for (int i = 0; i < 50'000; ++i) GetIn(cache, absl::StrCat("nobody", i));
  EXPECT_GT(cache.Stats().evictions, 40'000);
  int found = 0;
  for (int u = 0; u < kUsers; ++u) found += FindIn(cache, absl::StrCat("u", u)) != nullptr ? 1 : 0;
  EXPECT_EQ(found, kUsers);
}

// Everything at once over the real store: each thread sees its own writes at once, and in the end the cache,
// the disk and the event log tell the same story.
TEST(UserCacheStressTest, CacheDiskAndLogAgree) {
  constexpr int kThreads = 6, kCalls = 120, kUsers = 4, kLimit = 5000;
  const TempDir dir;
  const std::string sst = dir.Path("user_vectors.sst");
  {
    auto writer = UserVectorFileWriter::Create(sst, 1);
    ASSERT_OK(writer.status());
    for (int u = 0; u < kUsers; ++u) {
      ASSERT_OK((*writer)->Add(absl::StrCat("u", u), std::vector<float>{static_cast<float>(u)}));
    }
    ASSERT_OK((*writer)->Finish());
  }
  const auto db = OpenOrDie({.path = dir.Path("db"), .max_history_events = kLimit});
  for (const int64_t version : {1, 2}) ASSERT_OK(db->IngestUserVectors(version, 1, sst, kNow + 1'000'000));
  // Small enough to evict now and then.
  UserCache cache(db.get(), {.capacity_bytes = 40'000, .max_history_events = kLimit, .num_shards = 2});
  std::array<std::atomic<int>, kUsers> erasure{};  // 1: on its way, 2: acknowledged
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 rng(static_cast<unsigned>(t));
      for (int c = 0; c < kCalls; ++c) {
        const int u = static_cast<int>(rng() % kUsers);
        const std::string user = absl::StrCat("u", u);
        if (t == 0 && c % 20 == 19) {
          if (erasure[u] == 0) erasure[u] = 1;
          EXPECT_OK(cache.DeleteUser(user, kNow));
          erasure[u] = 2;
          continue;
        }
        const std::string item = absl::StrCat(t, "/", c);
        std::vector<EventRecord> batch = {Event(user, item, static_cast<int64_t>(rng() % 4), item)};
        if (c % 3 == 0) batch.push_back(Event(absl::StrCat("u", rng() % kUsers), item + "b", 2));
        if (c % 5 == 0) batch.push_back(batch[0]);  // a duplicate
        EXPECT_OK(cache.RecordEvents(batch, kNow).status());
        const int64_t version = 1 + static_cast<int64_t>(rng() % 2);
        const bool erased_before = erasure[u] == 2;
        auto read = FindIn(cache, user, version);
        if (read == nullptr) {
          read = GetIn(cache, user, version);
          ASSERT_NE(read, nullptr);
        }
        const auto mine = std::count_if(read->history.begin(), read->history.end(),
                                        [&](const HistoryEvent& e) { return e.item_key == ItemKeyOf(item); });
        EXPECT_LE(mine, 1);
        EXPECT_EQ(read->vectors.version, version);
        if (erased_before) {
          EXPECT_TRUE(read->long_term.empty());
        } else if (erasure[u] == 0) {
          EXPECT_EQ(read->long_term, std::vector<float>{static_cast<float>(u)});
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  std::map<std::string, std::vector<EventRecord>> log;
  const auto reader = TrainingReader::Open(dir.Path("db"), dir.Path("scratch"));
  ASSERT_OK(reader.status());
  ASSERT_OK((*reader)->ForEachEvent([&](int64_t, const EventRecord& event) {
    log[event.user_id].push_back(event);
    return absl::OkStatus();
  }));
  for (int u = 0; u < kUsers; ++u) {
    const std::string user = absl::StrCat("u", u);
    const auto cached = FindIn(cache, user, 1) != nullptr ? FindIn(cache, user, 1) : FindIn(cache, user, 2);
    const std::vector<HistoryEvent> disk = HistoryOf(*db, user);
    EXPECT_EQ(disk, Oracle(log[user], kLimit)) << user;
    if (cached != nullptr) {
      EXPECT_EQ(cached->history, disk) << user;
    }
    EXPECT_EQ(GetIn(cache, user, 1)->history, disk) << user;
  }
}

// Without erasures every writer must find its own event in the very next read.
TEST(UserCacheStressTest, EveryWriterReadsItsOwnWrite) {
  constexpr int kThreads = 6, kCalls = 100, kUsers = 3, kLimit = 5000;
  const TempDir dir;
  const auto db = OpenOrDie({.path = dir.Path("db"), .max_history_events = kLimit});
  UserCache cache(db.get(), {.capacity_bytes = 30'000, .max_history_events = kLimit, .num_shards = 1});
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int c = 0; c < kCalls; ++c) {
        const std::string user = absl::StrCat("u", (t + c) % kUsers), item = absl::StrCat(t, "/", c);
        EXPECT_OK(cache.RecordEvents({{Event(user, item, c % 4)}}, kNow).status());
        auto read = FindIn(cache, user, 0);
        if (read == nullptr) read = GetIn(cache, user);
        EXPECT_EQ(std::count_if(read->history.begin(), read->history.end(),
                                [&](const HistoryEvent& e) { return e.item_key == ItemKeyOf(item); }),
                  1);
      }
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace swiftlet

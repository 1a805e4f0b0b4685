// What was acknowledged is there after the power failed at any moment; see power_loss_file_system.h.
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "power_loss_file_system.h"
#include "storage/database.h"
#include "storage/training_reader.h"
#include "storage/user_vector_file.h"
#include "storage_test_util.h"

namespace swiftlet {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

using storage_testing::Event;
using storage_testing::HistoryOf;
using storage_testing::Item;
using storage_testing::kNow;
using storage_testing::OpenOrDie;
using storage_testing::Oracle;
using storage_testing::PowerLossFileSystem;
using storage_testing::TempDir;
using Loss = PowerLossFileSystem::Loss;

constexpr uint32_t kHistory = 30;

// One call of a writer: what it wrote, all of which is there afterwards, or none.
struct Call {
  std::vector<EventRecord> events = {};
  std::string erased_user = {};
  std::vector<CatalogItem> items = {};
};

// What a writer's calls have made of its own users and items.
struct Contents {
  std::map<std::string, std::vector<EventRecord>> histories;  // of each user since the last erasure
  std::map<std::string, std::string> titles;
  std::set<std::string> event_ids;

  void Apply(const Call& call) {
    for (const EventRecord& e : call.events) {
      if (event_ids.insert(e.event_id).second) histories[e.user_id].push_back(e);
    }
    if (!call.erased_user.empty()) histories[call.erased_user].clear();
    for (const CatalogItem& item : call.items) titles[item.item_id] = item.title;
  }
};

// What the database holds of them.
struct Found {
  std::map<std::string, std::vector<HistoryEvent>> histories;
  std::map<std::string, std::string> titles;
  std::set<std::string> logged;  // ids of the events that training would see

  bool operator==(const Found&) const = default;
};

Found Expected(const Contents& contents) {
  Found found = {.histories = {}, .titles = contents.titles, .logged = {}};
  for (const auto& [user, events] : contents.histories) {
    if (!events.empty()) found.histories[user] = Oracle(events, kHistory);
    for (const EventRecord& e : events) found.logged.insert(e.event_id);
  }
  return found;
}

std::string Describe(const Found& found) {
  std::string text = absl::StrCat(found.logged.size(), " events logged, ", found.titles.size(), " items;");
  for (const auto& [user, history] : found.histories) absl::StrAppend(&text, " ", user, ":", history.size());
  for (const auto& [item, title] : found.titles) absl::StrAppend(&text, " ", item, ":", title);
  return text;
}

// Writes to users and items of its own, one call after the other, until one fails.
class Writer {
 public:
  explicit Writer(int number) : name_(absl::StrCat("w", number)), random_(static_cast<unsigned>(number)) {}

  void Run(Database& db) {
    for (unfinished_.reset();;) {
      const Call call = NextCall();
      absl::Status status;
      if (!call.events.empty()) {
        const auto result = db.RecordEvents(call.events, kNow);
        status = result.status();
        if (status.ok()) {
          EXPECT_EQ(result->num_duplicates, NumKnown(call.events));
        }
      } else if (!call.items.empty()) {
        status = db.WriteItems(call.items);
      } else {
        status = db.DeleteUser(call.erased_user, kNow);
      }
      if (!status.ok()) {
        unfinished_ = call;
        return;
      }
      contents_.Apply(call);
      ++num_acknowledged_;
    }
  }

  // What was acknowledged is there, and the last call as a whole or not at all. Then that is what is known.
  // `logged`: how often each event id is in the event log.
  void Check(Database& db, const std::map<std::string, int>& logged) {
    const Found found = Read(db, logged);
    if (unfinished_.has_value()) {
      Contents with = contents_;
      with.Apply(*unfinished_);
      if (found == Expected(with)) contents_ = with;
    }
    ASSERT_TRUE(found == Expected(contents_))
        << name_ << " has " << Describe(found) << "\nexpected " << Describe(Expected(contents_));
    // A retry counts once, whether the call was stored or not.
    for (int i = 0; i < 2 && unfinished_.has_value() && !unfinished_->events.empty(); ++i) {
      const uint32_t known = NumKnown(unfinished_->events);
      const auto retried = db.RecordEvents(unfinished_->events, kNow);
      ASSERT_OK(retried.status());
      EXPECT_EQ(retried->num_duplicates, known);
      contents_.Apply(*unfinished_);
    }
    unfinished_.reset();
  }

  int num_acknowledged() const { return num_acknowledged_; }

 private:
  std::string RandomUser() { return absl::StrCat(name_, "-user-", random_() % 3); }
  Call NextCall() {
    Call call;
    const auto what = random_() % 16;
    const size_t size = 1 + random_() % 5;
    if (what == 0) {
      call.erased_user = RandomUser();
    } else if (what < 4) {
      const size_t first = random_() % 4;
      for (size_t i = 0; i < size; ++i) {
        call.items.push_back(Item(absl::StrCat(name_, "-item-", first + i), absl::StrCat("title ", ++last_)));
      }
    } else {
      if (what == 4 && !recent_.empty()) call.events.push_back(recent_[random_() % recent_.size()]);
      for (size_t i = 0; i < size; ++i) {
        const std::string id = absl::StrCat(name_, "-", ++last_);
        call.events.push_back(Event(RandomUser(), absl::StrCat("item of ", id),
                                    static_cast<int64_t>(random_() % 8), id, static_cast<float>(i)));
      }
      recent_ = call.events;
    }
    return call;
  }
  uint32_t NumKnown(const std::vector<EventRecord>& events) const {
    uint32_t n = 0;
    for (const EventRecord& e : events) n += contents_.event_ids.contains(e.event_id);
    return n;
  }
  Found Read(Database& db, const std::map<std::string, int>& logged) {
    Found found;
    for (int u = 0; u < 3; ++u) {
      const std::string user = absl::StrCat(name_, "-user-", u);
      auto history = HistoryOf(db, user);
      if (!history.empty()) found.histories[user] = std::move(history);
    }
    EXPECT_OK(db.ForEachItem([&](const CatalogItem& item) {
      if (item.item_id.starts_with(name_ + "-")) found.titles[item.item_id] = item.title;
    }));
    for (const auto& [id, count] : logged) {
      EXPECT_EQ(count, 1) << id << " is stored twice";
      if (id.starts_with(name_ + "-")) found.logged.insert(id);
    }
    return found;
  }

  const std::string name_;
  std::mt19937 random_;
  uint64_t last_ = 0;
  int num_acknowledged_ = 0;
  std::vector<EventRecord> recent_;
  Contents contents_;
  std::optional<Call> unfinished_;
};

// Ingests and drops the vectors of two versions, until one call fails.
class VectorLoader {
 public:
  explicit VectorLoader(const std::string& directory) {
    for (int v = 1; v <= 2; ++v) {
      files_[v] = absl::StrCat(directory, "/user_vectors_", v, ".sst");
      auto writer = UserVectorFileWriter::Create(files_[v], 2);
      EXPECT_OK(writer.status());
      for (int u = 100; u < 200; ++u) {
        EXPECT_OK((*writer)->Add(absl::StrCat("user ", u), VectorOf(v, u)));
      }
      EXPECT_OK((*writer)->Finish());
    }
  }

  void Run(Database& db) {
    for (in_doubt_ = 0;;) {
      const int version = 1 + static_cast<int>(random_() % 2);
      const bool drop = ingested_.contains(version);
      const absl::Status status =
          drop ? db.DropUserVectors(version) : db.IngestUserVectors(version, 2, files_[version], kNow);
      if (!status.ok()) {
        in_doubt_ = version;
        return;
      }
      if (drop) {
        ingested_.erase(version);
      } else {
        ingested_.insert(version);
      }
      ++num_acknowledged_;
    }
  }

  void Check(Database& db) {
    EXPECT_THAT(db.DamagedUserVectors(), testing::IsEmpty());
    const std::vector<int64_t> versions = *db.IngestedVersions();
    std::set<int64_t> found(versions.begin(), versions.end());
    if (in_doubt_ != 0) {  // whole, or not there and to be ingested again
      ASSERT_OK(db.IngestUserVectors(in_doubt_, 2, files_[in_doubt_], kNow));
      ingested_.insert(in_doubt_);
      found.insert(in_doubt_);
    }
    EXPECT_EQ(found, ingested_);
    for (const int64_t version : ingested_) {
      for (const int u : {100, 150, 199}) {
        std::vector<float> vector;
        ASSERT_OK(db.ReadLongTerm(version, absl::StrCat("user ", u), &vector));
        EXPECT_EQ(vector, VectorOf(static_cast<int>(version), u));
      }
    }
  }
  int num_acknowledged() const { return num_acknowledged_; }

 private:
  static std::vector<float> VectorOf(int version, int user) {
    return {static_cast<float>(version), static_cast<float>(user)};
  }
  std::mt19937 random_{1};
  std::map<int64_t, std::string> files_;
  std::set<int64_t> ingested_;
  int64_t in_doubt_ = 0;
  int num_acknowledged_ = 0;
};

std::map<std::string, int> LoggedIds(const std::string& path, const std::string& scratch) {
  std::map<std::string, int> logged;
  const auto reader = TrainingReader::Open(path, scratch);
  EXPECT_OK(reader.status());
  if (!reader.ok()) return logged;
  EXPECT_OK((*reader)->ForEachEvent([&](int64_t, const EventRecord& event) {
    ++logged[event.event_id];
    return absl::OkStatus();
  }));
  return logged;
}

class PowerLossTest : public ::testing::Test {
 protected:
  PowerLossTest() {
    std::filesystem::create_directory(root_);
    disk_ = std::make_shared<PowerLossFileSystem>(root_);
  }
  DatabaseOptions Options(bool sync_writes = true) const {
    return {.path = root_ + "/new/data",
            .max_history_events = kHistory,
            .sync_writes = sync_writes,
            .env = PowerLossFileSystem::NewEnv(disk_)};
  }

  const TempDir dir_;
  const std::string root_ = dir_.Path("disk");
  std::shared_ptr<PowerLossFileSystem> disk_;
};

TEST_F(PowerLossTest, LosesNothingThatWasAcknowledgedAndHalvesNothing) {
  constexpr int kRounds = kSanitized ? 16 : 120;
  std::mt19937 random(7);
  std::vector<Writer> writers;
  for (int t = 0; t < 4; ++t) writers.emplace_back(t);
  VectorLoader loader(dir_.Path(""));
  int num_failed_opens = 0;
  for (int round = 0; round < kRounds && !HasFatalFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    // Some cuts come while the database is being opened.
    disk_->CutPowerAfter(random() % (round % 4 == 0 ? 60 : 600));
    auto opened = Database::Open(Options(), EventTypeTable::Default());
    if (opened.ok()) {
      std::vector<std::thread> threads;
      for (Writer& writer : writers) threads.emplace_back([&] { writer.Run(**opened); });
      loader.Run(**opened);
      for (std::thread& thread : threads) thread.join();
      opened->reset();
    } else {
      ++num_failed_opens;
      EXPECT_THAT(opened.status(), storage_testing::Fails(absl::StatusCode::kUnavailable, "power is off"));
    }
    ASSERT_TRUE(disk_->power_is_off());
    disk_->Reboot(round % 3 == 0 ? Loss::kAll : Loss::kTorn, random());

    const auto db = OpenOrDie(Options());
    ASSERT_NE(db, nullptr);
    const std::map<std::string, int> logged = LoggedIds(root_ + "/new/data", dir_.Path("scratch"));
    for (Writer& writer : writers) writer.Check(*db, logged);
    loader.Check(*db);
  }
  int num_acknowledged = 0;
  for (const Writer& writer : writers) num_acknowledged += writer.num_acknowledged();
  EXPECT_GT(num_acknowledged, 10 * kRounds);
  EXPECT_GT(loader.num_acknowledged(), kRounds / 4);
  EXPECT_GT(num_failed_opens, kRounds / 40);
  EXPECT_GT(disk_->num_lost_names(), kRounds / 4);
  EXPECT_GT(disk_->num_lost_bytes(), kRounds);
  RecordProperty("acknowledged", num_acknowledged);
  RecordProperty("lost_bytes", static_cast<int>(disk_->num_lost_bytes()));
}

TEST_F(PowerLossTest, WritesResumeAfterADiskThatFailsForAWhileAndNothingIsLostOrStoredTwice) {
  constexpr int kRounds = kSanitized ? 8 : 40;
  std::mt19937 random(8);
  std::vector<Writer> writers;
  for (int t = 0; t < 3; ++t) writers.emplace_back(t);
  auto db = OpenOrDie(Options());
  const auto check = [&] {
    const std::map<std::string, int> logged = LoggedIds(root_ + "/new/data", dir_.Path("scratch"));
    for (Writer& writer : writers) writer.Check(*db, logged);
  };
  for (int round = 0; round < kRounds && !HasFatalFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    ASSERT_NE(db, nullptr);
    disk_->CutPowerAfter(random() % 100);
    std::vector<std::thread> threads;
    for (Writer& writer : writers) threads.emplace_back([&] { writer.Run(*db); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(db->LastWrite().ok());
    EXPECT_FALSE(db->CheckWritable().ok());
    disk_->SwitchOn();
    const absl::Status resumed = db->CheckWritable();
    ASSERT_TRUE(resumed.ok()) << resumed;
    EXPECT_OK(db->LastWrite());
    check();
    if (round % 2 == 0) continue;
    disk_->CutPowerAfter(0);
    db = nullptr;
    disk_->Reboot(round % 4 == 1 ? Loss::kAll : Loss::kTorn, random());
    db = OpenOrDie(Options());
    ASSERT_NE(db, nullptr);
    check();
  }
}

TEST_F(PowerLossTest, WithoutSyncAcknowledgedWritesAreLost) {
  for (const bool sync_writes : {true, false}) {
    const auto open = [&] { return OpenOrDie(Options(sync_writes)); };
    auto db = open();
    ASSERT_NE(db, nullptr);
    db = nullptr;
    disk_->Reboot(Loss::kAll, 0);  // it is created, and that lasts
    db = open();
    ASSERT_NE(db, nullptr);
    const std::string user = absl::StrCat("sync ", sync_writes);
    for (int i = 0; i < 20; ++i) {
      ASSERT_OK(db->RecordEvents({{Event(user, absl::StrCat("item ", i), i)}}, kNow).status());
    }
    disk_->CutPowerAfter(0);
    db = nullptr;
    disk_->Reboot(Loss::kAll, 0);
    db = open();
    ASSERT_NE(db, nullptr);
    EXPECT_EQ(HistoryOf(*db, user).size(), sync_writes ? 20 : 0);
  }
}

TEST_F(PowerLossTest, TheFirstEventOfANewDirectoryIsThere) {
  for (const Loss loss : {Loss::kAll, Loss::kTorn}) {
    auto db = OpenOrDie(Options());
    ASSERT_NE(db, nullptr);
    const std::string user = absl::StrCat("u", static_cast<int>(loss));
    ASSERT_OK(db->RecordEvents({{Event(user, "item", 1)}}, kNow).status());
    disk_->CutPowerAfter(0);
    db = nullptr;
    disk_->Reboot(loss, 3);
    db = OpenOrDie(Options());
    ASSERT_NE(db, nullptr);
    EXPECT_EQ(HistoryOf(*db, user).size(), 1);
  }
}

}  // namespace
}  // namespace swiftlet

// DeleteUser: in effect for the next call, for every snapshot, after every crash, and in the next training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/snapshot/model_snapshot.h"
#include "storage/training_reader.h"
#include "storage/user_vector_file.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kUsers = 20;  // of the random snapshots: "user-0" ..

// A snapshot with long-term vectors; trained_through_ms of 0: long ago.
void Publish(const std::string& model_dir, int64_t version, int64_t trained_through_ms = 0) {
  RandomSnapshotOptions options = {
      .version = version, .num_users = kUsers, .write_user_vectors = RandomUserVectors(kUsers, 1)};
  if (trained_through_ms != 0) options.trained_through_ms = trained_through_ms;
  const absl::Status status = PublishRandomSnapshot(ModelDirectory(model_dir), options);
  ASSERT_TRUE(status.ok()) << status.ToString();
}

void Record(ServerProcess& server, const std::string& user, const std::vector<std::string>& items,
            const std::string& event_id = "") {
  v1::RecordEventsRequest request;
  for (const std::string& item : items) *request.add_events() = MakeEvent(user, item, "like", 0, event_id);
  v1::RecordEventsResponse response;
  ASSERT_OK(server.RecordEvents(request, &response));
  ASSERT_EQ(response.num_recorded(), static_cast<int>(items.size()));
}

void Erase(ServerProcess& server, const std::string& user) {
  v1::DeleteUserRequest request;
  request.set_user_id(user);
  v1::DeleteUserResponse response;
  ASSERT_OK(server.DeleteUser(request, &response));
}

// Items of the stored history, newest first; empty for an unknown user.
std::vector<std::string> History(ServerProcess& server, const std::string& user) {
  v1::GetUserRequest request;
  request.set_user_id(user);
  v1::GetUserResponse response;
  const grpc::Status status = server.GetUser(request, &response);
  EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND) << status.error_message();
  EXPECT_EQ(status.ok(), response.events_size() > 0);
  std::vector<std::string> items;
  for (const v1::Event& event : response.events()) items.push_back(event.item_id());
  return items;
}

// Where the answer for the user comes from.
v1::Source SourceOf(ServerProcess& server, const std::string& user) {
  v1::RecommendResponse response;
  const grpc::Status status = server.Recommend(UserRequest(user, 3), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.items_size() == 0 ? v1::SOURCE_UNSPECIFIED : response.items(0).source();
}

// Nothing of the user is in any answer.
void ExpectErased(ServerProcess& server, const std::string& user) {
  EXPECT_THAT(History(server, user), ::testing::IsEmpty()) << user;
  v1::RecommendRequest request = UserRequest(user, 100);
  request.set_explain(true);
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(request, &response));
  EXPECT_EQ(response.num_history_events_used(), 0);
  EXPECT_EQ(response.items_size(), 100) << "none is left out as seen";
  for (const v1::ScoredItem& item : response.items()) {
    ASSERT_EQ(item.source(), v1::SOURCE_POPULAR) << user << " " << item.ShortDebugString();
    for (const v1::Contribution& term : item.explanation()) {
      ASSERT_TRUE(term.kind() == v1::Contribution::KIND_POPULARITY ||
                  term.kind() == v1::Contribution::KIND_ITEM_BIAS)
          << term.ShortDebugString();
    }
  }
  v1::ScoreItemsRequest score;
  score.set_user_id(user);
  score.add_item_ids("item-1");
  v1::ScoreItemsResponse scored;
  ASSERT_OK(server.ScoreItems(score, &scored));
  ASSERT_EQ(scored.items_size(), 1);
  EXPECT_EQ(scored.items(0).source(), v1::SOURCE_POPULAR) << user;
}

TEST(Erasure, TakesEffectOnTheNextCall) {
  TempDir dir;
  Publish(dir.path() + "/models", 1);
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  ASSERT_NO_FATAL_FAILURE(Record(server, "user-0", {"item-1", "item-2"}));
  EXPECT_EQ(SourceOf(server, "user-0"), v1::SOURCE_HISTORY);    // in the cache now
  EXPECT_EQ(SourceOf(server, "user-1"), v1::SOURCE_LONG_TERM);  // by the snapshot alone
  for (const char* user : {"user-0", "user-1", "nobody"}) {
    for (int twice = 0; twice < 2; ++twice) {
      ASSERT_NO_FATAL_FAILURE(Erase(server, user));
      ASSERT_NO_FATAL_FAILURE(ExpectErased(server, user));
    }
  }
  EXPECT_EQ(SourceOf(server, "user-2"), v1::SOURCE_LONG_TERM) << "others keep what they have";

  // What arrives later starts afresh: the later events alone, without the long-term vector.
  ASSERT_NO_FATAL_FAILURE(Record(server, "user-0", {"item-7"}));
  EXPECT_THAT(History(server, "user-0"), ::testing::ElementsAre("item-7"));
  v1::RecommendRequest request = UserRequest("user-0", 1);
  request.set_explain(true);
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(request, &response));
  EXPECT_EQ(response.num_history_events_used(), 1);
  ASSERT_EQ(response.items_size(), 1);
  for (const v1::Contribution& term : response.items(0).explanation()) {
    EXPECT_NE(term.kind(), v1::Contribution::KIND_LONG_TERM);
    if (term.kind() == v1::Contribution::KIND_EVENT) {
      EXPECT_EQ(term.item_id(), "item-7");
    }
  }
  EXPECT_EQ(server.Terminate(), 0);
}

// An id that an erased event had stays used for the idempotency window: a client that asks again for lack of
// an answer does not bring the event back.
TEST(Erasure, ALateRetryDoesNotBringAnEventBack) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  const v1::RecordEventsRequest batch = Batch({MakeEvent("u", "item-1", "like", 1000, "e1")});
  v1::RecordEventsResponse response;
  ASSERT_OK(server.RecordEvents(batch, &response));
  ASSERT_NO_FATAL_FAILURE(Erase(server, "u"));
  ASSERT_OK(server.RecordEvents(batch, &response));
  EXPECT_EQ(response.num_duplicates(), 1);
  EXPECT_EQ(response.num_recorded(), 0);
  EXPECT_THAT(History(server, "u"), ::testing::IsEmpty());
  ASSERT_NO_FATAL_FAILURE(Record(server, "u", {"item-1"}, "e2"));
  EXPECT_THAT(History(server, "u"), ::testing::ElementsAre("item-1"));
}

TEST(Erasure, HoldsForEverySnapshotAndAfterRestarts) {
  TempDir dir;
  const std::string models = dir.path() + "/models";
  Publish(models, 1);
  Publish(models, 2);
  const auto start = [&](int64_t version) {
    auto server = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir.path()});
    EXPECT_TRUE(server->running() && server->WaitForVersion(version)) << server->Log();
    return server;
  };
  std::unique_ptr<ServerProcess> server = start(2);
  ASSERT_NO_FATAL_FAILURE(Record(*server, "user-0", {"item-1"}));
  for (const char* user : {"user-0", "user-1"}) {
    ASSERT_NE(SourceOf(*server, user), v1::SOURCE_POPULAR);
    ASSERT_NO_FATAL_FAILURE(Erase(*server, user));
  }
  const auto expect_erased = [&] {
    for (const char* user : {"user-0", "user-1"}) ASSERT_NO_FATAL_FAILURE(ExpectErased(*server, user));
    EXPECT_EQ(SourceOf(*server, "user-2"), v1::SOURCE_LONG_TERM);
  };
  // An older snapshot, loaded for the first time after the erasure, and pinned.
  v1::LoadSnapshotResponse loaded;
  ASSERT_OK(server->LoadSnapshot(1, &loaded));
  ASSERT_TRUE(server->WaitForVersion(1));
  ASSERT_NO_FATAL_FAILURE(expect_erased());
  EXPECT_EQ(server->Kill(), 128 + SIGKILL);
  server = start(1);
  ASSERT_NO_FATAL_FAILURE(expect_erased());
  ASSERT_OK(server->LoadSnapshot(0, &loaded));
  ASSERT_TRUE(server->WaitForVersion(2));
  ASSERT_NO_FATAL_FAILURE(expect_erased());
  EXPECT_EQ(server->Terminate(), 0);
  server = start(2);
  ASSERT_NO_FATAL_FAILURE(expect_erased());
  // A new one of old events is masked, too; one that was trained after the erasure counts.
  Publish(models, 3);
  ASSERT_TRUE(server->WaitForVersion(3));
  ASSERT_NO_FATAL_FAILURE(expect_erased());
  Publish(models, 4, absl::ToUnixMillis(absl::Now() + absl::Hours(1)));
  ASSERT_TRUE(server->WaitForVersion(4));
  EXPECT_EQ(SourceOf(*server, "user-1"), v1::SOURCE_LONG_TERM);
}

TEST(Erasure, HoldsForSnapshotsWhoseTrainersClockIsAhead) {
  TempDir dir;
  const std::string models = dir.path() + "/models";
  const int64_t ahead_ms = absl::ToUnixMillis(absl::Now() + absl::Hours(1));
  Publish(models, 1, ahead_ms + 5);
  Publish(models, 2, ahead_ms);
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running() && server.WaitForVersion(2)) << server.Log();
  ASSERT_EQ(SourceOf(server, "user-0"), v1::SOURCE_LONG_TERM);
  ASSERT_NO_FATAL_FAILURE(Erase(server, "user-0"));
  ASSERT_NO_FATAL_FAILURE(ExpectErased(server, "user-0"));
  v1::LoadSnapshotResponse loaded;
  ASSERT_OK(server.LoadSnapshot(1, &loaded));  // for the first time
  ASSERT_NO_FATAL_FAILURE(ExpectErased(server, "user-0"));
  EXPECT_EQ(SourceOf(server, "user-1"), v1::SOURCE_LONG_TERM);
  // Events that arrive later count by the server's clock.
  ASSERT_NO_FATAL_FAILURE(Record(server, "user-0", {"item-1"}));
  EXPECT_EQ(SourceOf(server, "user-0"), v1::SOURCE_HISTORY);
}

TEST(Erasure, SurvivesAKillRightAfterTheAcknowledgement) {
  TempDir dir;
  Publish(dir.path() + "/models", 1);
  for (int round = 0; round < 4; ++round) {
    const std::string user = absl::StrCat("user-", round);
    {
      ServerProcess server({.dir = dir.path()});
      ASSERT_TRUE(server.running());
      ASSERT_NO_FATAL_FAILURE(Record(server, user, {"item-1", "item-2"}));
      ASSERT_NO_FATAL_FAILURE(Erase(server, user));
      EXPECT_EQ(server.Kill(), 128 + SIGKILL);
    }
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    for (int i = 0; i <= round; ++i) ASSERT_NO_FATAL_FAILURE(ExpectErased(server, absl::StrCat("user-", i)));
    EXPECT_EQ(SourceOf(server, "user-9"), v1::SOURCE_LONG_TERM);
    server.Kill();
  }
}

// Readers of one user run without a pause while it gets events and is erased, over and over: an answer whose
// call began after the acknowledgement of one and ended before the other began is of that state exactly.
class ErasureUnderLoad : public ::testing::TestWithParam<const char*> {};

TEST_P(ErasureUnderLoad, NoAnswerAfterTheAcknowledgementKnowsTheUser) {
  constexpr int kRounds = 40, kReaders = 4;
  TempDir dir;
  Publish(dir.path() + "/models", 1);
  ServerProcess server({.dir = dir.path(), .config = GetParam()});
  ASSERT_TRUE(server.running());
  // phase % 4: 0 erased, 1 recording, 2 recorded, 3 erasing; only 0 and 2 are sure.
  std::atomic<int> phase{3}, reads_in_phase{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> num_sure{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < kReaders; ++r) {
    readers.emplace_back([&, r, channel = server.NewChannel()] {
      const auto recommendation = v1::RecommendationService::NewStub(channel);
      const auto user_stub = v1::UserService::NewStub(channel);
      for (int i = r; !stop && !::testing::Test::HasFailure(); ++i) {
        const int before = phase;
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
        int num_events = 0;
        bool long_term = false;
        if (i % 2 == 0) {
          v1::RecommendRequest request = UserRequest("user-0", 3);
          request.set_explain(true);
          v1::RecommendResponse response;
          const grpc::Status status = recommendation->Recommend(&context, request, &response);
          ASSERT_TRUE(status.ok()) << status.error_message();
          num_events = response.num_history_events_used();
          for (const v1::ScoredItem& item : response.items()) {
            for (const v1::Contribution& term : item.explanation()) {
              long_term = long_term || term.kind() == v1::Contribution::KIND_LONG_TERM;
            }
          }
        } else {
          v1::GetUserRequest request;
          request.set_user_id("user-0");
          v1::GetUserResponse response;
          const grpc::Status status = user_stub->GetUser(&context, request, &response);
          ASSERT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND);
          num_events = response.events_size();
          long_term = response.has_long_term_vector();
        }
        if (phase != before) continue;
        ++reads_in_phase;
        if (before % 4 == 0 || before % 4 == 2) {
          ++num_sure;
          EXPECT_EQ(num_events, before % 4 == 0 ? 0 : 3) << (i % 2 == 0 ? "Recommend" : "GetUser");
          EXPECT_FALSE(long_term);
        }
      }
    });
  }
  ASSERT_NO_FATAL_FAILURE(Erase(server, "user-0"));
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    for (int step = 0; step < 2; ++step) {
      phase = 4 * round + 2 * step;  // acknowledged
      reads_in_phase = 0;
      while (reads_in_phase < 2 * kReaders && !HasFailure()) std::this_thread::yield();
      ++phase;
      if (step == 0) {
        Record(server, "user-0", {"item-1", "item-2", "item-3"});
      } else {
        Erase(server, "user-0");
      }
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(num_sure, 2u * 2 * kReaders * kRounds);
  EXPECT_EQ(server.Terminate(), 0);
}

INSTANTIATE_TEST_SUITE_P(Caches, ErasureUnderLoad, ::testing::Values("", "storage { user_cache_bytes: 1 }"));

// Writers and erasures of one user at once: what is there in the end is what the store took after the last
// erasure, which holds every event whose call began after the acknowledgement and none whose call ended
// before the erasure began; the history and the event log agree.
TEST(Erasure, AmongConcurrentWritesOfTheSameUser) {
  constexpr int kWriters = 4, kErasures = 25;
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { max_history_events: 10000 }"});
  ASSERT_TRUE(server.running());
  std::atomic<int> erasures_begun{0}, erasures_done{0}, recorded{0};
  std::atomic<bool> stop{false};
  struct Written {
    std::string item;
    int done_before = 0;   // erasures that were acknowledged when its call began
    int begun_at_end = 0;  // erasures that had begun when it was acknowledged
  };
  std::vector<std::vector<Written>> written(kWriters);
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w, channel = server.NewChannel()] {
      const auto stub = v1::EventService::NewStub(channel);
      for (int i = 0; !stop; ++i) {
        Written one{.item = absl::StrCat("item-", w, "-", i), .done_before = erasures_done};
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
        v1::RecordEventsResponse response;
        const grpc::Status status =
            stub->RecordEvents(&context, Batch({MakeEvent("u", one.item, "click")}), &response);
        ASSERT_TRUE(status.ok()) << status.error_message();
        one.begun_at_end = erasures_begun;
        written[w].push_back(one);
        ++recorded;
      }
    });
  }
  const auto wait_for_more = [&](int events) {
    for (const int from = recorded; recorded < from + events && !HasFailure();) std::this_thread::yield();
  };
  for (int e = 0; e < kErasures && !HasFailure(); ++e) {
    wait_for_more(10);
    ++erasures_begun;
    Erase(server, "u");
    ++erasures_done;
  }
  wait_for_more(10);
  stop = true;
  for (std::thread& writer : writers) writer.join();
  ASSERT_FALSE(HasFailure());

  std::set<std::string> history, logged;
  for (const std::string& item : History(server, "u")) {
    EXPECT_TRUE(history.insert(item).second) << item << " is there twice";
  }
  int must = 0, must_not = 0;
  for (const std::vector<Written>& by_one : written) {
    for (const Written& one : by_one) {
      if (one.done_before == kErasures) {
        ++must;
        EXPECT_THAT(history, Contains(one.item)) << "recorded after the last erasure";
      } else if (one.begun_at_end < kErasures) {
        ++must_not;
        EXPECT_THAT(history, Not(Contains(one.item))) << "recorded before the last erasure";
      }
    }
  }
  EXPECT_GT(must, 0);
  EXPECT_GT(must_not, 0);
  auto log = TrainingReader::Open(server.data_dir(), dir.File("scratch"));
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  ASSERT_TRUE((*log)
                  ->ForEachEvent([&](int64_t, const EventRecord& event) {
                    EXPECT_TRUE(logged.insert(event.item_id).second);
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(logged, history) << "what is trained on is what is served";
}

// --- training ---

// Runs swiftlet-trainer; what it says. Fails the test when the trainer fails.
std::string RunTrainer(const TempDir& dir, const std::string& arguments) {
  const std::string log = dir.File("trainer.log");
  const int code =
      std::system(absl::StrCat(SWIFTLET_TRAINER_BINARY, " ", arguments, " >", log, " 2>&1").c_str());
  std::stringstream said;
  said << std::ifstream(log).rdbuf();
  EXPECT_EQ(code, 0) << arguments << "\n" << said.str();
  return said.str();
}

struct Trained {
  std::set<std::string> users;  // with a long-term vector
  std::shared_ptr<const ModelSnapshot> snapshot;
  bool Knows(const std::string& item) const { return snapshot->FindRow(ItemKeyOf(item)).has_value(); }
};

Trained LoadTrained(const std::string& directory) {
  Trained trained;
  auto snapshot = ModelSnapshot::Load(directory, {});
  EXPECT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  if (!snapshot.ok()) return trained;
  trained.snapshot = *snapshot;
  const absl::Status read = ReadUserVectorFile(directory + "/user_vectors.sst", trained.snapshot->dim(),
                                               [&](std::string_view user, std::span<const float>) {
                                                 trained.users.insert(std::string(user));
                                                 return absl::OkStatus();
                                               });
  EXPECT_TRUE(read.ok()) << read.ToString();
  return trained;
}

// user -> the trainer's list, by `swiftlet-trainer recommend` on the server's own data.
std::map<std::string, std::vector<std::string>> TrainersLists(const TempDir& dir,
                                                              const std::string& snapshot) {
  const std::string path = dir.File("lists.tsv");
  RunTrainer(dir, absl::StrCat("recommend --snapshot ", snapshot, " --data-dir ", dir.File("data"),
                               " --k 10 --output ", path));
  std::map<std::string, std::vector<std::string>> lists;
  std::ifstream file(path);
  std::string line, user, item;
  std::getline(file, line);
  while (std::getline(file, line)) {
    int rank = 0;
    EXPECT_TRUE(std::istringstream(line) >> user >> rank >> item) << line;
    lists[user].push_back(item);
  }
  return lists;
}

TEST(Erasure, KeepsTheUserOutOfTheNextTraining) {
  constexpr int kOthers = 60;
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  // Two tastes; and three users with an item that nobody else has.
  for (int u = 0; u < kOthers; ++u) {
    std::vector<std::string> items;
    for (int i = 0; i < 8; ++i) items.push_back(absl::StrCat("taste-", u % 2, "-", (u * 7 + i * 3) % 20));
    ASSERT_NO_FATAL_FAILURE(Record(server, absl::StrCat("other-", u), items));
  }
  for (const char* user : {"stays", "leaves", "returns"}) {
    ASSERT_NO_FATAL_FAILURE(Record(
        server, user, {absl::StrCat("only-", user), "taste-0-1", "taste-0-2", "taste-0-3", "taste-0-4"}));
  }
  const std::string train = absl::StrCat("train --models ", server.model_dir(), " --data-dir ",
                                         server.data_dir(), " --no-holdout --dim 16 --epochs 2 --seed 3");
  RunTrainer(dir, train);
  ASSERT_TRUE(server.WaitForVersion(1)) << server.Log();
  const Trained first = LoadTrained(server.model_dir() + "/1");
  for (const char* user : {"stays", "leaves", "returns"}) {
    ASSERT_THAT(first.users, Contains(user));
    ASSERT_TRUE(first.Knows(absl::StrCat("only-", user)));
  }
  EXPECT_EQ(first.users.size(), kOthers + 3u);

  ASSERT_NO_FATAL_FAILURE(Erase(server, "leaves"));
  ASSERT_NO_FATAL_FAILURE(Erase(server, "returns"));
  ASSERT_NO_FATAL_FAILURE(Record(server, "returns", {"later-returns", "taste-1-5", "taste-1-6"}));

  // The trainer's lists are the server's: by a snapshot from before the erasure, which has vectors of both,
  // and by one from after it.
  const auto expect_same_lists = [&](int64_t version) {
    const auto lists = TrainersLists(dir, absl::StrCat(server.model_dir(), "/", version));
    EXPECT_EQ(lists.size(), kOthers + 2u);
    EXPECT_FALSE(lists.contains("leaves"));
    for (const auto& [user, list] : lists) {
      v1::RecommendRequest request = UserRequest(user, 10);
      request.set_explain(user == "returns");
      v1::RecommendResponse response;
      ASSERT_OK(server.Recommend(request, &response));
      ASSERT_EQ(response.snapshot_version(), version);
      std::vector<std::string> answer;
      bool long_term = false;
      for (const v1::ScoredItem& item : response.items()) {
        answer.push_back(item.item_id());
        for (const v1::Contribution& term : item.explanation()) {
          long_term = long_term || term.kind() == v1::Contribution::KIND_LONG_TERM;
        }
      }
      EXPECT_EQ(answer, list) << user;
      if (user == "returns") {
        EXPECT_EQ(long_term, version > 1);
      }
    }
  };
  ASSERT_NO_FATAL_FAILURE(expect_same_lists(1));

  EXPECT_THAT(RunTrainer(dir, train), HasSubstr("without 10 events of erased users"));
  ASSERT_TRUE(server.WaitForVersion(2)) << server.Log();
  const Trained second = LoadTrained(server.model_dir() + "/2");
  EXPECT_EQ(second.users.size(), kOthers + 2u);
  EXPECT_THAT(second.users, Contains("stays"));
  EXPECT_THAT(second.users, Not(Contains("leaves")));
  EXPECT_THAT(second.users, Contains("returns"));
  EXPECT_TRUE(second.Knows("only-stays"));
  EXPECT_TRUE(second.Knows("later-returns"));
  EXPECT_FALSE(second.Knows("only-leaves")) << "its events do not count";
  EXPECT_FALSE(second.Knows("only-returns"));
  EXPECT_THAT(RunTrainer(dir, absl::StrCat("inspect ", server.model_dir(), "/2")),
              HasSubstr(absl::StrCat(kOthers + 2)));
  ASSERT_NO_FATAL_FAILURE(expect_same_lists(2));

  // An erasure while a training runs: its snapshot is masked when it comes.
  RunTrainer(dir, absl::StrCat("train --output ", dir.File("late"), " --data-dir ", server.data_dir(),
                               " --no-holdout --dim 16 --epochs 1"));
  ASSERT_NO_FATAL_FAILURE(Erase(server, "stays"));
  const Trained late = LoadTrained(dir.File("late"));
  EXPECT_THAT(late.users, Contains("stays"));
  EXPECT_FALSE(TrainersLists(dir, dir.File("late")).contains("stays"));
  EXPECT_EQ(SourceOf(server, "stays"), v1::SOURCE_POPULAR);
  EXPECT_EQ(server.Terminate(), 0);
}

}  // namespace
}  // namespace swiftlet::testing

// No training/serving skew: on the same snapshot and events, swiftlet-trainer and swiftlet-server give every
// user the same items in the same order, with the same scores.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "engine/rating_predictor.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/text_table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/server_process.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using testing::ServerProcess;

constexpr int kK = 10;
constexpr size_t kServerHistory = 200;  // the server's default limits.max_history_events

struct Event {
  std::string user, item, type;
  float value = 0;
  int64_t timestamp_ms = 0;
};

struct Ranked {
  std::string item;
  double score = 0;
};

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Runs swiftlet-trainer to its end; what it says goes into the failure's message.
void RunTrainer(const std::vector<std::string>& arguments, const std::string& log_path) {
  std::vector<char*> argv = {const_cast<char*>(SWIFTLET_TRAINER_BINARY)};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(log, 0) << log_path;
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(log);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << ReadAll(log_path);
}

void WriteEvents(const std::string& path, const std::vector<Event>& events) {
  std::ofstream file(path);
  file << "user\titem\ttype\tvalue\ttimestamp\n";
  file.precision(9);
  for (const Event& e : events) {
    file << e.user << '\t' << e.item << '\t' << e.type << '\t' << e.value << '\t' << e.timestamp_ms << '\n';
  }
  ASSERT_TRUE(file.flush().good()) << path;
}

// The trainer's list of every user.
std::map<std::string, std::vector<Ranked>> ReadRecommendations(const std::string& path) {
  std::map<std::string, std::vector<Ranked>> lists;
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "user\trank\titem\tscore");
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string user, item;
    size_t rank = 0;
    double score = 0;
    EXPECT_TRUE(fields >> user >> rank >> item >> score) << line;
    lists[user].push_back({item, score});
    EXPECT_EQ(rank, lists[user].size()) << line;
  }
  return lists;
}

void SendEvents(ServerProcess* server, const std::vector<Event>& events) {
  constexpr size_t kBatch = 500;
  for (size_t begin = 0; begin < events.size(); begin += kBatch) {
    v1::RecordEventsRequest request;
    for (size_t i = begin; i < std::min(events.size(), begin + kBatch); ++i) {
      v1::Event* event = request.add_events();
      event->set_user_id(events[i].user);
      event->set_item_id(events[i].item);
      event->set_type(events[i].type);
      event->set_value(events[i].value);
      event->set_timestamp_ms(events[i].timestamp_ms);
    }
    v1::RecordEventsResponse response;
    ASSERT_OK(server->RecordEvents(request, &response));
    ASSERT_EQ(response.num_recorded(), request.events_size());
  }
}

// Every user of `events`: the server's answer is the trainer's list.
void ExpectSameAnswers(ServerProcess* server, const std::vector<Event>& events,
                       const std::map<std::string, std::vector<Ranked>>& expected) {
  std::set<std::string> users;
  for (const Event& e : events) users.insert(e.user);
  ASSERT_EQ(expected.size(), users.size());
  size_t different_users = 0;
  for (const std::string& user : users) {
    v1::RecommendRequest request = testing::UserRequest(user, kK);
    request.set_exclude_seen(true);
    v1::RecommendResponse response;
    ASSERT_OK(server->Recommend(request, &response));
    const std::vector<Ranked>& list = expected.at(user);
    ASSERT_GT(response.num_history_events_used(), 0) << user;
    std::string difference;
    if (static_cast<size_t>(response.items_size()) != list.size()) {
      difference = "server " + std::to_string(response.items_size()) + " items, trainer " +
                   std::to_string(list.size());
    }
    for (size_t i = 0; difference.empty() && i < list.size(); ++i) {
      const v1::ScoredItem& item = response.items(static_cast<int>(i));
      if (item.item_id() != list[i].item ||
          !(std::fabs(item.score() - list[i].score) <= 1e-5 * std::fabs(list[i].score))) {
        std::ostringstream text;
        text.precision(9);
        text << "rank " << i + 1 << ": server " << item.item_id() << " " << item.score() << ", trainer "
             << list[i].item << " " << list[i].score;
        difference = text.str();
      }
    }
    if (difference.empty()) continue;
    if (++different_users <= 5) ADD_FAILURE() << "user " << user << ": " << difference;
  }
  EXPECT_EQ(different_users, 0u) << "of " << users.size() << " users";
}

// Every user of `events`: what the server predicts is what the engine makes of the newest events, in order of
// time, then arrival.
void ExpectSameRatings(ServerProcess* server, const std::vector<Event>& events,
                       const std::string& snapshot_path) {
  const auto loaded = ModelSnapshot::Load(snapshot_path, {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const ModelSnapshot& snapshot = **loaded;
  ASSERT_NE(snapshot.rating_model(), nullptr);
  std::map<std::string, std::vector<HistoryEvent>> histories;
  const EventTypeTable types = EventTypeTable::Default();
  for (const Event& e : events) {
    histories[e.user].push_back({.item_key = ItemKeyOf(e.item),
                                 .timestamp_ms = e.timestamp_ms,
                                 .value = e.value,
                                 .type = types.FindByName(e.type)->id});
  }
  std::vector<ItemKey> keys;
  v1::PredictRequest request;
  for (uint32_t row = 0; row < snapshot.num_items(); row += 1 + snapshot.num_items() / 20) {
    keys.push_back(snapshot.Key(row));
    request.add_item_ids(std::string(snapshot.ItemId(row)));
  }
  RatingScratch scratch;
  RatingPrediction expected;
  std::set<float> distinct;
  for (auto& [user, history] : histories) {
    std::stable_sort(history.begin(), history.end(), [](const HistoryEvent& a, const HistoryEvent& b) {
      return a.timestamp_ms < b.timestamp_ms;
    });
    std::span<const HistoryEvent> newest = history;
    if (newest.size() > kServerHistory) newest = newest.last(kServerHistory);
    ASSERT_TRUE(PredictRatings(snapshot, {.history = newest}, keys, scratch, &expected).ok());
    request.set_user_id(user);
    v1::PredictResponse response;
    ASSERT_OK(server->Predict(request, &response));
    ASSERT_EQ(response.num_ratings_used(), static_cast<int>(expected.num_ratings_used)) << user;
    for (size_t i = 0; i < keys.size(); ++i) {
      ASSERT_EQ(response.ratings(static_cast<int>(i)).rating(), expected.ratings[i].rating) << user;
      distinct.insert(expected.ratings[i].rating);
    }
  }
  EXPECT_GT(distinct.size(), histories.size());
}

// Trains on `events`, serves the model, and compares. rows: as train takes it.
void CompareTrainerAndServer(const std::vector<Event>& events, const std::string& epochs,
                             const std::string& rows = "float32", const std::string& kind = "attention") {
  testing::TempDir dir;
  const std::string path = dir.File("events.tsv"), log = dir.File("trainer.log");
  ASSERT_NO_FATAL_FAILURE(WriteEvents(path, events));
  ASSERT_NO_FATAL_FAILURE(
      RunTrainer({"train", "--events", path, "--models", dir.File("models"), "--no-holdout", "--model", kind,
                  "--dim", "32", "--epochs", epochs, "--rows", rows},
                 log));
  const std::string snapshot = dir.File("models/1");
  if (kind == "attention") {
    ASSERT_TRUE(std::filesystem::exists(snapshot + "/user_vectors.sst"));
  }

  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  ASSERT_TRUE(server.WaitForVersion(1)) << server.Log();
  ASSERT_NO_FATAL_FAILURE(SendEvents(&server, events));
  const auto recommend = [&](const std::vector<std::string>& input, const std::string& name) {
    std::vector<std::string> arguments = {"recommend", "--snapshot", snapshot,      "--k",
                                          "10",        "--output",   dir.File(name)};
    arguments.insert(arguments.end(), input.begin(), input.end());
    RunTrainer(arguments, log);
    return ReadRecommendations(dir.File(name));
  };
  const auto from_file = recommend({"--events", path}, "from_file.tsv");
  ASSERT_FALSE(::testing::Test::HasFatalFailure());
  ASSERT_NO_FATAL_FAILURE(ExpectSameAnswers(&server, events, from_file));

  ASSERT_NO_FATAL_FAILURE(ExpectSameRatings(&server, events, snapshot));

  // The server's own log has them in the same order.
  recommend({"--data-dir", server.data_dir()}, "from_log.tsv");
  EXPECT_EQ(ReadAll(dir.File("from_log.tsv")), ReadAll(dir.File("from_file.tsv")));

  // The bound of histories matters, or the comparison says nothing about it.
  std::map<std::string, size_t> counts;
  for (const Event& e : events) ++counts[e.user];
  const bool any_long =
      std::any_of(counts.begin(), counts.end(), [](const auto& c) { return c.second > kServerHistory; });
  ASSERT_TRUE(any_long);
  recommend({"--events", path, "--max-history", "0"}, "unbounded.tsv");
  EXPECT_NE(ReadAll(dir.File("unbounded.tsv")), ReadAll(dir.File("from_file.tsv")));
  EXPECT_EQ(server.Terminate(), 0);
}

// Users of ten tastes over 500 items. Many events share their time, some arrive out of order, items
// repeat, and every twentieth user has more events than a server keeps.
std::vector<Event> SyntheticEvents(int num_users = 300) {
  constexpr int kItems = 500, kTastes = 10;
  std::mt19937 random(20);
  std::vector<Event> events;
  for (int u = 0; u < num_users; ++u) {
    const int count = u % 20 == 0 ? 260 : 5 + static_cast<int>(random() % 40);
    for (int e = 0; e < count; ++e) {
      Event event;
      event.user = "user-" + std::to_string(u);
      const uint32_t pick = std::min(random() % 50, random() % 50);  // some are more popular
      const uint32_t item = random() % 4 != 0 ? (u % kTastes) * 50 + pick : random() % kItems;
      event.item = "item-" + std::to_string(item);
      const uint32_t kind = random() % 10;
      event.type = kind < 4 ? "rating" : kind < 7 ? "view" : kind < 9 ? "purchase" : "dislike";
      event.value = event.type == "rating" ? 0.5f * static_cast<float>(1 + random() % 10) : 0.0f;
      event.timestamp_ms = 1'700'000'000'000 + static_cast<int64_t>(random() % 60) * 3'600'000;
      events.push_back(event);
    }
  }
  // Arrival mixes the users and is not in order of time.
  std::shuffle(events.begin(), events.end(), random);
  return events;
}

TEST(SkewTest, ServerAndTrainerAgreeOnEveryUserOfASyntheticSet) {
  CompareTrainerAndServer(SyntheticEvents(), "3");
}

TEST(SkewTest, ServerAndTrainerAgreeOnEveryUserWithRowsOfBf16) {
  CompareTrainerAndServer(SyntheticEvents(), "3", "bf16");
}

// Every kind of model that the trainer knows.
class SkewOfKindTest : public ::testing::TestWithParam<std::string_view> {};

TEST_P(SkewOfKindTest, ServerAndTrainerAgreeOnAThousandUsers) {
#ifndef SWIFTLET_HAS_TORCH
  if (GetParam() == "transformer") GTEST_SKIP() << "built without libtorch, which trains this kind";
#endif
  CompareTrainerAndServer(SyntheticEvents(1000), "2", "float32", std::string(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Kinds, SkewOfKindTest, ::testing::ValuesIn(ModelKinds().begin(), ModelKinds().end()),
                         [](const auto& info) {
                           std::string name(info.param);
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
                           return name;
                         });

TEST(SkewTest, ServerAndTrainerAgreeOnEveryUserOfMovieLens100k) {
  const char* root = std::getenv("SWIFTLET_DATA");
  const std::string path = std::string(root == nullptr ? "" : root) + "/ml-100k/events.tsv.gz";
  if (root == nullptr || !std::filesystem::exists(path)) {
    GTEST_SKIP() << "SWIFTLET_DATA names no directory with ml-100k/events.tsv.gz";
  }
  auto table = TextTable::Open(path, 0);
  ASSERT_TRUE(table.ok()) << table.status();
  std::vector<size_t> at;
  for (const char* name : {"user", "item", "rating", "timestamp"}) {
    const std::optional<size_t> column = (*table)->FindColumn(name);
    ASSERT_TRUE(column.has_value()) << name;
    at.push_back(*column);
  }
  std::vector<Event> events;
  std::vector<std::string> fields;
  for (;;) {
    const auto row = (*table)->Next(&fields);
    ASSERT_TRUE(row.ok()) << row.status();
    if (*row == TextTable::Row::kEnd) break;
    ASSERT_EQ(*row, TextTable::Row::kFields) << (*table)->bad_reason();
    events.push_back(
        {fields[at[0]], fields[at[1]], "rating", std::stof(fields[at[2]]), std::stoll(fields[at[3]]) * 1000});
  }
  ASSERT_EQ(events.size(), 100'000u);
  CompareTrainerAndServer(events, "2");
}

}  // namespace
}  // namespace swiftlet

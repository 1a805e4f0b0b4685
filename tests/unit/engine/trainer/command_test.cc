// Runs the binary swiftlet-trainer as a user does.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "storage/database.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using trainer_testing::CyclicData;
using trainer_testing::ReadFile;
using trainer_testing::WriteFile;

// The trainer as a child process, its standard output and error in one pipe.
class Trainer {
 public:
  explicit Trainer(std::vector<std::string> arguments, const std::string& temporary = "") {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    arguments.insert(arguments.begin(), SWIFTLET_TRAINER);
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      if (!temporary.empty()) setenv("TMPDIR", temporary.c_str(), 1);
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    read_end_ = ends[0];
  }
  ~Trainer() {
    close(read_end_);
    if (!waited_) {
      kill(pid_, SIGKILL);
      Wait();
    }
  }
  // Reads until the output holds `text`, or ends. Returns whether it did.
  bool ReadUntil(const std::string& text) {
    while (output_.find(text) == std::string::npos) {
      char buffer[4096];
      const ssize_t n = read(read_end_, buffer, sizeof(buffer));
      if (n <= 0) return false;
      output_.append(buffer, static_cast<size_t>(n));
    }
    return true;
  }
  void Signal(int signal) const { kill(pid_, signal); }
  // Exit code, or 1000 + the signal that ended it.
  int Finish() {
    ReadUntil(std::string(1, '\0'));
    return Wait();
  }
  const std::string& output() const { return output_; }

 private:
  int Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    waited_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  pid_t pid_ = -1;
  int read_end_ = -1;
  bool waited_ = false;
  std::string output_;
};

class CommandTest : public ::testing::Test {
 protected:
  std::string WriteEvents(uint32_t num_users, uint32_t events_of_user) {
    const Dataset data = CyclicData(num_users, 4, 40, events_of_user, 3);
    std::string text = "user,item,rating,timestamp\n";
    for (const TrainingEvent& e : data.events) {
      absl::StrAppend(&text, data.user_ids[e.user], ",", data.item_ids[e.item], ",", e.value, ",",
                      e.timestamp_ms, "\n");
    }
    WriteFile(dir_.File("events.csv"), text);
    return dir_.File("events.csv");
  }
  // Runs to the end; returns the exit code and leaves the output in output_.
  int Run(const std::vector<std::string>& arguments) {
    Trainer trainer(arguments);
    const int code = trainer.Finish();
    output_ = trainer.output();
    return code;
  }
  std::vector<std::string> Train(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"train",
                                          "--events",
                                          dir_.File("events.csv"),
                                          "--time-unit",
                                          "ms",
                                          "--dim",
                                          "8",
                                          "--als-epochs",
                                          "3",
                                          "--max-epochs",
                                          "3",
                                          "--num-negatives",
                                          "50"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  testing::TempDir dir_;
  std::string output_;
};

TEST_F(CommandTest, HelpOfEveryCommandHasAnExample) {
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_THAT(output_, AllOf(HasSubstr("train"), HasSubstr("evaluate"), HasSubstr("evaluate-ratings"),
                             HasSubstr("import"), HasSubstr("inspect"), HasSubstr("recommend")));
  for (const char* command :
       {"train", "evaluate", "evaluate-ratings", "compare", "tune", "import", "inspect", "recommend"}) {
    EXPECT_EQ(Run({command, "--help"}), 0);
    EXPECT_THAT(output_, HasSubstr(absl::StrCat("swiftlet-trainer ", command, " "))) << command;
  }
}

TEST_F(CommandTest, WrongCommandLinesExitWithTwoAndBadInputWithOne) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_EQ(Run({"fly"}), 2);
  EXPECT_EQ(Run({"train", "--dim", "0"}), 2);
  EXPECT_THAT(output_, HasSubstr("--dim"));
  EXPECT_EQ(Run({"train", "--events", "e.csv"}), 1);
  EXPECT_THAT(output_, HasSubstr("give --models DIR to publish, or --output DIR"));
  EXPECT_EQ(Run({"train", "--models", dir_.File("m")}), 1);
  EXPECT_THAT(output_, HasSubstr("give --events FILE, --data-dir DIR or both"));
  EXPECT_EQ(Run({"train", "--models", dir_.File("m"), "--events", dir_.File("none.csv")}), 1);
  EXPECT_THAT(output_, HasSubstr("none.csv: No such file"));
  WriteFile(dir_.File("bad.csv"), "user,item,rating\nu,i,much\n");
  EXPECT_EQ(Run({"train", "--models", dir_.File("m"), "--events", dir_.File("bad.csv")}), 1);
  EXPECT_THAT(output_, HasSubstr("bad.csv:2: column \"rating\": \"much\" is not a finite number"));
  EXPECT_FALSE(std::filesystem::exists(dir_.File("m")));
}

TEST_F(CommandTest, TrainPublishesWhatInspectShows) {
  WriteEvents(60, 8);
  WriteFile(dir_.File("items.csv"), "item,title,genres\ni1,The First,Drama\n");
  const std::string models = dir_.File("models");
  ASSERT_EQ(Run(Train({"--models", models, "--items", dir_.File("items.csv")})), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("480 events, 60 users"), HasSubstr("training needs about"),
                             HasSubstr("iALS epoch 3/3  loss"), HasSubstr("holdout: NDCG@10"),
                             HasSubstr("published version 1")));
  ASSERT_EQ(Run(Train({"--models", models})), 0) << output_;
  EXPECT_EQ(ModelDirectory(models).ReadCurrent()->value(), 2);
  const auto snapshot = ModelSnapshot::Load(models + "/1", {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const Manifest& manifest = (*snapshot)->manifest();
  EXPECT_EQ(manifest.num_users, 60u);
  EXPECT_TRUE(manifest.embedding_space.starts_with("als-1-")) << manifest.embedding_space;
  const auto second = ModelSnapshot::Load(models + "/2", {});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE((*second)->manifest().embedding_space.substr(6), manifest.embedding_space.substr(6))
      << "two trainings on the same events are two spaces";
  EXPECT_EQ(manifest.num_training_events, 480u);
  EXPECT_EQ(manifest.training_fingerprint.size(), 32u);
  EXPECT_TRUE(manifest.metrics.contains("ndcg@10"));
  EXPECT_EQ((*snapshot)->Title(*(*snapshot)->FindRow(ItemKeyOf("i1"))), "The First");
  ASSERT_EQ(Run({"inspect", models, "--item", "i1"}), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("versions 1, 2; current 2"), HasSubstr("checks passed"),
                             HasSubstr("nearest to i1")));
}

TEST_F(CommandTest, InspectSaysWhoTheNeighboursAre) {
  WriteEvents(60, 8);
  ASSERT_EQ(Run(Train({"--model", "user-knn", "--no-ratings", "--output", dir_.File("s")})), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("user-knn: fitting takes about"));
  ASSERT_EQ(Run({"inspect", dir_.File("s"), "--item", "i1"}), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("neighbours         user-knn, scale 1, "),
                             HasSubstr(" nearest of 60 users"), HasSubstr("neighbours.user_items "),
                             HasSubstr("nearest to i1"), HasSubstr("checks passed")));
}

TEST_F(CommandTest, TrainFitsARatingModelWhereThereAreRatings) {
  WriteEvents(60, 8);
  const std::string models = dir_.File("models");
  ASSERT_EQ(Run(Train({"--models", models, "--rating-scale", "2:5", "--rating-dim", "3"})), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("rating model: "), HasSubstr("from 2 to 5"),
                             HasSubstr("off the scale left out"), HasSubstr("held out: RMSE")));
  const auto with = ModelSnapshot::Load(models + "/1", {});
  ASSERT_TRUE(with.ok()) << with.status();
  ASSERT_NE((*with)->rating_model(), nullptr);
  EXPECT_EQ((*with)->rating_model()->tables().dim, 3u);
  EXPECT_EQ((*with)->rating_model()->tables().min, 2.0f);
  EXPECT_TRUE((*with)->manifest().metrics.contains("rating.rmse"));
  EXPECT_TRUE((*with)->manifest().metrics.contains("ndcg@10"));
  ASSERT_EQ(Run(Train({"--models", models, "--no-ratings"})), 0) << output_;
  EXPECT_THAT(output_, Not(HasSubstr("rating model")));
  const auto without = ModelSnapshot::Load(models + "/2", {});
  EXPECT_EQ((*without)->rating_model(), nullptr);
  EXPECT_FALSE((*without)->manifest().metrics.contains("rating.rmse"));
  EXPECT_EQ(Run(Train({"--models", models, "--rating-scale", "5:1"})), 1);
  EXPECT_THAT(output_, HasSubstr("expected MIN:MAX"));
}

TEST_F(CommandTest, EvaluateRatingsPrintsAndWritesEveryModel) {
  WriteEvents(60, 12);
  // Somebody changes their mind: the last rating counts.
  const std::string events = ReadFile(dir_.File("events.csv"));
  const size_t first = events.find('\n') + 1;
  const std::string user_and_item =
      events.substr(first, events.find(',', events.find(',', first) + 1) - first);
  WriteFile(dir_.File("events.csv"), absl::StrCat(events, user_and_item, ",1,1900000000000\n"));
  const std::vector<std::string> arguments = {"evaluate-ratings",
                                              "--events",
                                              dir_.File("events.csv"),
                                              "--time-unit",
                                              "ms",
                                              "--folds",
                                              "2",
                                              "--models",
                                              "baseline,served",
                                              "--max-history",
                                              "3",
                                              "--json",
                                              dir_.File("r.json")};
  ASSERT_EQ(Run(arguments), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("RMSE"), HasSubstr("folded in by the engine"),
                             HasSubstr("from the newest 3 ratings"), HasSubstr("left out")));
  const auto json = nlohmann::json::parse(ReadFile(dir_.File("r.json")));
  EXPECT_EQ(json["models"].size(), 4u);
  EXPECT_EQ(json["repeated"].get<int>(), 1);
  EXPECT_EQ(Run({"evaluate-ratings", "--events", dir_.File("events.csv"), "--models", "als"}), 2);
  WriteFile(dir_.File("views.csv"), "user,item\nu,a\nu,b\n");
  EXPECT_EQ(Run({"evaluate-ratings", "--events", dir_.File("views.csv")}), 1);
  EXPECT_THAT(output_, HasSubstr("there are 0 events of type rating"));
}

TEST_F(CommandTest, RowsOfBf16AreTheTrainedOnesRounded) {
  WriteEvents(60, 8);
  ASSERT_EQ(Run(Train({"--no-holdout", "--output", dir_.File("floats")})), 0) << output_;
  ASSERT_EQ(Run(Train({"--rows", "bf16", "--models", dir_.File("models")})), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("holdout: NDCG@10"));
  const auto bf16 = *ModelSnapshot::Load(dir_.File("models/1"), {});
  EXPECT_EQ(bf16->row_type(), RowType::kBf16);
  EXPECT_TRUE(bf16->manifest().metrics.contains("ndcg@10"));
  ASSERT_EQ(Run({"inspect", dir_.File("models"), "--tensors"}), 0) << output_;
  // A padded row of 16 numbers, a norm and a bias.
  EXPECT_THAT(output_,
              AllOf(HasSubstr("rows               bf16"), HasSubstr("40.0 to search (5.00 a dimension)"),
                    HasSubstr("item.input_vectors           BF16"), HasSubstr("checks passed")));
  ASSERT_EQ(Run({"inspect", dir_.File("floats")}), 0) << output_;
  EXPECT_THAT(output_,
              AllOf(HasSubstr("rows               float32"), HasSubstr("72.0 to search (9.00 a dimension)")));

  // The holdout finds the number of epochs, so that the two trainings above differ: import rounds the very
  // same.
  ASSERT_EQ(
      Run({"import", "--vectors", dir_.File("floats/model.safetensors"), "--item-tensor", "item.vectors",
           "--input-tensor", "item.input_vectors", "--rows", "bf16", "--output", dir_.File("imported")}),
      0)
      << output_;
  const auto floats = *ModelSnapshot::Load(dir_.File("floats"), {});
  const auto imported = *ModelSnapshot::Load(dir_.File("imported"), {});
  ASSERT_EQ(imported->row_type(), RowType::kBf16);
  for (uint32_t row = 0; row < floats->num_items(); ++row) {
    for (uint32_t j = 0; j < floats->dim(); ++j) {
      ASSERT_EQ(imported->ItemVector(row)[j], ToFloat(ToBf16(floats->ItemVector(row)[j])));
      ASSERT_EQ(imported->InputVector(row)[j], ToFloat(ToBf16(floats->InputVector(row)[j])));
    }
  }
  EXPECT_EQ(Run(Train({"--rows", "fp8", "--models", dir_.File("models")})), 2);
  EXPECT_THAT(output_, HasSubstr("--rows"));
}

TEST_F(CommandTest, SameSeedAndEventsMakeTheSameBytesWithAnyNumberOfThreads) {
  WriteEvents(100, 8);
  ASSERT_EQ(Run(Train({"--no-holdout", "--threads", "1", "--output", dir_.File("a")})), 0) << output_;
  ASSERT_EQ(Run(Train({"--no-holdout", "--threads", "3", "--output", dir_.File("b")})), 0) << output_;
  ASSERT_EQ(Run(Train({"--no-holdout", "--seed", "2", "--output", dir_.File("c")})), 0) << output_;
  const std::string a = ReadFile(dir_.File("a/model.safetensors"));
  EXPECT_FALSE(a.empty());
  EXPECT_TRUE(a == ReadFile(dir_.File("b/model.safetensors")));
  EXPECT_FALSE(a == ReadFile(dir_.File("c/model.safetensors")));
}

TEST_F(CommandTest, AnInterruptLeavesNoVersionAndNoStaging) {
  WriteEvents(4000, 20);
  for (const int signal : {SIGINT, SIGTERM}) {
    std::filesystem::create_directory(dir_.File("tmp"));
    Trainer trainer({"train", "--events", dir_.File("events.csv"), "--als-epochs", "1000", "--models",
                     dir_.File("models")},
                    dir_.File("tmp"));
    ASSERT_TRUE(trainer.ReadUntil("iALS epoch 2/")) << trainer.output();
    trainer.Signal(signal);
    EXPECT_EQ(trainer.Finish(), 130);
    EXPECT_THAT(trainer.output(), AllOf(HasSubstr("interrupted"), Not(HasSubstr("published version"))));
    EXPECT_TRUE(!std::filesystem::exists(dir_.File("models")) ||
                std::filesystem::is_empty(dir_.File("models")));
    EXPECT_TRUE(std::filesystem::is_empty(dir_.File("tmp")));
  }
}

TEST_F(CommandTest, TrainsOnTheLogOfADatabaseThatAServerHasOpen) {
  WriteEvents(20, 8);
  auto database = *Database::Open({.path = dir_.File("data")}, EventTypeTable::Default());
  constexpr int64_t kNow = 1'700'000'000'000;
  const auto record = [&](const std::string& user, const std::string& item, int64_t now_ms) {
    const EventRecord event{
        .user_id = user, .item_id = item, .event_id = "", .timestamp_ms = now_ms, .value = 0, .type = 1};
    return database->RecordEvents({&event, 1}, now_ms).ok();
  };
  for (const char* user : {"live", "u1", "erased"}) {
    for (const char* item : {"i1", "i2", "fresh", "deleted"}) ASSERT_TRUE(record(user, item, kNow));
  }
  ASSERT_TRUE(database->DeleteUser("erased", kNow + 1).ok());
  CatalogItem titled, deleted;
  titled.item_id = "fresh";
  titled.has_metadata = true;
  titled.title = "Fresh";
  deleted.item_id = "deleted";
  deleted.deleted = true;
  ASSERT_TRUE(database->WriteItems(std::vector<CatalogItem>{titled, deleted}).ok());

  // The log alone, then the file's events before it.
  ASSERT_EQ(Run({"train", "--data-dir", dir_.File("data"), "--dim", "8", "--epochs", "1", "--models",
                 dir_.File("models")}),
            0)
      << output_;
  EXPECT_THAT(output_,
              AllOf(HasSubstr("without 4 events of erased users"), HasSubstr("6 events, 2 users, 3 items")));
  ASSERT_EQ(Run(Train({"--data-dir", dir_.File("data"), "--models", dir_.File("models")})), 0) << output_;
  const auto log = *ModelSnapshot::Load(dir_.File("models/1"), {});
  EXPECT_EQ(log->manifest().trained_through_ms, kNow);
  EXPECT_EQ(log->Title(*log->FindRow(ItemKeyOf("fresh"))), "Fresh");
  EXPECT_FALSE(log->FindRow(ItemKeyOf("deleted")).has_value());
  EXPECT_EQ((*ModelSnapshot::Load(dir_.File("models/2"), {}))->manifest().num_training_events, 166u);
  EXPECT_TRUE(record("live", "i3", kNow + 2));  // the server's database has gone on
  EXPECT_EQ(Run({"train", "--data-dir", dir_.File("none"), "--models", dir_.File("models")}), 1);
}

TEST_F(CommandTest, EvaluatePrintsTheModelAndItsBaselinesAndWritesJson) {
  WriteEvents(60, 8);
  std::vector<std::string> arguments = Train({"--k", "5,10", "--json", dir_.File("r.json")});
  arguments[0] = "evaluate";
  ASSERT_EQ(Run(arguments), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("recall@k"), HasSubstr("attention"), HasSubstr("mean of history"),
                             HasSubstr("popularity")));
  const auto json = nlohmann::json::parse(ReadFile(dir_.File("r.json")));
  ASSERT_EQ(json["results"].size(), 3u);
  EXPECT_TRUE(json["results"][0]["metrics"].contains("ndcg@5"));
  // How it was made.
  EXPECT_EQ(json["run"]["flags"]["k"], (std::vector<std::string>{"5", "10"}));
  EXPECT_EQ(json["run"]["flags"]["als-epochs"], std::vector<std::string>{"3"});
  EXPECT_FALSE(json["run"]["flags"].contains("seed"));
  EXPECT_EQ(json["run"]["seed"], 1);
  EXPECT_THAT(std::string(json["run"]["data"]), HasSubstr("60 users"));
  EXPECT_EQ(std::string(json["run"]["training_fingerprint"]).size(), 32u);
  EXPECT_EQ(json["results"][0]["parameters"]["als.epochs"], "3");
  EXPECT_EQ(json["results"][0]["parameters"]["attention.dropout"], "0.5");
  EXPECT_GE(json["run"]["threads"], 1);

  arguments.insert(arguments.end(), {"--split", "time", "--test-fraction", "0.2"});
  EXPECT_EQ(Run(arguments), 0) << output_;
  ASSERT_EQ(Run(Train({"--output", dir_.File("s")})), 0) << output_;
  EXPECT_EQ(Run({"evaluate", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--snapshot",
                 dir_.File("s")}),
            0);
  EXPECT_THAT(output_, HasSubstr("honest only if"));
}

TEST_F(CommandTest, WhatItemsShareIsLearnedUnlessItIsNotWanted) {
  WriteEvents(60, 8);
  std::string items = "item,attributes\n";
  for (int i = 0; i < 160; ++i) absl::StrAppend(&items, "i", i, ",", i / 40, "|", i % 7, "\n");
  WriteFile(dir_.File("items.csv"), items);
  std::vector<std::string> arguments =
      Train({"--items", dir_.File("items.csv"), "--json", dir_.File("r.json")});
  arguments[0] = "evaluate";
  const auto features = [&] {
    EXPECT_EQ(Run(arguments), 0) << output_;
    const auto json = nlohmann::json::parse(ReadFile(dir_.File("r.json")));
    return std::string(json["results"][0]["parameters"]["attention.item_features"]);
  };
  EXPECT_EQ(features(), "7");  // "0" to "3" are both, whatever they say
  arguments.push_back("--no-item-features");
  EXPECT_EQ(features(), "0");
}

TEST_F(CommandTest, EvaluateMeasuresTheErrorOfRatingsAndWhatIsTrending) {
  WriteEvents(60, 8);
  std::vector<std::string> arguments = Train({"--popularity-half-life", "7", "--json", dir_.File("r.json")});
  arguments[0] = "evaluate";
  ASSERT_EQ(Run(arguments), 0) << output_;
  const auto results = nlohmann::json::parse(ReadFile(dir_.File("r.json")))["results"];
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[0]["metrics"]["ratings"], 60);
  EXPECT_GT(results[0]["metrics"]["rmse"], 0);
  EXPECT_LE(results[0]["metrics"]["mae"], results[0]["metrics"]["rmse"]);
  EXPECT_EQ(results[3]["ranker"], "trending, 7 days");
  EXPECT_FALSE(results[3]["metrics"].contains("rmse"));
  // The rating model of a snapshot is its own.
  ASSERT_EQ(Run(Train({"--output", dir_.File("s"), "--rating-scale", "1:5"})), 0) << output_;
  const std::vector<std::string> of_snapshot = {
      "evaluate", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--snapshot", dir_.File("s")};
  ASSERT_EQ(Run(of_snapshot), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("rmse"));
  arguments.push_back("--no-ratings");
  ASSERT_EQ(Run(arguments), 0) << output_;
  EXPECT_THAT(output_, Not(HasSubstr("rmse")));
}

TEST_F(CommandTest, EvaluateMeasuresThePartsOfABlendToo) {
  WriteEvents(60, 8);
  for (const bool given : {false, true}) {
    std::vector<std::string> arguments = Train({"--model", "blend", "--blend", "ials,ease", "--neighbours",
                                                "20", "--no-ratings", "--json", dir_.File("r.json")});
    arguments[0] = "evaluate";
    if (given) {
      arguments.insert(arguments.end(), {"--test-events", dir_.File("events.csv")});
      const Dataset data = CyclicData(60, 4, 40, 12, 3);
      std::string train = "user\titem\n", test = train;
      for (const TrainingEvent& e : data.events) {
        absl::StrAppend(&e - data.EventsOf(e.user).data() < 9 ? &train : &test, data.user_ids[e.user], "\t",
                        data.item_ids[e.item], "\n");
      }
      WriteFile(dir_.File("train.tsv"), train);
      WriteFile(dir_.File("test.tsv"), test);
      arguments[2] = dir_.File("train.tsv");
      arguments.back() = dir_.File("test.tsv");
    } else {
      arguments.insert(arguments.end(), {"--split", "leave-one-out"});
    }
    ASSERT_EQ(Run(arguments), 0) << output_;
    std::vector<std::string> rankers;
    const auto json = nlohmann::json::parse(ReadFile(dir_.File("r.json")));
    for (const auto& result : json["results"]) rankers.push_back(result["ranker"]);
    EXPECT_EQ(rankers, (std::vector<std::string>{"blend", "blend: ials", "blend: ease", "popularity",
                                                 "blend (validation)", "blend: ials (validation)",
                                                 "blend: ease (validation)"}));
  }
}

TEST_F(CommandTest, EvaluateByLeaveOneOutShowsValidationAndKeepsTheSnapshot) {
  WriteEvents(60, 8);
  std::vector<std::string> arguments = Train({"--model", "attention", "--split", "leave-one-out", "--save",
                                              dir_.File("kept/s"), "--json", dir_.File("r.json")});
  arguments[0] = "evaluate";
  ASSERT_EQ(Run(arguments), 0) << output_;
  EXPECT_THAT(
      output_,
      AllOf(HasSubstr("leave-one-out: 360 events to train on, 60 to choose by (60 users), 60 held out"),
            HasSubstr("attention (validation)")));
  const auto kept = ModelSnapshot::Load(dir_.File("kept/s"), {});
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ((*kept)->manifest().num_training_events, 360u);
  // The kept snapshot on the same split gives the same figures.
  ASSERT_EQ(Run({"evaluate", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--split",
                 "leave-one-out", "--snapshot", dir_.File("kept/s"), "--json", dir_.File("again.json")}),
            0)
      << output_;
  const auto first = nlohmann::json::parse(ReadFile(dir_.File("r.json")))["results"];
  const auto again = nlohmann::json::parse(ReadFile(dir_.File("again.json")))["results"];
  EXPECT_EQ(first[0]["metrics"]["ndcg@10"], again[0]["metrics"]["ndcg@10"]);
  EXPECT_EQ(first[0]["metrics"]["recall@20"], again[0]["metrics"]["recall@20"]);
  EXPECT_EQ(Run(arguments), 1);
  EXPECT_THAT(output_, HasSubstr("exists and is not empty"));
}

TEST_F(CommandTest, EvaluateTakesGivenTestEventsWithoutTimes) {
  const Dataset data = CyclicData(60, 4, 40, 12, 3);
  std::string train = "user\titem\n", test = train;
  for (const TrainingEvent& e : data.events) {
    absl::StrAppend(&e - data.EventsOf(e.user).data() < 9 ? &train : &test, data.user_ids[e.user], "\t",
                    data.item_ids[e.item], "\n");
  }
  WriteFile(dir_.File("train.tsv"), train);
  WriteFile(dir_.File("test.tsv"), test);
  ASSERT_EQ(Run({"evaluate", "--events", dir_.File("train.tsv"), "--test-events", dir_.File("test.tsv"),
                 "--dim", "8", "--als-epochs", "3", "--max-epochs", "3", "--num-negatives", "50"}),
            0)
      << output_;
  EXPECT_THAT(output_,
              AllOf(HasSubstr("given test events: 540 events to train on, 60 of them to choose by (60"),
                    HasSubstr("the chosen model is fitted to all training events"), HasSubstr("(validation)"),
                    HasSubstr("popularity")));
}

TEST_F(CommandTest, CompareHoldsModelsOfConfigurationsAndSnapshotsAgainstTheFirst) {
  WriteEvents(60, 8);
  std::vector<std::string> save = Train({"--split", "leave-one-out", "--save", dir_.File("old")});
  save[0] = "evaluate";
  ASSERT_EQ(Run(save), 0) << output_;
  WriteFile(dir_.File("small.json"), R"({"flags": {"dim": 4, "model": "attention"}, "found": "by hand"})");
  std::vector<std::string> compare =
      Train({"--split", "leave-one-out", "--models", "attention", "--configs", dir_.File("small.json"),
             "--snapshots", dir_.File("old"), "--json", dir_.File("r.json"), "--html", dir_.File("r.html")});
  compare[0] = "compare";
  ASSERT_EQ(Run(compare), 0) << output_;
  const auto results = nlohmann::json::parse(ReadFile(dir_.File("r.json")))["results"];
  ASSERT_EQ(results.size(), 7u);  // three, two baselines, two validations
  EXPECT_EQ(results[0]["ranker"], "attention");
  EXPECT_EQ(results[1]["ranker"], "small");
  EXPECT_EQ(results[2]["ranker"], "old");
  // The snapshot is what the first one is: trained with the same flags and seed.
  EXPECT_EQ(results[2]["metrics"]["ndcg@10"], results[0]["metrics"]["ndcg@10"]);
  EXPECT_EQ(results[2]["difference_to_first"]["ndcg@10"]["p"], 1);
  EXPECT_NE(results[1]["metrics"]["ndcg@10"], results[0]["metrics"]["ndcg@10"]);
  EXPECT_THAT(ReadFile(dir_.File("r.html")),
              AllOf(HasSubstr("Comparison of 3 models"), HasSubstr("</html>")));
  EXPECT_EQ(Run({"compare", "--events", dir_.File("events.csv")}), 1);
  EXPECT_THAT(output_, HasSubstr("--models, --configs or --snapshots"));
}

TEST_F(CommandTest, AConfigurationGivesTheFlagsThatTheCommandLineDoesNot) {
  WriteEvents(20, 5);
  const auto train = [&](const std::string& config, const std::vector<std::string>& more) {
    WriteFile(dir_.File("c.json"), config);
    std::vector<std::string> arguments = {"train",
                                          "--events",
                                          dir_.File("events.csv"),
                                          "--config",
                                          dir_.File("c.json"),
                                          "--no-holdout",
                                          "--epochs",
                                          "1",
                                          "--output",
                                          dir_.File("s")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::filesystem::remove_all(dir_.File("s"));
    return Run(arguments);
  };
  const std::string config = R"({"flags": {"dim": 6, "epochs": 40, "value-edges": ["rating:2,3"]}})";
  ASSERT_EQ(train(config, {}), 0) << output_;
  EXPECT_EQ((*ModelSnapshot::Load(dir_.File("s"), {}))->dim(), 6u);
  EXPECT_THAT(output_, HasSubstr("final fit on all events, 1 epochs"));
  ASSERT_EQ(train(config, {"--dim=5"}), 0) << output_;
  EXPECT_EQ((*ModelSnapshot::Load(dir_.File("s"), {}))->dim(), 5u);
  EXPECT_EQ(train("{", {}), 1);
  EXPECT_THAT(output_, HasSubstr("c.json: this is not JSON"));
  EXPECT_EQ(train("{\"dim\": 4}", {}), 1);
  EXPECT_THAT(output_, HasSubstr("there is no object \"flags\""));
  EXPECT_EQ(train(R"({"flags": {"dim": {}}})", {}), 1);
  EXPECT_THAT(output_, HasSubstr("\"dim\" is not a string, a number"));
  EXPECT_EQ(train(R"({"flags": {"wings": 2}})", {}), 2);
  EXPECT_THAT(output_, HasSubstr("--wings"));
}

TEST_F(CommandTest, TuneKeepsFlagsOfSeveralValuesAndTellsItemsApart) {
  WriteEvents(40, 7);
  const auto tune = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = Train(
        {"--budget", "1h", "--trials", "1", "--output", dir_.File("t.json"), "--model", "blend", "--blend",
         "ials,ease", "--value-edges", "rating:2", "--value-edges", "view:1", "--search", "dim=4,12"});
    arguments[0] = "tune";
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  ASSERT_EQ(tune({}), 0) << output_;
  const auto flags = nlohmann::json::parse(ReadFile(dir_.File("t.json")))["flags"];
  EXPECT_EQ(flags["blend"], (std::vector<std::string>{"ials", "ease"}));
  EXPECT_EQ(flags["value-edges"], (std::vector<std::string>{"rating:2", "view:1"}));
  EXPECT_EQ(flags["als-epochs"], "3");
  EXPECT_EQ(Run({"train", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--config",
                 dir_.File("t.json"), "--output", dir_.File("s")}),
            0)
      << output_;
  // What is known about items is part of the search.
  WriteFile(dir_.File("items.csv"), "item,genres\ni0,a\ni1,b\ni0,b\n");
  EXPECT_EQ(tune({"--items", dir_.File("items.csv")}), 1);
  EXPECT_THAT(output_, AllOf(HasSubstr("read 2 items"), HasSubstr("1 lines describe an item again"),
                             HasSubstr("holds the trials of another search")));
}

TEST_F(CommandTest, TuneFindsAConfigurationAndGoesOnWhereItStopped) {
  WriteEvents(40, 7);
  const auto tune = [&](const std::string& trials, const std::string& output,
                        std::vector<std::string> more = {}) {
    std::vector<std::string> arguments =
        Train({"--budget", "1h", "--trials", trials, "--output", dir_.File(output), "--search", "dim=4,12",
               "--search", "learning-rate=0.001:0.05:log"});
    arguments[0] = "tune";
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  ASSERT_EQ(tune("5", "whole.json"), 0) << output_;
  EXPECT_THAT(output_,
              AllOf(HasSubstr("trial 1,"), HasSubstr("the defaults"), HasSubstr("best of 5 trials")));
  ASSERT_EQ(tune("2", "parts.json"), 0) << output_;
  // What a crash left of a line is not a trial.
  std::string state = ReadFile(dir_.File("parts.json.trials"));
  WriteFile(dir_.File("parts.json.trials"), state + "{\"flags\": {\"di");
  ASSERT_EQ(tune("5", "parts.json"), 0) << output_;
  EXPECT_THAT(output_,
              AllOf(HasSubstr("taking up 2 trials"), Not(HasSubstr("trial 2,")), HasSubstr("trial 3,")));
  const auto whole = nlohmann::json::parse(ReadFile(dir_.File("whole.json")));
  const auto parts = nlohmann::json::parse(ReadFile(dir_.File("parts.json")));
  EXPECT_EQ(whole["flags"], parts["flags"]);
  EXPECT_EQ(whole["found"]["validation"], parts["found"]["validation"]);
  EXPECT_GE(whole["found"]["validation"], whole["found"]["defaults"]);
  EXPECT_EQ(whole["flags"]["als-epochs"], "3") << "what the command line gave is part of the configuration";

  // The configuration gives evaluate the figure that tune found.
  ASSERT_EQ(
      Run({"evaluate", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--split", "leave-one-out",
           "--config", dir_.File("whole.json"), "--k", "10", "--json", dir_.File("r.json")}),
      0)
      << output_;
  const auto results = nlohmann::json::parse(ReadFile(dir_.File("r.json")))["results"];
  EXPECT_EQ(results.back()["ranker"], "attention (validation)");
  EXPECT_EQ(results.back()["metrics"]["ndcg@10"], whole["found"]["validation"]);

  EXPECT_EQ(tune("5", "parts.json", {"--seed", "9"}), 1);
  EXPECT_THAT(output_, HasSubstr("another search"));
  EXPECT_EQ(tune("1", "t.json", {"--search", "wings=1:2"}), 1);
  EXPECT_THAT(output_, HasSubstr("--wings"));
  EXPECT_EQ(
      Run({"tune", "--events", dir_.File("events.csv"), "--budget", "soon", "--output", dir_.File("t.json")}),
      1);
  EXPECT_THAT(output_, HasSubstr("--budget: \"soon\" is not a duration"));
  EXPECT_EQ(tune("1", "t.json", {"--split", "time"}), 1);
  EXPECT_THAT(output_, HasSubstr("events to choose by"));
}

// What files of the world hold: either it works and the figures say what was done, or the message says what
// is wrong.
TEST_F(CommandTest, OddEventFilesTrainOrSayWhatIsWrong) {
  const auto train = [&](const std::string& text) {
    WriteFile(dir_.File("odd.tsv"), text);
    std::filesystem::remove_all(dir_.File("s"));
    return Run({"train", "--events", dir_.File("odd.tsv"), "--dim", "4", "--als-epochs", "2", "--epochs", "1",
                "--output", dir_.File("s")});
  };
  const auto evaluate = [&] {
    return Run({"evaluate", "--events", dir_.File("odd.tsv"), "--split", "leave-one-out", "--dim", "4",
                "--als-epochs", "2", "--epochs", "1"});
  };
  EXPECT_EQ(train(""), 1);
  EXPECT_THAT(output_, HasSubstr("odd.tsv:1: expected a header with column names, the file is empty"));
  EXPECT_EQ(train("user\titem\n"), 1);
  EXPECT_THAT(output_, HasSubstr("there are no events to train on"));
  EXPECT_EQ(train("user\tthing\nu\ti\n"), 1);
  EXPECT_THAT(output_, AllOf(HasSubstr("odd.tsv:1: no column called one of item"),
                             HasSubstr("the header has: user, thing")));
  EXPECT_EQ(train("user\titem\ttimestamp\nu\ti\n"), 1);
  EXPECT_THAT(output_, HasSubstr("odd.tsv:2: 2 fields, expected 3"));

  // One user, one item, users with one event: there is nothing to hold out, and that is said.
  ASSERT_EQ(train("user\titem\nu\ti\n"), 0) << output_;
  EXPECT_THAT(output_, AllOf(HasSubstr("1 events, 1 users, 1 items"), HasSubstr("no holdout")));
  EXPECT_EQ(evaluate(), 1);
  EXPECT_THAT(output_, HasSubstr("the split leaves nothing to test with"));
  ASSERT_EQ(train("user\titem\nu\ti\nv\ti\nw\tj\n"), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("no holdout"));
  // One user of many items, and one item of many users.
  std::string one_user = "user\titem\n", one_item = one_user, mixed = "user\titem\ttimestamp\n";
  for (int e = 0; e < 12; ++e) {
    absl::StrAppend(&one_user, "u\ti", e, "\n");
    absl::StrAppend(&one_item, "u", e % 6, "\ti\n");
  }
  ASSERT_EQ(train(one_user), 0) << output_;
  EXPECT_EQ(evaluate(), 0) << output_;
  ASSERT_EQ(train(one_item), 0) << output_;
  EXPECT_EQ(evaluate(), 1);  // nobody has an unseen item to be tested with
  EXPECT_THAT(output_, HasSubstr("6 have an item that the user had before"));

  // Duplicates, unsorted times, ids with spaces and UTF-8, and users with one event among others.
  for (int u = 0; u < 8; ++u) {
    for (int e = 5; e >= 0; --e) {
      absl::StrAppend(&mixed, "Ãnne ", u, "\titâ¬m ", (u + e) % 9, "\t", 100 + e, "\n");
      if (e == 2) absl::StrAppend(&mixed, "Ãnne ", u, "\titâ¬m ", (u + e) % 9, "\t", 100 + e, "\n");
    }
    absl::StrAppend(&mixed, "single ", u, "\titâ¬m 0\t7\n");
  }
  ASSERT_EQ(train(mixed), 0) << output_;
  const auto snapshot = *ModelSnapshot::Load(dir_.File("s"), {});
  EXPECT_EQ(snapshot->num_items(), 9u);
  EXPECT_TRUE(snapshot->FindRow(ItemKeyOf("itâ¬m 3")).has_value());
  ASSERT_EQ(evaluate(), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("8 to choose by (8 users), 8 held out, 8 users to test with"));
}

TEST_F(CommandTest, ModelNamesAKind) {
  WriteEvents(20, 4);
  EXPECT_EQ(Run(Train({"--model", "oracle", "--output", dir_.File("s")})), 2);
  EXPECT_THAT(output_, AllOf(HasSubstr("--model"), HasSubstr("attention")));
}

// Before anything large is allocated, and with what would make it smaller.
TEST_F(CommandTest, FitsThatTakeMoreThanTheyMayAreRefused) {
  WriteEvents(60, 8);
  const auto train = [&](const std::vector<std::string>& more, const std::string& megabytes = "1") {
    std::vector<std::string> arguments = {"train",    "--events",       dir_.File("events.csv"),
                                          "--output", dir_.File("s"),   "--time-unit",
                                          "ms",       "--memory-limit", megabytes};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  for (const char* const kind : {"attention", "ials", "pure-svd", "nmf"}) {
    EXPECT_EQ(train({"--model", kind, "--dim", "2000", "--no-ratings"}), 1) << kind;
    EXPECT_THAT(output_, AllOf(HasSubstr(std::string(kind) + ": training needs about"),
                               HasSubstr("may take 0.001 GB; lower --dim")));
  }
  EXPECT_EQ(train({"--model", "blend", "--blend", "ials,nmf", "--dim", "2000", "--no-ratings"}), 1);
  EXPECT_THAT(output_, HasSubstr("lower --dim"));
  EXPECT_EQ(train({"--dim", "8", "--rating-dim", "255"}), 1);
  EXPECT_THAT(output_, HasSubstr("lower --rating-dim"));
  EXPECT_FALSE(std::filesystem::exists(dir_.File("s")));
  // 1,000 users of 30 items each out of 1,000.
  std::string text = "user,item\n";
  for (int u = 0; u < 1000; ++u) {
    for (int e = 0; e < 30; ++e) absl::StrAppend(&text, "u", u, ",i", (u * 37 + e * e * 11) % 1000, "\n");
  }
  WriteFile(dir_.File("events.csv"), text);
  EXPECT_EQ(train({"--model", "ease", "--neighbours", "0"}, "15"), 1);
  EXPECT_THAT(output_, HasSubstr("give --neighbours"));
  EXPECT_EQ(train({"--model", "item-knn"}), 1);
  EXPECT_THAT(output_, HasSubstr("item-knn over 1000 items needs about"));
  EXPECT_EQ(train({"--model", "user-knn"}), 1);
  EXPECT_THAT(output_, HasSubstr("user-knn over 1000 users needs about"));
}

TEST_F(CommandTest, LogQIsAutoOffOrANumber) {
  WriteEvents(20, 4);
  for (const char* const wrong : {"maybe", "1.5", "-1", "nan", ""}) {
    EXPECT_EQ(Run(Train({"--logq", wrong, "--output", dir_.File("s")})), 2) << wrong;
    EXPECT_THAT(output_, HasSubstr("--logq")) << wrong;
  }
  for (const char* const right : {"auto", "off", "0.5"}) {
    EXPECT_EQ(Run(Train({"--logq", right, "--output", dir_.File(right)})), 0) << output_;
  }
}

TEST_F(CommandTest, RecommendWritesTheFirstItemsOfEveryUser) {
  WriteEvents(30, 6);
  ASSERT_EQ(Run(Train({"--output", dir_.File("s")})), 0) << output_;
  const std::vector<std::string> recommend = {
      "recommend",   "--snapshot", dir_.File("s"), "--events", dir_.File("events.csv"),
      "--time-unit", "ms",         "--k",          "3"};
  std::vector<std::string> to_file = recommend;
  to_file.insert(to_file.end(), {"--output", dir_.File("recs.tsv")});
  ASSERT_EQ(Run(to_file), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("wrote the first 3 items of 30 users by snapshot 1"));
  const std::string lines = ReadFile(dir_.File("recs.tsv"));
  EXPECT_THAT(lines, ::testing::StartsWith("user\trank\titem\tscore\nu0\t1\ti"));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1 + 30 * 3);
  EXPECT_EQ(Run(recommend), 0);
  EXPECT_THAT(output_, HasSubstr(lines));  // standard output is the default
  to_file.back() = dir_.File("no/such/folder/recs.tsv");
  EXPECT_EQ(Run(to_file), 1);
  EXPECT_THAT(output_, HasSubstr("recs.tsv: No such file"));
}

TEST_F(CommandTest, ImportReadsBackASnapshotsOwnTensors) {
  WriteEvents(30, 6);
  // Of dimension 16, so that rows have no padding.
  ASSERT_EQ(Run({"train", "--events", dir_.File("events.csv"), "--time-unit", "ms", "--dim", "16", "--epochs",
                 "2", "--no-holdout", "--output", dir_.File("s")}),
            0)
      << output_;
  ASSERT_EQ(Run({"import", "--vectors", dir_.File("s/model.safetensors"), "--item-tensor", "item.vectors",
                 "--input-tensor", "item.input_vectors", "--bias-tensor", "item.bias", "--popularity-tensor",
                 "item.popularity", "--space", "als-1", "--models", dir_.File("models")}),
            0)
      << output_;
  const auto original = *ModelSnapshot::Load(dir_.File("s"), {});
  const auto imported = *ModelSnapshot::Load(dir_.File("models/1"), {});
  ASSERT_EQ(imported->num_items(), original->num_items());
  for (uint32_t row = 0; row < original->num_items(); ++row) {
    ASSERT_EQ(imported->ItemId(row), original->ItemId(row));
    ASSERT_EQ(imported->Bias(row), original->Bias(row));
    ASSERT_EQ(imported->ItemVector(row).Values(), original->ItemVector(row).Values());
  }
  EXPECT_EQ(Run({"import", "--vectors", dir_.File("s/model.safetensors"), "--models", dir_.File("models")}),
            1);
  EXPECT_THAT(output_, HasSubstr("no tensor \"items\"; the file has:"));
}

// 40 users who go through 20 items in steps of 1.
std::string Walks() {
  std::string csv = "user,item,timestamp\n";
  for (int u = 0; u < 40; ++u) {
    for (int t = 0; t < 6; ++t) {
      csv += "u" + std::to_string(u) + ",i" + std::to_string((u * 7 + t) % 20) + "," +
             std::to_string(1000 + t) + "\n";
    }
  }
  return csv;
}

TEST(TrainerCommandTest, ATransformerWithoutItsLibrarySaysWhatToInstall) {
  testing::TempDir dir;
  WriteFile(dir.File("events.csv"), Walks());
  const std::string program = dir.File("swiftlet-trainer");
  std::filesystem::copy_file(SWIFTLET_TRAINER, program);
  const std::string command = program + " evaluate --model transformer --events " + dir.File("events.csv") +
                              " > " + dir.File("output") + " 2>&1";
  EXPECT_NE(std::system(command.c_str()), 0);
  EXPECT_THAT(ReadFile(dir.File("output")),
              AllOf(HasSubstr("\"transformer\""), HasSubstr("apt-get install libtorch")));
}

TEST(TrainerCommandTest, ATransformerGoesOnFromItsCheckpoint) {
  if (!std::filesystem::exists(std::filesystem::path(SWIFTLET_TRAINER).parent_path() /
                               "libswiftlet-torch.so")) {
    GTEST_SKIP() << "built without libtorch";
  }
  testing::TempDir dir;
  WriteFile(dir.File("events.csv"), Walks());
  const auto run = [&](const char* epochs) {
    Trainer trainer({"evaluate", "--model", "transformer", "--events", dir.File("events.csv"), "--split",
                     "leave-one-out", "--threads", "1", "--dim", "16", "--transformer-max-epochs", epochs,
                     "--logq", "off", "--checkpoint-dir", dir.File("checkpoints"), "--json",
                     dir.File("r.json")});
    EXPECT_EQ(trainer.Finish(), 0) << trainer.output();
    return trainer.output();
  };
  EXPECT_THAT(run("2"), Not(HasSubstr("goes on after")));
  EXPECT_THAT(run("3"), HasSubstr("goes on after epoch 2"));
  EXPECT_THAT(run("3"), HasSubstr("goes on after epoch 3"));
  // The curve is that of all its runs.
  const auto results = nlohmann::json::parse(ReadFile(dir.File("r.json")))["results"];
  ASSERT_EQ(results[0]["curve"].size(), 3u);
  EXPECT_EQ(results[0]["curve"][2]["epoch"], 3);
}

}  // namespace
}  // namespace swiftlet

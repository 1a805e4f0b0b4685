// swiftlet-load, the program, against swiftlet-server, the program.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "engine/snapshot/model_directory.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

class LoadGeneratorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const ModelDirectory models(models_path());
    for (const int64_t version : {1, 2}) {
      const absl::Status published = PublishRandomSnapshot(models, {.num_items = 400, .version = version});
      ASSERT_TRUE(published.ok()) << published;
    }
  }
  std::string models_path() const { return dir_.path() + "/models"; }

  pid_t Start(const std::vector<std::string>& args) {
    std::vector<char*> argv = {const_cast<char*>(SWIFTLET_LOAD_BINARY)};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    const int out = open(dir_.File("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(out, STDOUT_FILENO);
      dup2(out, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(out);
    return pid;
  }
  int Wait(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string Output() const { return Read("out"); }
  std::string Read(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(dir_.File(name)).rdbuf();
    return text.str();
  }
  nlohmann::json Json() const { return nlohmann::json::parse(Read("result.json"), nullptr, false); }

  TempDir dir_;
};

TEST_F(LoadGeneratorTest, EveryKindOfCallIsAnsweredRightWhileSnapshotsAreSwapped) {
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.running());
  ASSERT_TRUE(server.WaitForVersion(2));
  const int code =
      Wait(Start({"run",
                  "--server",
                  "127.0.0.1:" + std::to_string(server.grpc_port()),
                  "--seconds",
                  "4",
                  "--timeout",
                  "60",  // histories are recorded under ThreadSanitizer, too
                  "--warmup",
                  "0.2",
                  "--users",
                  "300",
                  "--cold-users",
                  "200",
                  "--concurrency",
                  "6",
                  "--channels",
                  "2",
                  "--threads",
                  "2",
                  "--mix",
                  "recommend=40,cold=10,anonymous=10,similar=10,events=10,upsert=10,freshness=10",
                  "--swap-versions",
                  "1,2",
                  "--swap-every",
                  "0.5",
                  "--json",
                  dir_.File("result.json"),
                  "--svg",
                  dir_.File("plot.svg")}));
  EXPECT_EQ(code, 0) << Output();
  const nlohmann::json json = Json();
  ASSERT_TRUE(json.is_object()) << Output();
  for (const char* kind :
       {"recommend", "cold", "anonymous", "similar", "events", "upsert", "fresh-event", "fresh-recommend"}) {
    EXPECT_GT(json["kinds"][kind]["good"], 0) << kind;
    EXPECT_EQ(json["kinds"][kind]["good"], json["kinds"][kind]["calls"]) << kind;
  }
  EXPECT_GT(json["freshness"]["trials"], 0);
  EXPECT_EQ(json["freshness"]["stale"], 0);
  EXPECT_GT(json["server_cpu_us_per_call"], 0.0);
  EXPECT_GE(json["swaps"]["swaps"], 2);
  EXPECT_GT(json["swaps"]["outside"]["calls"], 0);
  EXPECT_THAT(Read("plot.svg"), HasSubstr("</svg>"));
  // Histories are what it says they are.
  v1::GetUserRequest request;
  v1::GetUserResponse user;
  request.set_user_id("load-cold-7");
  ASSERT_OK(server.GetUser(request, &user));
  EXPECT_EQ(user.events_size(), 50);
}

TEST_F(LoadGeneratorTest, ComparesWithANullServerInOneRun) {
  const int code = Wait(Start({"compare", "--server-binary", SWIFTLET_SERVER_BINARY, "--model-dir",
                               models_path(), "--seconds", "0.3", "--warmup", "0.1", "--rounds", "1",
                               "--users", "50", "--concurrency", "2", "--json", dir_.File("result.json")}));
  EXPECT_EQ(code, 0) << Output();
  const nlohmann::json json = Json();
  ASSERT_TRUE(json.is_object()) << Output();
  EXPECT_EQ(json["ratios"]["p50_us"]["windows"], 2);
  // Both processes' CPU time is counted. How they compare is for benchmarks: this is too short to tell.
  EXPECT_GT(json["a"]["all"]["server_cpu_us_per_call"], 0.0);
  EXPECT_GT(json["b"]["all"]["server_cpu_us_per_call"], 0.0);
  EXPECT_GT(json["ratios"]["server_cpu_us"]["ratio_median"], 0.0);
  EXPECT_GT(json["a"]["all"]["kinds"]["null"]["good"], 0);
  EXPECT_GT(json["stage_us"]["b"].size(), 1u);
  EXPECT_GT(json["b"]["all"]["kinds"]["recommend"]["good"], 0);
}

TEST_F(LoadGeneratorTest, ComparesTwoServersWithDataOfTheirOwn) {
  const int code = Wait(Start({"ab",
                               "--server-a",
                               SWIFTLET_SERVER_BINARY,
                               "--server-b",
                               SWIFTLET_SERVER_BINARY,
                               "--server-arg-b=--retrieval-mode",
                               "--server-arg-b=approximate",
                               "--model-dir",
                               models_path(),
                               "--seconds",
                               "0.3",
                               "--warmup",
                               "0.1",
                               "--rounds",
                               "1",
                               "--users",
                               "50",
                               "--rate",
                               "200",
                               "--json",
                               dir_.File("result.json")}));
  EXPECT_EQ(code, 0) << Output();
  const nlohmann::json json = Json();
  ASSERT_TRUE(json.is_object()) << Output();
  EXPECT_EQ(json["ratios"]["p99_us"]["windows"], 2);
  EXPECT_GT(json["ratios"]["goodput"]["a_median"], 100.0);
}

TEST_F(LoadGeneratorTest, AnInterruptEndsARunWithWhatItMeasured) {
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.running());
  ASSERT_TRUE(server.WaitForVersion(2));
  const pid_t pid = Start({"run", "--server", "127.0.0.1:" + std::to_string(server.grpc_port()), "--seconds",
                           "600", "--warmup", "0", "--users", "10", "--json", dir_.File("result.json")});
  // Users are asked for once before the measurement.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (server.Metric("swiftlet_requests_total{code=\"OK\",method=\"Recommend\"}") < 100 &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  kill(pid, SIGINT);
  EXPECT_EQ(Wait(pid), 0) << Output();
  EXPECT_THAT(Output(), HasSubstr("(interrupted)"));
  const nlohmann::json json = Json();
  ASSERT_TRUE(json.is_object()) << Output();
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_GT(json["all"]["good"], 0);
  EXPECT_LT(json["seconds"], 500.0);
}

}  // namespace
}  // namespace swiftlet::testing

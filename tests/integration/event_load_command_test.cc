// The command `swiftlet event load` against the real server.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "client/event_load.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "server_process.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A process of `swiftlet`, with a pipe for its standard input and files for what it writes.
class Command {
 public:
  Command(const std::string& dir, const std::vector<std::string>& args)
      : out_(dir + "/cli.out"), err_(dir + "/cli.err") {
    int ends[2] = {};
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    std::vector<std::string> all = {SWIFTLET_CLI_BINARY};
    all.insert(all.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& arg : all) argv.push_back(arg.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[0], STDIN_FILENO);
      dup2(open(out_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), STDOUT_FILENO);
      dup2(open(err_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600), STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[0]);
    in_ = ends[1];
  }
  ~Command() {
    CloseInput();
    if (pid_ > 0) kill(pid_, SIGKILL);
    Wait();
  }

  // False when the process has closed its end.
  bool Type(const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      const ssize_t n = write(in_, text.data() + at, text.size() - at);
      if (n <= 0) return false;
      at += static_cast<size_t>(n);
    }
    return true;
  }
  void CloseInput() {
    if (in_ >= 0) close(in_);
    in_ = -1;
  }
  void Signal(int number) const { kill(pid_, number); }
  // The exit code; 128 + signal.
  int Wait() {
    if (pid_ <= 0) return code_;
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return code_;
  }
  std::string out() const { return ReadAll(out_); }
  std::string err() const { return ReadAll(err_); }

 private:
  const std::string out_, err_;
  pid_t pid_ = -1;
  int in_ = -1;
  int code_ = -1;
};

// Rows of events [begin, end), each of another line.
std::string Rows(int begin, int end) {
  std::string text;
  for (int i = begin; i < end; ++i) {
    absl::StrAppend(&text, "u", i % 100, ",item-", i, ",view,1,", 1'700'000'000 + i, "\n");
  }
  return text;
}

bool WaitForRecorded(const ServerProcess& server, double num_events) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (server.Metric("swiftlet_events_recorded_total") < num_events) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

constexpr char kHeader[] = "user,item,type,value,timestamp\n";

TEST(EventLoadCommandTest, AKilledServerCostsTheLoadNothing) {
  constexpr int kHalf = 20'000, kBatch = 100;
  signal(SIGPIPE, SIG_IGN);
  TempDir dir;
  const std::string socket = dir.path() + "/s";
  const ServerProcess::Options options{.dir = dir.path(), .args = {"--unix-socket", socket}};
  const std::vector<std::string> args = {"--server", "unix:" + socket,     "event", "load", "-",
                                         "--batch",  absl::StrCat(kBatch), "--json"};
  Command command(dir.path(), args);
  {
    ServerProcess server(options);
    ASSERT_TRUE(server.running());
    ASSERT_TRUE(command.Type(kHeader + Rows(0, kHalf)));
    // At most 16 batches are in flight: by now the load knows of many that are stored.
    ASSERT_TRUE(WaitForRecorded(server, kHalf / 2)) << command.err();
    server.Kill();
  }
  ServerProcess server(options);
  ASSERT_TRUE(server.running());
  EXPECT_TRUE(command.Type(Rows(kHalf, 2 * kHalf)));
  command.CloseInput();
  EXPECT_EQ(command.Wait(), 0) << command.err();
  EXPECT_THAT(command.err(), ::testing::HasSubstr(": trying again, "));
  const nlohmann::json first = nlohmann::json::parse(command.out());
  EXPECT_EQ(first["complete"], true);
  EXPECT_EQ(first["stored"].get<int>() + first["duplicates"].get<int>(), 2 * kHalf);
  EXPECT_LE(first["duplicates"], 16 * kBatch) << "what was acknowledged is not sent again";
  EXPECT_GT(server.Metric("swiftlet_requests_total{code=\"OK\",method=\"LoadEvents\"}"), 0);

  Command again(dir.path(), args);
  EXPECT_TRUE(again.Type(kHeader + Rows(0, 2 * kHalf)));
  again.CloseInput();
  EXPECT_EQ(again.Wait(), 0) << again.err();
  const nlohmann::json second = nlohmann::json::parse(again.out());
  EXPECT_EQ(second["stored"], 0) << "an event is lost";
  EXPECT_EQ(second["duplicates"], 2 * kHalf);
  EXPECT_EQ(server.Terminate(), 0);
}

// Also while it waits for input.
TEST(EventLoadCommandTest, CtrlCEndsTheLoadAndSaysHowFarItCame) {
  signal(SIGPIPE, SIG_IGN);
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  Command command(dir.path(), {"--server", absl::StrCat("127.0.0.1:", server.grpc_port()), "event", "load",
                               "-", "--batch", "10", "--json"});
  ASSERT_TRUE(command.Type(kHeader + Rows(0, 5'000)));
  ASSERT_TRUE(WaitForRecorded(server, 1'000)) << command.err();
  command.Signal(SIGINT);
  EXPECT_EQ(command.Wait(), 1);
  EXPECT_THAT(command.err(), ::testing::StartsWith("swiftlet: event load: interrupted\n"));
  const nlohmann::json result = nlohmann::json::parse(command.out());
  EXPECT_EQ(result["complete"], false);
  EXPECT_LE(result["stored"], server.Metric("swiftlet_events_recorded_total"));
  EXPECT_GE(result["stored"], 1'000 - 16 * 10) << "what was acknowledged counts";
  EXPECT_THAT(command.err(),
              ::testing::HasSubstr(absl::StrCat("with --from-line ", result["stored"].get<int>() + 2, ".")));
  EXPECT_EQ(server.Terminate(), 0);
}

// The last of a load must not end on a thread of gRPC's: the end of the last channel waits for those.
TEST(EventLoadInAProcessWithoutAServer, EndsWhereItsCallerIs) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int kLoads = 200;
#else
  constexpr int kLoads = 2500;
#endif
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "storage { sync_writes: false }\n"});
  ASSERT_TRUE(server.running());
  for (int i = 0; i < kLoads; ++i) {
    absl::StatusOr<std::unique_ptr<Client>> client =
        Client::Connect({.address = absl::StrCat("127.0.0.1:", server.grpc_port())});
    ASSERT_TRUE(client.ok()) << client.status();
    absl::StatusOr<std::unique_ptr<EventLoad>> load = (*client)->LoadEvents();
    ASSERT_TRUE(load.ok()) << load.status();
    v1::LoadEventsRequest batch;
    *batch.add_events() = MakeEvent("u", absl::StrCat("i", i), "view", 1, absl::StrCat("e", i));
    ASSERT_TRUE((*load)->Add(std::move(batch)).ok());
    const absl::Status status = (*load)->Finish();
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(server.Terminate(), 0);
}

}  // namespace
}  // namespace swiftlet::testing

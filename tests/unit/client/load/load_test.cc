#include "client/load/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/load/catalogue.h"
#include "client/load/experiment.h"
#include "client/load/flags.h"
#include "client/load/managed_server.h"
#include "client/load/null_server.h"
#include "client/load/report.h"
#include "client/load/stage_times.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::load {
namespace {

using swiftlet::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
  int code;
  std::string out, err;
};

Result RunLoad(std::vector<std::string> args) {
  std::istringstream in;
  std::ostringstream out, err;
  cli::CliIo io{.in = in, .out = out, .err = err};
  const int code = load::Run(std::move(args), io);
  return {code, out.str(), err.str()};
}

// A server of `n` items that is right about everything.
class GoodServer {
 public:
  explicit GoodServer(int n) {
    server.admin.GetStatusMethod.handler = [n](auto&, auto&, v1::GetStatusResponse& response) {
      response.mutable_serving()->set_version(1);
      response.mutable_serving()->set_num_items(n);
      response.mutable_serving()->set_dim(4);
      return grpc::Status::OK;
    };
    server.recommendation.RecommendMethod.handler = [n](auto&, const v1::RecommendRequest& request,
                                                        v1::RecommendResponse& response) {
      response.set_snapshot_version(1);
      for (int i = 0; i < n && i < request.k(); ++i) response.add_items()->set_item_id(absl::StrCat("i", i));
      return grpc::Status::OK;
    };
    server.recommendation.SimilarItemsMethod.handler = [n](auto&, const v1::SimilarItemsRequest& request,
                                                           v1::SimilarItemsResponse& response) {
      response.set_snapshot_version(1);
      for (int i = 1; i < n; ++i) response.add_items()->set_item_id(absl::StrCat("i", i + 1000));
      return grpc::Status::OK;
    };
    server.event.RecordEventsMethod.handler = [](auto&, const v1::RecordEventsRequest& request,
                                                 v1::RecordEventsResponse& response) {
      response.set_num_recorded(request.events_size());
      return grpc::Status::OK;
    };
  }
  std::string address() const { return server.address(); }
  FakeServer server;
};

TEST(LoadTest, HelpExplainsEveryCommand) {
  EXPECT_THAT(RunLoad({"--help"}).out, HasSubstr("compare"));
  for (const char* command : {"run", "saturate", "compare", "ab", "null-server"}) {
    const Result help = RunLoad({command, "--help"});
    EXPECT_EQ(help.code, cli::kOk);
    EXPECT_THAT(help.out, HasSubstr("--")) << command;
  }
}

TEST(LoadTest, ArgumentsThatMakeNoSenseAreRefusedWithAReason) {
  const struct {
    std::vector<std::string> args;
    const char* reason;
  } kCases[] = {
      {{}, "subcommand"},
      {{"walk"}, "walk"},
      {{"run", "--seconds", "0"}, "\"0\" is not a positive number"},
      {{"run", "--rate", "fast"}, "\"fast\" is neither calls a second nor a percentage"},
      {{"run", "--rate", "-5"}, "-5"},
      {{"run", "--mix", "walk=1"}, "there is no kind \"walk\""},
      {{"run", "--mix", "recommend=0"}, "add up to 0"},
      {{"run", "--mix", "cold=1"}, "cold needs --cold-users"},
      {{"run", "--threads", "2"}, "2 threads need as many --channels (1)"},
      {{"run", "--server-binary", "x"}, "--model-dir"},
      {{"run", "--items-prefix", "x"}, "go together"},
      {{"run", "--trials", "5"}, "no freshness"},
      {{"run", "--server-cpus", "3-1"}, "\"3-1\" is not a CPU"},
      {{"run", "--concurrency", "0"}, "concurrency"},
      {{"ab", "--server-a", "x"}, "--server-b"},
  };
  for (const auto& c : kCases) {
    const Result result = RunLoad(c.args);
    EXPECT_EQ(result.code, cli::kUsage) << ::testing::PrintToString(c.args);
    EXPECT_THAT(result.err, HasSubstr(c.reason));
    EXPECT_EQ(result.out, "");
  }
}

TEST(LoadTest, TheFlagComesBeforeTheEnvironment) {
  ASSERT_EQ(setenv("SWIFTLET_SERVER", "127.0.0.1:2", 1), 0);
  const Result by_flag = RunLoad({"run", "--server", "127.0.0.1:1", "-q"});
  const Result by_environment = RunLoad({"run", "-q"});
  unsetenv("SWIFTLET_SERVER");
  EXPECT_THAT(by_flag.err, HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(by_environment.err, HasSubstr("127.0.0.1:2"));
}

TEST(LoadTest, AnUnreachableServerIsSaid) {
  const Result result = RunLoad({"run", "--server", "127.0.0.1:1", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.err, HasSubstr("UNAVAILABLE"));
  EXPECT_THAT(result.err, HasSubstr("127.0.0.1:1"));
}

TEST(LoadTest, ABinaryThatDoesNotServeIsSaid) {
  Result result = RunLoad({"run", "--server-binary", "/no/such/file", "--model-dir", "m", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.err, HasSubstr("cannot run /no/such/file"));
  result = RunLoad({"run", "--server-binary", "/bin/false", "--model-dir", "m", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.err, HasSubstr("/bin/false did not start (exit status 1)"));
}

TEST(LoadTest, AServerWithoutItemsIsSaid) {
  GoodServer empty(0);
  Result result = RunLoad({"run", "--server", empty.address(), "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.err, HasSubstr("no item that it could recommend"));
  FakeServer without_snapshot;
  result = RunLoad({"run", "--server", without_snapshot.address(), "-q"});
  EXPECT_THAT(result.err, HasSubstr("FAILED_PRECONDITION"));
  EXPECT_THAT(result.err, HasSubstr("no snapshot"));
}

TEST(LoadTest, ItemsThatTheServerDoesNotKnowAreSaid) {
  GoodServer server(20);
  server.server.catalog.GetItemsMethod.handler = [](auto&, const v1::GetItemsRequest& request,
                                                    v1::GetItemsResponse& response) {
    response.add_unknown_item_ids(request.item_ids(0));
    return grpc::Status::OK;
  };
  const Result result =
      RunLoad({"run", "--server", server.address(), "--items-prefix", "z", "--num-items", "5", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.err, HasSubstr("does not know the item \"z0\""));
}

TEST(LoadTest, PrintsATableAndWritesJsonAndAPlot) {
  GoodServer server(20);
  TempDir dir;
  const Result result =
      RunLoad({"run", "--server", server.address(), "--seconds", "0.3", "--warmup", "0", "--users", "10",
               "--history-events", "0", "--json", dir.File("r.json"), "--svg", dir.File("r.svg"), "-q"});
  EXPECT_EQ(result.code, cli::kOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("recommend"));
  EXPECT_THAT(result.out, HasSubstr("p99.9"));
  // The server is this process.
  EXPECT_THAT(result.out, HasSubstr("Server CPU"));
  std::ifstream in(dir.File("r.json"));
  const nlohmann::json json = nlohmann::json::parse(in);
  EXPECT_GT(json["all"]["good"], 0);
  EXPECT_EQ(json["all"]["good"], json["kinds"]["recommend"]["calls"]);
  EXPECT_GT(json["server_cpu_us_per_call"], 0.0);
  EXPECT_LE(json["all"]["latency_us"]["p50"], json["all"]["latency_us"]["p99"]);
  std::stringstream svg;
  svg << std::ifstream(dir.File("r.svg")).rdbuf();
  EXPECT_THAT(svg.str(), HasSubstr("<polyline"));
  EXPECT_THAT(svg.str(), HasSubstr("</svg>"));
}

TEST(LoadTest, WrongAnswersMakeItFail) {
  GoodServer server(20);
  server.server.recommendation.RecommendMethod.handler = [](auto&, const v1::RecommendRequest& request,
                                                            v1::RecommendResponse& response) {
    response.set_snapshot_version(1);
    for (int i = 0; i < 5; ++i) response.add_items()->set_item_id(absl::StrCat("i", i));
    return grpc::Status::OK;
  };
  const Result result = RunLoad({"run", "--server", server.address(), "--seconds", "0.2", "--warmup", "0",
                                 "--users", "10", "--history-events", "0", "--allow-errors", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.out, HasSubstr("Failed: recommend: the answer has 5 items, 10 were asked for"));
}

TEST(LoadTest, StaleAnswersMakeItFail) {
  GoodServer server(20);  // which never leaves out an item
  const Result result =
      RunLoad({"run", "--server", server.address(), "--seconds", "100", "--warmup", "0", "--users", "10",
               "--mix", "freshness=1", "--history-events", "0", "--trials", "20", "-q"});
  EXPECT_EQ(result.code, cli::kFailed);
  EXPECT_THAT(result.out, HasSubstr("stale"));
  EXPECT_THAT(result.out, Not(HasSubstr("none stale")));
}

TEST(LoadTest, ARateCanBeAShareOfSaturation) {
  GoodServer server(20);
  const Result result = RunLoad({"run", "--server", server.address(), "--seconds", "0.3", "--warmup", "0",
                                 "--users", "10", "--history-events", "0", "--rate", "20%",
                                 "--search-seconds", "0.1", "--max-concurrency", "2", "--json", "-"});
  EXPECT_EQ(result.code, cli::kOk) << result.err;
  EXPECT_THAT(result.err, HasSubstr("1 in flight"));
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_GT(json["offered_per_second"], 1.0);
}

TEST(NullServerTest, AnswersTenItems) {
  const auto server = NullServer::Start("127.0.0.1:0");
  ASSERT_TRUE(server.ok());
  const auto client = Client::Connect({.address = absl::StrCat("127.0.0.1:", (*server)->port())});
  v1::RecommendRequest request;
  request.set_user_id("anyone");
  request.set_k(10);
  const auto answer = (*client)->Recommend(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->items_size(), 10);
  EXPECT_EQ(*(*client)->CheckHealth(""), ServingStatus::kServing);
  EXPECT_FALSE(NullServer::Start(absl::StrCat("127.0.0.1:", (*server)->port())).ok());
}

TEST(CatalogueTest, DiscoversItemsByWhatIsSimilar) {
  GoodServer server(30);
  const auto client = Client::Connect({.address = server.address()});
  const auto ids = DiscoverItems(**client, 50);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->size(), 50u);
  EXPECT_EQ(std::set<std::string>(ids->begin(), ids->end()).size(), 50u);
  EXPECT_EQ(DiscoverItems(**client, 1000)->size(), 59u);
}

TEST(CatalogueTest, ReadsIdsFromAFile) {
  TempDir dir;
  std::ofstream(dir.File("ids")) << "a\n\n b \r\nc";
  EXPECT_THAT(*ReadItemIds(dir.File("ids")), ElementsAre("a", "b", "c"));
  std::ofstream(dir.File("empty")) << "\n";
  EXPECT_THAT(std::string(ReadItemIds(dir.File("empty")).status().message()), HasSubstr("empty"));
  EXPECT_EQ(ReadItemIds(dir.File("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST(ManagedServerTest, CpuTimeOfThisProcessGrowsWithWork) {
  const double before = ProcessCpu(getpid());
  ASSERT_GE(before, 0);
  volatile uint64_t sum = 0;
  while (ProcessCpu(getpid()) < before + 0.02) sum = sum + 1;
  EXPECT_LT(ProcessCpu(1 << 30), 0);
  EXPECT_GT(ResidentBytes(getpid()), 1 << 20);
}

TEST(ManagedServerTest, FindsWhoListens) {
  FakeServer server;
  const auto pid = FindListener(server.address());
  ASSERT_TRUE(pid.has_value());
  EXPECT_EQ(*pid, getpid());
  EXPECT_FALSE(FindListener("127.0.0.1:1").has_value());
  EXPECT_FALSE(FindListener("nonsense").has_value());
}

TEST(ManagedServerTest, ReadsCpus) {
  EXPECT_THAT(*ParseCpus("1"), ElementsAre(1));
  EXPECT_THAT(*ParseCpus("0-2,5"), ElementsAre(0, 1, 2, 5));
  for (const char* bad : {"", "a", "2-1", "-1", "1-2-3", "99999"}) EXPECT_FALSE(ParseCpus(bad).ok()) << bad;
}

TEST(StageTimesTest, AreMeansOfWhatCameBetweenTwoPages) {
  const StageTimes before = ParseStageTimes(
      "# HELP swiftlet_stage_seconds Time\nswiftlet_stage_seconds_count{stage=\"encode\"} 10\n"
      "swiftlet_stage_seconds_sum{stage=\"encode\"} 1e-3\n");
  const StageTimes after = ParseStageTimes(
      "swiftlet_stage_seconds_count{stage=\"encode\"} 30\nswiftlet_stage_seconds_sum{stage=\"encode\"} "
      "1.1e-3\n"
      "swiftlet_stage_seconds_bucket{stage=\"encode\",le=\"1e-6\"} 30\nother_sum{stage=\"x\"} 3\n"
      "swiftlet_stage_seconds_count{stage=\"rank\"} 0\nswiftlet_stage_seconds_sum{stage=\"rank\"} x");
  const std::map<std::string, double> means = MeanStageUs(before, after);
  ASSERT_EQ(means.size(), 1u);
  EXPECT_NEAR(means.at("encode"), 5, 1e-9);
  EXPECT_TRUE(ReadStageTimes(1).empty());
}

TEST(ExperimentTest, TheSpreadIsOfTheMedian) {
  EXPECT_EQ(SpreadOf({}).median, 0);
  EXPECT_EQ(SpreadOf({3, 1, 2}).median, 2);
  const Spread even = SpreadOf({4, 1, 3, 2});
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(even.least, 1);
  EXPECT_EQ(even.most, 4);
}

TEST(FlagsTest, RatesAreNumbersOrShares) {
  EXPECT_EQ(ParseRate("")->number, 0);
  EXPECT_EQ(ParseRate("2500")->number, 2500);
  EXPECT_FALSE(ParseRate("2500")->of_saturation);
  EXPECT_EQ(ParseRate("300%")->number, 300);
  EXPECT_TRUE(ParseRate("300%")->of_saturation);
  for (const char* bad : {"%", "0", "x", "1e9", "nan", "-1%"}) EXPECT_FALSE(ParseRate(bad).ok()) << bad;
}

TEST(ReportTest, LatenciesHaveTheirUnits) {
  EXPECT_EQ(LatencyText(143'400), "143 us");
  EXPECT_EQ(LatencyText(9'999'000), "9999 us");
  EXPECT_EQ(LatencyText(12'340'000), "12.3 ms");
  EXPECT_EQ(LatencyText(2.5e9), "2.50 s");
}

}  // namespace
}  // namespace swiftlet::load

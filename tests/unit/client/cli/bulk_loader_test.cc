#include "client/cli/bulk_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <zlib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/event_sink.h"
#include "engine/base/mutex.h"
#include "tests/unit/client/cli/run_cli.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Records every event id once, as a server does, and refuses items called "bad".
class BulkLoaderTest : public ::testing::Test {
 protected:
  BulkLoaderTest() {
    std::string name = ::testing::TempDir() + "/bulk_loader_XXXXXX";
    dir_ = mkdtemp(name.data());
    server_.event.RecordEventsMethod.handler = [this](auto&, const v1::RecordEventsRequest& request,
                                                      v1::RecordEventsResponse& response) {
      for (int i = 0; i < request.events_size(); ++i) {
        if (request.events(i).item_id() == "bad") {
          return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                              absl::StrCat("events[", i, "].item_id: \"bad\" is bad"));
        }
      }
      MutexLock lock(mu_);
      for (const v1::Event& event : request.events()) {
        if (ids_.insert(event.event_id()).second) {
          response.set_num_recorded(response.num_recorded() + 1);
        } else {
          response.set_num_duplicates(response.num_duplicates() + 1);
        }
      }
      return grpc::Status::OK;
    };
  }
  ~BulkLoaderTest() override { std::system(("rm -rf '" + dir_ + "'").c_str()); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::vector<v1::Event> Sent() {
    std::vector<v1::Event> events;
    for (const v1::RecordEventsRequest& request : server_.event.RecordEventsMethod.requests()) {
      events.insert(events.end(), request.events().begin(), request.events().end());
    }
    return events;
  }

  std::string dir_;
  FakeServer server_;
  Mutex mu_;
  std::set<std::string> ids_ ABSL_GUARDED_BY(mu_);
};

TEST_F(BulkLoaderTest, LoadsRatingsWithTimesInSeconds) {
  const std::string path =
      Write("r.csv", "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,\"1,029\",3,1260759179\n");
  const CliResult result = RunCli(server_, {"event", "load", path});
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("2 events stored in "));
  const std::vector<v1::Event> events = Sent();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].user_id(), "1");
  EXPECT_EQ(events[0].item_id(), "31");
  EXPECT_EQ(events[0].type(), "rating");
  EXPECT_EQ(events[0].value(), 2.5f);
  EXPECT_EQ(events[0].timestamp_ms(), 1260759144000);
  EXPECT_EQ(events[1].item_id(), "1,029");
}

TEST_F(BulkLoaderTest, ASecondLoadStoresNothingTwice) {
  std::string text = "user\titem\ttype\n";
  for (int i = 0; i < 25; ++i) absl::StrAppend(&text, "u\ti", i % 5, "\tview\n");  // no times: lines differ
  const std::string path = Write("e.tsv", text);
  EXPECT_THAT(RunCli(server_, {"event", "load", path, "--batch", "10"}).out,
              StartsWith("25 events stored in "));
  EXPECT_EQ(server_.event.RecordEventsMethod.requests().size(), 3u);
  const CliResult again = RunCli(server_, {"event", "load", path, "--batch", "7", "--json"});
  const nlohmann::json object = nlohmann::json::parse(again.out);
  EXPECT_EQ(object["stored"], 0);
  EXPECT_EQ(object["duplicates"], 25);
  EXPECT_EQ(object["complete"], true);
}

TEST_F(BulkLoaderTest, TheLayoutOfTheFileDoesNotChangeTheIds) {
  ASSERT_EQ(RunCli(server_, {"event", "load", Write("a.tsv", "user\titem\ttime\nu\ti\t1700000000\n")}).code,
            kOk);
  const std::string other = Write("b.csv", "at,sku,visitor\n2023-11-14T22:13:20Z,i,u\n");
  const CliResult result = RunCli(
      server_, {"event", "load", other, "--columns", "user=visitor,item=sku,time=at", "--type", "view"});
  EXPECT_THAT(result.out, StartsWith("0 events stored, 1 already there in ")) << result.err;
}

TEST_F(BulkLoaderTest, ReadsGzip) {
  const std::string path = dir_ + "/e.csv.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  const std::string text = "user,item\nu,i\n";
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  EXPECT_THAT(RunCli(server_, {"event", "load", path}).out, StartsWith("1 event stored in "));
  EXPECT_EQ(Sent().at(0).type(), "view");
}

TEST_F(BulkLoaderTest, BadLinesAreNamedAndStopTheLoad) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"u\n", ":3: 1 fields, expected 5"},
      {"u,,view,1,1\n", ":3: item: \"\" is not an id"},
      {"u,i,view,much,1\n", ":3: value: \"much\" is not a finite number"},
      {"u,i,view,nan,1\n", ":3: value: \"nan\" is not a finite number"},
      {"u,i,view,1,yesterday\n", ":3: time: \"yesterday\" is neither"},
      {"u,i,view,1,-5\n", ":3: time: \"-5\" is no time since 1970"},
      {"u,i,,1,1\n", ":3: type: empty"},
      {"u,\xFF,view,1,1\n", ":3: text that is not UTF-8"},
      {"u,bad,view,1,1\n", ":3: item_id: \"bad\" is bad"},  // found by the server
  };
  for (const auto& [line, message] : cases) {
    const std::string path =
        Write("bad.csv", "user,item,type,value,time\nu,i,view,1,1\n" + line + "u,j,view,1,1\n");
    const CliResult result = RunCli(server_, {"event", "load", path});
    EXPECT_EQ(result.code, kFailed) << line;
    EXPECT_THAT(result.err, StartsWith("swiftlet: event load: " + path + message)) << line;
    EXPECT_THAT(result.err, HasSubstr("0 events stored before that. Load the file again")) << line;
    EXPECT_EQ(result.out, "") << line;
  }
  MutexLock lock(mu_);
  EXPECT_TRUE(ids_.empty());
}

TEST_F(BulkLoaderTest, SkipBadSkipsCountsAndGoesOn) {
  const std::string path =
      Write("bad.csv",
            "user,item,type,value\nu,a,view,1\nu,b\nu,bad,view,1\nu,c,view,x\nu,bad,view,2\nu,d,view,1\n");
  const CliResult result = RunCli(server_, {"event", "load", path, "--skip-bad"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("2 events stored, 4 bad lines skipped in "));
  for (const char* line : {":3: ", ":4: ", ":5: ", ":6: "}) EXPECT_THAT(result.err, HasSubstr(path + line));
  EXPECT_THAT(result.err, Not(HasSubstr(path + ":7")));
}

TEST_F(BulkLoaderTest, ATruncatedGzipFileIsAnError) {
  const std::string path = dir_ + "/cut.csv.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  std::string text = "user,item\n";
  for (int i = 0; i < 10000; ++i)
    absl::StrAppend(&text, "u", i * 7919 % 10007, ",i", i * 104729 % 10009, "\n");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  std::ifstream whole(path);
  const std::string bytes((std::istreambuf_iterator<char>(whole)), std::istreambuf_iterator<char>());
  Write("cut.csv.gz", bytes.substr(0, bytes.size() / 2));
  const CliResult result = RunCli(server_, {"event", "load", path});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("truncated"));
}

TEST_F(BulkLoaderTest, MissingFilesAndColumnsAreErrors) {
  EXPECT_THAT(RunCli(server_, {"event", "load", dir_ + "/none.tsv"}).err,
              HasSubstr("/none.tsv: No such file"));
  const std::string path = Write("e.csv", "user,thing\nu,i\n");
  EXPECT_THAT(RunCli(server_, {"event", "load", path}).err,
              HasSubstr(":1: no column for item; there are: user, thing"));
  EXPECT_THAT(RunCli(server_, {"event", "load", path, "--columns", "item=stuff"}).err,
              HasSubstr("no column \"stuff\" for item"));
  EXPECT_THAT(RunCli(server_, {"event", "load", path, "--columns", "thing=item"}).err,
              HasSubstr("\"thing=item\" is not field=column"));
  EXPECT_TRUE(Sent().empty());
}

TEST_F(BulkLoaderTest, ABreakInTheMiddleTellsHowFarItCame) {
  auto record = server_.event.RecordEventsMethod.handler;
  server_.event.RecordEventsMethod.handler = [record](grpc::ServerContext& context, const auto& request,
                                                      auto& response) {
    if (request.events(0).item_id() == "i20") return grpc::Status(grpc::StatusCode::INTERNAL, "disk");
    return record(context, request, response);
  };
  std::string text = "user\titem\n";
  for (int i = 0; i < 30; ++i) absl::StrAppend(&text, "u\ti", i, "\n");
  const CliResult result = RunCli(server_, {"event", "load", Write("e.tsv", text), "--batch", "10"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: INTERNAL: disk\n"));
  EXPECT_THAT(result.err, HasSubstr("20 events stored before that"));
}

TEST_F(BulkLoaderTest, ItemsComeWithTitlesAndCategories) {
  server_.catalog.UpsertItemsMethod.handler = [](auto&, const v1::UpsertItemsRequest& request,
                                                 v1::UpsertItemsResponse& response) {
    response.set_num_upserted(request.items_size());
    return grpc::Status::OK;
  };
  const std::string path = Write("items.tsv",
                                 "item\ttitle\tgenres\n1\tToy Story (1995)\tAnimation|Comedy\n2\tAmélie\t\n"
                                 "1\tToy Story\tComedy\n");
  const CliResult result = RunCli(server_, {"item", "load", path});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("2 items stored in "));
  const v1::UpsertItemsRequest request = server_.catalog.UpsertItemsMethod.requests().at(0);
  ASSERT_EQ(request.items_size(), 2);
  EXPECT_EQ(request.items(0).metadata().title(), "Toy Story");  // the last line of an item wins
  EXPECT_THAT(request.items(0).metadata().categories(), ElementsAre("Comedy"));
  EXPECT_EQ(request.items(1).metadata().categories_size(), 0);
  EXPECT_THAT(RunCli(server_, {"item", "load", Write("x.csv", "item,colour\n1,red\n")}).err,
              HasSubstr("neither a title nor a categories column"));
}

TEST_F(BulkLoaderTest, ATerminalSeesProgressOnOneLine) {
  std::string text = "user\titem\n";
  for (int i = 0; i < 300; ++i) absl::StrAppend(&text, "u\ti", i, "\n");
  auto record = server_.event.RecordEventsMethod.handler;
  server_.event.RecordEventsMethod.handler = [record](grpc::ServerContext& context, const auto& request,
                                                      auto& response) {
    absl::SleepFor(absl::Milliseconds(3));  // 300 calls: longer than the time between two reports
    return record(context, request, response);
  };
  const CliResult terminal =
      RunCli(server_, {"event", "load", Write("e.tsv", text), "--batch", "1"}, {.terminal = true});
  EXPECT_THAT(terminal.err, HasSubstr(" a second\x1b[K"));
  EXPECT_THAT(terminal.err, ::testing::EndsWith("\r\x1b[K"));
  EXPECT_EQ(RunCli(server_, {"event", "load", Write("f.tsv", "user\titem\nu\ti\n")}).err, "");
}

TEST(ParseFileTimeTest, UnitsAndLimits) {
  EXPECT_EQ(ParseFileTime("1700000000", TimeUnit::kAuto).value(), 1700000000000);
  EXPECT_EQ(ParseFileTime("1700000000123", TimeUnit::kAuto).value(), 1700000000123);
  EXPECT_EQ(ParseFileTime("1700000000.5", TimeUnit::kAuto).value(), 1700000000500);
  EXPECT_EQ(ParseFileTime("5", TimeUnit::kMilliseconds).value(), 5);
  EXPECT_EQ(ParseFileTime("5", TimeUnit::kSeconds).value(), 5000);
  for (const char* bad : {"-1", "nan", "inf", "1e30", "", "1969-01-01T00:00:00Z", "12h"}) {
    EXPECT_FALSE(ParseFileTime(bad, TimeUnit::kAuto).ok()) << bad;
  }
}

}  // namespace
}  // namespace swiftlet::cli

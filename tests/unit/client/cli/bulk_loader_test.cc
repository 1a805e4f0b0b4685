#include "client/cli/bulk_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>
#include <latch>
#include <memory>
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
  using Stream = FakeServer::Event::Stream;

  BulkLoaderTest() {
    std::string name = ::testing::TempDir() + "/bulk_loader_XXXXXX";
    dir_ = mkdtemp(name.data());
    server_.event.load_events = [this](grpc::ServerContext&, Stream& stream) {
      v1::LoadEventsRequest request;
      v1::LoadEventsProgress progress;
      while (stream.Read(&request)) {
        if (const grpc::Status status = Load(request, progress); !status.ok()) return status;
        stream.Write(progress);
      }
      return grpc::Status::OK;
    };
    server_.event.RecordEventsMethod.handler = [this](auto&, const v1::RecordEventsRequest& request,
                                                      v1::RecordEventsResponse& response) {
      v1::LoadEventsRequest batch;
      *batch.mutable_events() = request.events();
      v1::LoadEventsProgress progress;
      const grpc::Status status = Load(batch, progress);
      response.set_num_recorded(static_cast<int32_t>(progress.num_recorded()));
      response.set_num_duplicates(static_cast<int32_t>(progress.num_duplicates()));
      const std::string& message = status.error_message();
      return status.ok() ? status : grpc::Status(status.error_code(), message.substr(message.find('.') + 1));
    };
  }
  // Stores the next batch of a stream.
  grpc::Status Load(const v1::LoadEventsRequest& batch, v1::LoadEventsProgress& progress) {
    MutexLock lock(mu_);
    batches_.push_back(batch);
    for (int i = 0; i < batch.events_size(); ++i) {
      if (batch.events(i).item_id() == "bad") {
        return {
            grpc::StatusCode::INVALID_ARGUMENT,
            absl::StrCat("batches[", progress.num_batches(), "].events[", i, "].item_id: \"bad\" is bad")};
      }
    }
    progress.set_num_batches(progress.num_batches() + 1);
    for (const v1::Event& event : batch.events()) {
      if (ids_.insert(event.event_id()).second) {
        progress.set_num_recorded(progress.num_recorded() + 1);
      } else {
        progress.set_num_duplicates(progress.num_duplicates() + 1);
      }
    }
    return grpc::Status::OK;
  }
  ~BulkLoaderTest() override { std::system(("rm -rf '" + dir_ + "'").c_str()); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::vector<v1::Event> Sent() {
    MutexLock lock(mu_);
    std::vector<v1::Event> events;
    for (const v1::LoadEventsRequest& batch : batches_) {
      events.insert(events.end(), batch.events().begin(), batch.events().end());
    }
    return events;
  }
  size_t num_batches() {
    MutexLock lock(mu_);
    return batches_.size();
  }
  size_t num_ids() {
    MutexLock lock(mu_);
    return ids_.size();
  }

  std::string dir_;
  Mutex mu_;
  std::vector<v1::LoadEventsRequest> batches_ ABSL_GUARDED_BY(mu_);  // whether they were stored or not
  std::set<std::string> ids_ ABSL_GUARDED_BY(mu_);
  FakeServer server_;  // ends first: its calls use the above
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
  EXPECT_EQ(num_batches(), 3u);
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
  server_.event.load_events = [this](auto&, Stream& stream) {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    while (stream.Read(&request) && request.events(0).item_id() != "i20") {
      EXPECT_TRUE(Load(request, progress).ok());
      stream.Write(progress);
    }
    return grpc::Status(grpc::StatusCode::INTERNAL, "disk");
  };
  std::string text = "user\titem\n";
  for (int i = 0; i < 30; ++i) absl::StrAppend(&text, "u\ti", i, "\n");
  const CliResult result = RunCli(server_, {"event", "load", Write("e.tsv", text), "--batch", "10"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: INTERNAL: disk\n"));
  EXPECT_THAT(result.err, HasSubstr("20 events stored before that. Load the file again"));
  EXPECT_THAT(result.err, HasSubstr("with --from-line 22.\n"));
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
  server_.event.load_events = [this](auto&, Stream& stream) {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    while (stream.Read(&request)) {
      absl::SleepFor(absl::Milliseconds(3));  // 300 batches: longer than the time between two reports
      EXPECT_TRUE(Load(request, progress).ok());
      stream.Write(progress);
    }
    return grpc::Status::OK;
  };
  const CliResult terminal =
      RunCli(server_, {"event", "load", Write("e.tsv", text), "--batch", "1"}, {.terminal = true});
  EXPECT_THAT(terminal.err,
              ::testing::ContainsRegex("\r[0-9]+ events?, [0-9]+ a second, [0-9]+s left\x1b\\[K"));
  EXPECT_THAT(terminal.err, ::testing::EndsWith("\r\x1b[K"));
  EXPECT_EQ(RunCli(server_, {"event", "load", Write("f.tsv", "user\titem\nu\ti\n")}).err, "");
}

// The events of lines 2 to n + 1: items i0 to i<n-1>.
std::string Events(int n) {
  std::string text = "user\titem\n";
  for (int i = 0; i < n; ++i) absl::StrAppend(&text, "u\ti", i, "\n");
  return text;
}

TEST_F(BulkLoaderTest, ALostConnectionIsMadeAgainAndNothingIsLostOrCountedTwice) {
  server_.event.load_events = [this, whole = server_.event.load_events, number = 0](
                                  grpc::ServerContext& context, Stream& stream) mutable {
    if (++number > 1) return whole(context, stream);
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    for (int b = 0; b < 3 && stream.Read(&request); ++b) {
      EXPECT_TRUE(Load(request, progress).ok());
      if (b < 2) stream.Write(progress);  // the third one is stored, and the client does not know it
    }
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  };
  const std::string path = Write("e.tsv", Events(300));
  const CliResult result = RunCli(server_, {"event", "load", path, "--batch", "10"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("290 events stored, 10 already there in "));
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: UNAVAILABLE: going down [LoadEvents at "));
  EXPECT_THAT(result.err, ::testing::EndsWith("trying again, 20 events stored so far\n"));
  EXPECT_EQ(num_ids(), 300u);
}

TEST_F(BulkLoaderTest, AServerWithoutLoadEventsGetsCalls) {
  server_.event.load_events = nullptr;
  const std::string path = Write("e.tsv", Events(25));
  const CliResult result = RunCli(server_, {"event", "load", path, "--batch", "10"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("25 events stored in "));
  EXPECT_EQ(result.err,
            "swiftlet: event load: the server does not know LoadEvents: going on with RecordEvents, which is "
            "slower\n");
  EXPECT_EQ(server_.event.RecordEventsMethod.requests().size(), 3u);
  const std::string bad = Write("bad.csv", "user,item\nu,a\nu,bad\nu,b\nu,bad\nu,c\n");
  EXPECT_THAT(RunCli(server_, {"event", "load", bad, "--batch", "2"}).err,
              HasSubstr("swiftlet: event load: " + bad + ":3: item_id: \"bad\" is bad\n"));
  EXPECT_THAT(RunCli(server_, {"event", "load", bad, "--batch", "2", "--skip-bad"}).out,
              StartsWith("3 events stored, 2 bad lines skipped in "));
}

TEST_F(BulkLoaderTest, ABadEventAmongManyBatchesIsNamedByItsLine) {
  std::string text = Events(300);
  const std::string good = text;
  text.replace(text.find("i123\n"), 5, "bad\n");  // line 125, in the batch of lines 122 to 131
  const std::string path = Write("e.tsv", text);
  const CliResult result = RunCli(server_, {"event", "load", path, "--batch", "10"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: " + path + ":125: item_id: \"bad\" is bad\n"));
  EXPECT_THAT(result.err, HasSubstr("120 events stored before that. Load the file again"));
  EXPECT_THAT(result.err, HasSubstr("with --from-line 122.\n"));
  EXPECT_EQ(num_ids(), 120u);
  // Mended, and gone on with.
  Write("e.tsv", good);
  EXPECT_THAT(RunCli(server_, {"event", "load", path, "--batch", "10", "--from-line", "122"}).out,
              StartsWith("180 events stored in "));
  EXPECT_EQ(num_ids(), 300u);
  const nlohmann::json object =
      nlohmann::json::parse(RunCli(server_, {"event", "load", path, "--from-line", "301", "--json"}).out);
  EXPECT_EQ(object["duplicates"], 1);
  EXPECT_EQ(object["next_line"], 302);
}

TEST_F(BulkLoaderTest, SkipBadGoesOnWithTheRestOfEachBatch) {
  std::string text = "user\titem\n";
  for (int i = 0; i < 300; ++i)
    absl::StrAppend(&text, "u\t", i % 50 == 7 ? "bad" : absl::StrCat("i", i), "\n");
  const std::string path = Write("e.tsv", text);
  for (const char* batch : {"1", "10", "1000"}) {
    const CliResult result = RunCli(server_, {"event", "load", path, "--batch", batch, "--skip-bad"});
    EXPECT_EQ(result.code, kOk) << result.err;
    EXPECT_THAT(result.out, HasSubstr(", 6 bad lines skipped in "));
    for (const char* line : {":9: ", ":59: ", ":109: ", ":159: ", ":209: "}) {
      EXPECT_THAT(result.err, HasSubstr(path + line));
    }
    EXPECT_THAT(result.err, HasSubstr("more bad lines"));
    EXPECT_EQ(num_ids(), 294u);
  }
}

// What came before the bad line in the file and was sent is stored when the load has ended.
TEST_F(BulkLoaderTest, ABadLineWaitsForWhatIsUnderWay) {
  const std::string path = Write("e.tsv", Events(100) + "u\n" + "u\tlast\n");
  const CliResult result = RunCli(server_, {"event", "load", path, "--batch", "10"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: " + path + ":102: 1 fields, expected 2"));
  EXPECT_THAT(result.err, HasSubstr("100 events stored before that"));
  EXPECT_EQ(num_ids(), 100u);
}

TEST_F(BulkLoaderTest, AnInterruptTellsHowFarItCame) {
  server_.event.load_events = [this, first = true](auto&, Stream& stream) mutable {
    v1::LoadEventsRequest request;
    v1::LoadEventsProgress progress;
    while (stream.Read(&request)) {
      EXPECT_TRUE(Load(request, progress).ok());
      stream.Write(progress);
      if (first && progress.num_batches() == 5) kill(getpid(), SIGINT);
    }
    first = false;
    return grpc::Status::OK;
  };
  const std::string path = Write("e.tsv", Events(20'000));
  const CliResult result = RunCli(server_, {"event", "load", path, "--batch", "10", "--json"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: interrupted\n"));
  const nlohmann::json object = nlohmann::json::parse(result.out);
  EXPECT_EQ(object["complete"], false);
  const int stored = object["stored"];
  EXPECT_GE(stored, 10);
  EXPECT_LT(stored, 20'000);
  EXPECT_EQ(object["next_line"], stored + 2);
  EXPECT_THAT(result.err, HasSubstr(absl::StrCat("with --from-line ", stored + 2, ".\n")));
  const CliResult rest =
      RunCli(server_, {"event", "load", path, "--from-line", object["next_line"].dump(), "--json"});
  EXPECT_EQ(rest.code, kOk) << rest.err;
  EXPECT_EQ(num_ids(), 20'000u) << "nothing is left out";
}

TEST_F(BulkLoaderTest, AServerThatStoresNothingRunsIntoTheTimeout) {
  // The handler's, too: it may wake up when this test is over.
  const auto given_up = std::make_shared<std::latch>(1);
  server_.event.load_events = [given_up](auto&, Stream&) {
    given_up->wait();
    return grpc::Status::OK;
  };
  const CliResult result =
      RunCli(server_, {"event", "load", Write("e.tsv", Events(10)), "--timeout", "200ms"});
  given_up->count_down();
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: event load: DEADLINE_EXCEEDED: nothing was committed for "
                                     "200ms [LoadEvents at "));
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

#include "client/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "tests/unit/client/cli/run_cli.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using Args = std::vector<std::string>;

// Answers k items i0, i1, ... with titles.
void AnswerItems(FakeServer& server) {
  server.recommendation.RecommendMethod.handler = [](auto&, const v1::RecommendRequest& request,
                                                     v1::RecommendResponse& response) {
    response.set_snapshot_version(3);
    response.set_request_id(request.request_id());
    response.set_num_history_events_used(1);
    response.set_proven_exact(request.search().mode() != v1::Search::MODE_APPROXIMATE);
    for (int i = 0; i < request.k(); ++i) {
      v1::ScoredItem& item = *response.add_items();
      item.set_item_id(absl::StrCat("i", i));
      item.set_score(1.0f / static_cast<float>(i + 1));
      item.set_source(v1::SOURCE_HISTORY);
      if (request.include_metadata()) item.mutable_metadata()->set_title(absl::StrCat("Title ", i));
      if (request.explain()) {
        v1::Contribution& term = *item.add_explanation();
        term.set_kind(v1::Contribution::KIND_EVENT);
        term.set_event_type("rating");
        term.set_item_title("Toy Story (1995)");
        term.set_score(item.score());
      }
    }
    return grpc::Status::OK;
  };
}

TEST(CliTest, EveryCommandExplainsItselfWithAnExample) {
  const std::vector<Args> commands = {{},
                                      {"recommend"},
                                      {"similar"},
                                      {"score"},
                                      {"event"},
                                      {"event", "add"},
                                      {"event", "load"},
                                      {"item"},
                                      {"item", "get"},
                                      {"item", "upsert"},
                                      {"item", "load"},
                                      {"item", "delete"},
                                      {"user"},
                                      {"user", "get"},
                                      {"user", "delete"},
                                      {"snapshot"},
                                      {"snapshot", "list"},
                                      {"snapshot", "load"},
                                      {"snapshot", "follow"},
                                      {"backup"},
                                      {"backup", "create"},
                                      {"backup", "list"},
                                      {"backup", "verify"},
                                      {"status"},
                                      {"doctor"},
                                      {"hammer"}};
  for (Args command : commands) {
    const std::string name = absl::StrJoin(command, " ");
    command.push_back("--help");
    const CliResult result = RunCli(command);
    EXPECT_EQ(result.code, kOk) << name;
    EXPECT_EQ(result.err, "") << name;
    EXPECT_THAT(result.out, ::testing::ContainsRegex("Examples?:\n +.*swiftlet ")) << name;
    EXPECT_THAT(result.out, HasSubstr(name)) << name;
  }
}

TEST(CliTest, UsageErrorsExitWithTwo) {
  const std::vector<Args> wrong = {{},
                                   {"nonsense"},
                                   {"recommend"},
                                   {"recommend", "u", "--history", "a"},
                                   {"recommend", "u", "-k", "many"},
                                   {"recommend", "--history", "a:rating:much"},
                                   {"recommend", "--history", ":view"},
                                   {"score", "u"},
                                   {"score", "--history", "a:b:1:2", "i"},
                                   {"event"},
                                   {"event", "add", "u"},
                                   {"event", "add", "u", "i", "--time", "yesterday"},
                                   {"item", "upsert", "i"},
                                   {"item", "upsert", "i", "--vector", "1,x"},
                                   {"user", "delete", "u"},
                                   {"snapshot", "load"},
                                   {"snapshot", "load", "-1"},
                                   {"backup"},
                                   {"backup", "verify", "newest"},
                                   {"hammer"},
                                   {"--timeout", "0", "status"},
                                   {"--timeout", "soon", "status"},
                                   {"--traceparent", "00-1-2-01", "status"},
                                   {"recommend", "u", "--snapshot", "0"}};
  for (const Args& args : wrong) {
    const CliResult result = RunCli(args);
    EXPECT_EQ(result.code, kUsage) << absl::StrJoin(args, " ");
    EXPECT_THAT(result.err, StartsWith("swiftlet: ")) << absl::StrJoin(args, " ");
    EXPECT_EQ(result.out, "") << absl::StrJoin(args, " ");
  }
}

TEST(CliTest, UsageErrorsSayWhatAndWhereHelpIs) {
  EXPECT_EQ(RunCli({}).err, "swiftlet: a command is missing\nTry: swiftlet --help\n");
  EXPECT_EQ(RunCli({"nonsense"}).err, "swiftlet: there is no command \"nonsense\"\nTry: swiftlet --help\n");
  EXPECT_EQ(RunCli({"event", "put"}).err,
            "swiftlet: event: there is no command \"put\"\nTry: swiftlet event --help\n");
  EXPECT_EQ(RunCli({"snapshot", "load", "x"}).err,
            "swiftlet: snapshot load: version: \"x\" is not a whole number of at least 0\n"
            "Try: swiftlet snapshot load --help\n");
  EXPECT_EQ(RunCli({"recommend", "u", "--bogus"}).err,
            "swiftlet: recommend: The following argument was not expected: --bogus\n"
            "Try: swiftlet recommend --help\n");
}

TEST(CliTest, RecommendSendsEveryFlag) {
  FakeServer server;
  AnswerItems(server);
  const CliResult result =
      RunCli(server, {"recommend", "u1", "-k", "2", "--exclude", "a", "--exclude", "b", "--category", "Drama",
                      "--not-category", "Horror", "--include-seen", "--explain", "--context", "c"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const v1::RecommendRequest request = server.recommendation.RecommendMethod.requests().at(0);
  EXPECT_EQ(request.user_id(), "u1");
  EXPECT_EQ(request.k(), 2);
  EXPECT_THAT(request.filter().exclude_item_ids(), ElementsAre("a", "b"));
  EXPECT_THAT(request.filter().any_of_categories(), ElementsAre("Drama"));
  EXPECT_THAT(request.filter().none_of_categories(), ElementsAre("Horror"));
  EXPECT_TRUE(request.has_exclude_seen());
  EXPECT_FALSE(request.exclude_seen());
  EXPECT_TRUE(request.explain());
  EXPECT_TRUE(request.include_metadata());
  EXPECT_THAT(request.context().item_ids(), ElementsAre("c"));
  EXPECT_EQ(result.out,
            "2 recommendations for user u1 (snapshot 3, 1 event used)\n"
            "\n"
            "#  Item  Title    Categories   Score  From\n"
            "1  i0    Title 0              1.0000  recent events\n"
            "    because you rated Toy Story (1995) +1.0000\n"
            "    1 term adds up to the score 1.0000\n"
            "2  i1    Title 1              0.5000  recent events\n"
            "    because you rated Toy Story (1995) +0.5000\n"
            "    1 term adds up to the score 0.5000\n");
}

TEST(CliTest, SearchFlagsAreSentAndAnAnswerWithoutAProofSaysSo) {
  FakeServer server;
  AnswerItems(server);
  const CliResult exact = RunCli(server, {"recommend", "u", "-k", "1", "--search", "exact"});
  ASSERT_EQ(exact.code, kOk) << exact.err;
  EXPECT_THAT(exact.out, StartsWith("1 recommendation for user u (snapshot 3, 1 event used)\n"));
  const CliResult fast = RunCli(server, {"recommend", "u", "-k", "1", "--search", "approximate",
                                         "--budget-rows", "500", "--budget-us", "80"});
  ASSERT_EQ(fast.code, kOk) << fast.err;
  EXPECT_THAT(fast.out,
              StartsWith("1 recommendation for user u (snapshot 3, 1 event used, not proven exact)\n"));
  ASSERT_EQ(RunCli(server, {"recommend", "u"}).code, kOk);
  const auto requests = server.recommendation.RecommendMethod.requests();
  EXPECT_EQ(requests.at(0).search().mode(), v1::Search::MODE_EXACT);
  EXPECT_EQ(requests.at(1).search().mode(), v1::Search::MODE_APPROXIMATE);
  EXPECT_EQ(requests.at(1).search().budget_rows(), 500);
  EXPECT_EQ(requests.at(1).search().budget_us(), 80);
  EXPECT_EQ(requests.at(2).search().mode(), v1::Search::MODE_UNSPECIFIED);
  EXPECT_EQ(RunCli(server, {"recommend", "u", "--search", "fast"}).code, kUsage);
  EXPECT_EQ(RunCli(server, {"recommend", "u", "--budget-rows", "-1"}).code, kUsage);
}

TEST(CliTest, RecommendTakesAnAnonymousSession) {
  FakeServer server;
  AnswerItems(server);
  const CliResult result =
      RunCli(server, {"recommend", "--history", "a", "--history", "b:like", "--history", "c\\:d:rating:4.5"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const v1::RecommendRequest request = server.recommendation.RecommendMethod.requests().at(0);
  ASSERT_TRUE(request.has_history());
  ASSERT_EQ(request.history().events_size(), 3);
  EXPECT_EQ(request.history().events(0).item_id(), "a");
  EXPECT_EQ(request.history().events(0).type(), "view");
  EXPECT_EQ(request.history().events(1).type(), "like");
  EXPECT_EQ(request.history().events(2).item_id(), "c:d");
  EXPECT_EQ(request.history().events(2).value(), 4.5f);
  EXPECT_TRUE(request.exclude_seen());
  EXPECT_THAT(result.out, StartsWith("10 recommendations for this session"));
  // Several values after one flag, too.
  ASSERT_EQ(RunCli(server, {"recommend", "--history", "a", "b", "-k", "1"}).code, kOk);
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().at(1).history().events_size(), 2);
}

TEST(CliTest, JsonIsOneObjectWithTheNamesOfTheApi) {
  FakeServer server;
  AnswerItems(server);
  const CliResult result = RunCli(server, {"recommend", "u1", "-k", "1", "--json"});
  ASSERT_EQ(result.code, kOk) << result.err;
  const nlohmann::json object = nlohmann::json::parse(result.out);
  EXPECT_EQ(object["snapshot_version"], "3");
  EXPECT_EQ(object["items"][0]["item_id"], "i0");
  EXPECT_EQ(object["items"][0]["metadata"]["title"], "Title 0");
}

TEST(CliTest, AFailedCallSaysWhyAndExitsWithOne) {
  FakeServer server;
  server.recommendation.RecommendMethod.handler = [](auto&, const auto&, auto&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "k: 0 is not in [1, 1000]");
  };
  const CliResult result = RunCli(server, {"recommend", "u", "-k", "0"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "swiftlet: recommend: INVALID_ARGUMENT: k: 0 is not in [1, 1000]\n");
}

TEST(CliTest, AnUnreachableServerIsNamed) {
  std::string address;
  {
    FakeServer server;
    address = server.address();
  }
  const CliResult result = RunCli({"--server", address, "--timeout", "2s", "recommend", "u"});
  EXPECT_EQ(result.code, kFailed);
  EXPECT_THAT(result.err, StartsWith("swiftlet: recommend: UNAVAILABLE: "));
  EXPECT_THAT(result.err, HasSubstr(address));
}

TEST(CliTest, TheEnvironmentNamesTheServerAndTheFlagWins) {
  FakeServer server;
  AnswerItems(server);
  ASSERT_EQ(setenv("SWIFTLET_SERVER", server.address().c_str(), 1), 0);
  EXPECT_EQ(RunCli({"recommend", "u"}).code, kOk);
  ASSERT_EQ(setenv("SWIFTLET_SERVER", "127.0.0.1:1", 1), 0);
  EXPECT_EQ(RunCli({"recommend", "u", "--server", server.address()}).code, kOk);
  unsetenv("SWIFTLET_SERVER");
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 2u);
}

TEST(CliTest, RecommendAsksWhatAnotherSnapshotWouldAnswer) {
  FakeServer server;
  server.admin.PreviewSnapshotMethod.handler = [](auto&, const auto& request, auto& response) {
    if (request.version() == 9)
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "version: 9 is not in models");
    v1::RecommendResponse& answer = *response.mutable_response();
    answer.set_snapshot_version(request.version());
    answer.set_proven_exact(true);
    answer.add_items()->set_item_id("x");
    return grpc::Status::OK;
  };
  const CliResult result =
      RunCli(server, {"recommend", "u", "-k", "4", "--snapshot", "7", "--category", "Drama"});
  ASSERT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out, StartsWith("1 recommendation for user u (snapshot 7, 0 events used)\n"));
  const v1::PreviewSnapshotRequest asked = server.admin.PreviewSnapshotMethod.requests().at(0);
  EXPECT_EQ(asked.request().user_id(), "u");
  EXPECT_EQ(asked.request().k(), 4);
  EXPECT_THAT(asked.request().filter().any_of_categories(), ElementsAre("Drama"));
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 0u);
  EXPECT_EQ(RunCli(server, {"recommend", "u", "--snapshot", "9"}).err,
            "swiftlet: recommend: NOT_FOUND: version: 9 is not in models\n");
}

TEST(CliTest, ATraceParentThatIsNoneIsNamed) {
  const CliResult flag = RunCli({"--traceparent", "00-1-2-01", "status"});
  EXPECT_THAT(flag.err, HasSubstr("--traceparent: \"00-1-2-01\" is not like 00-0af7"));
  FakeServer server;
  AnswerItems(server);
  EXPECT_EQ(RunCli(server, {"recommend", "u", "--traceparent",
                            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
                .code,
            kOk);
}

TEST(CliTest, OnlyATerminalGetsEscapes) {
  FakeServer server;
  AnswerItems(server);
  EXPECT_THAT(RunCli(server, {"recommend", "u"}).out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(RunCli(server, {"recommend", "u"}, {.terminal = true}).out, HasSubstr("\x1b[1m"));
}

TEST(CliTest, SimilarAndScore) {
  FakeServer server;
  server.recommendation.SimilarItemsMethod.handler = [](auto&, const auto&,
                                                        v1::SimilarItemsResponse& response) {
    response.set_snapshot_version(2);
    response.set_proven_exact(true);
    response.add_items()->set_item_id("x");
    return grpc::Status::OK;
  };
  server.recommendation.ScoreItemsMethod.handler = [](auto&, const auto&, v1::ScoreItemsResponse& response) {
    response.add_items()->set_item_id("a");
    response.add_unknown_item_ids("b");
    return grpc::Status::OK;
  };
  const CliResult similar = RunCli(server, {"similar", "318", "-k", "4", "--category", "Drama"});
  EXPECT_EQ(similar.code, kOk) << similar.err;
  EXPECT_THAT(similar.out, StartsWith("1 item similar to 318 (snapshot 2)"));
  const v1::SimilarItemsRequest asked = server.recommendation.SimilarItemsMethod.requests().at(0);
  EXPECT_EQ(asked.item_id(), "318");
  EXPECT_EQ(asked.k(), 4);
  EXPECT_THAT(asked.filter().any_of_categories(), ElementsAre("Drama"));

  const CliResult score = RunCli(server, {"score", "u", "a", "b"});
  EXPECT_EQ(score.code, kOk) << score.err;
  EXPECT_THAT(score.out, HasSubstr("not scored: b"));
  ASSERT_EQ(RunCli(server, {"score", "--history", "h:like", "a", "b"}).code, kOk);
  const auto requests = server.recommendation.ScoreItemsMethod.requests();
  EXPECT_EQ(requests.at(0).user_id(), "u");
  EXPECT_THAT(requests.at(0).item_ids(), ElementsAre("a", "b"));
  EXPECT_EQ(requests.at(1).history().events(0).type(), "like");
  EXPECT_THAT(requests.at(1).item_ids(), ElementsAre("a", "b"));
}

TEST(CliTest, Predict) {
  FakeServer server;
  server.recommendation.PredictMethod.handler = [](auto&, const auto&, v1::PredictResponse& response) {
    v1::PredictedRating* rating = response.add_ratings();
    rating->set_item_id("a");
    rating->set_rating(4.256f);
    rating->mutable_metadata()->set_title("The A");
    response.add_ratings()->set_item_id("b");
    response.mutable_ratings(1)->set_rating(3.5f);
    response.mutable_ratings(1)->set_unknown_item(true);
    response.set_snapshot_version(2);
    response.set_num_ratings_used(1);
    response.set_min_rating(0.5f);
    response.set_max_rating(5);
    return grpc::Status::OK;
  };
  const CliResult result = RunCli(server, {"predict", "u", "a", "b"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_THAT(result.out,
              StartsWith("2 ratings predicted for user u from 1 rating of theirs (snapshot 2, scale 0.5 "
                         "to 5)"));
  EXPECT_THAT(result.out, HasSubstr("The A    4.26"));
  EXPECT_THAT(result.out, HasSubstr("3.50  ? nobody has rated it"));
  ASSERT_EQ(RunCli(server, {"predict", "--history", "h:rating:4", "a"}).code, kOk);
  const auto requests = server.recommendation.PredictMethod.requests();
  EXPECT_EQ(requests.at(0).user_id(), "u");
  EXPECT_THAT(requests.at(0).item_ids(), ElementsAre("a", "b"));
  EXPECT_EQ(requests.at(1).history().events(0).value(), 4.0f);
  EXPECT_THAT(requests.at(1).item_ids(), ElementsAre("a"));
  EXPECT_EQ(RunCli(server, {"predict", "u"}).code, kUsage);
}

TEST(CliTest, EventAdd) {
  FakeServer server;
  server.event.RecordEventsMethod.handler = [](auto&, const auto&, v1::RecordEventsResponse& response) {
    response.set_num_recorded(1);
    return grpc::Status::OK;
  };
  const CliResult result = RunCli(server, {"event", "add", "u", "i", "--type", "rating", "--value", "-4.5",
                                           "--time", "2023-11-14T22:13:20Z"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_EQ(result.out, "Stored: user u, rating, item i, value -4.5. The next recommendation reflects it.\n");
  const v1::Event event = server.event.RecordEventsMethod.requests().at(0).events(0);
  EXPECT_EQ(event.user_id(), "u");
  EXPECT_EQ(event.item_id(), "i");
  EXPECT_EQ(event.type(), "rating");
  EXPECT_EQ(event.value(), -4.5f);
  EXPECT_EQ(event.timestamp_ms(), 1700000000000);
  EXPECT_EQ(event.event_id().size(), 32u);
  const CliResult json = RunCli(server, {"event", "add", "u", "i", "--event-id", "e1", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out)["num_recorded"], 1);
  EXPECT_EQ(server.event.RecordEventsMethod.requests().at(1).events(0).event_id(), "e1");
}

TEST(CliTest, Items) {
  FakeServer server;
  server.catalog.GetItemsMethod.handler = [](auto&, const auto&, v1::GetItemsResponse& response) {
    v1::Item& item = *response.add_items();
    item.set_item_id("a");
    item.mutable_metadata()->set_title("Amélie");
    item.set_status(v1::Item::STATUS_NO_VECTOR);
    v1::Item& mean = *response.add_items();
    mean.set_item_id("c");
    mean.set_status(v1::Item::STATUS_RECOMMENDABLE);
    mean.set_vector_from_categories(true);
    mean.set_changed_since_snapshot(true);
    response.add_unknown_item_ids("b");
    return grpc::Status::OK;
  };
  server.catalog.UpsertItemsMethod.handler = [](auto&, const auto&, v1::UpsertItemsResponse& response) {
    response.set_num_upserted(1);
    return grpc::Status::OK;
  };
  server.catalog.DeleteItemsMethod.handler = [](auto&, const auto&, v1::DeleteItemsResponse& response) {
    response.set_num_deleted(1);
    return grpc::Status::OK;
  };
  const CliResult get = RunCli(server, {"item", "get", "a", "b"});
  EXPECT_EQ(get.code, kOk) << get.err;
  EXPECT_EQ(get.out,
            "Item  Title   Categories  Status\n"
            "a     Amélie              no vector yet\n"
            "c                         recommendable by its categories, changed since the snapshot\n"
            "Unknown: b\n");

  EXPECT_EQ(RunCli(server, {"item", "upsert", "n", "--title", "New", "--category", "A", "--category", "B",
                            "--vector", "1,-2.5,3e-1"})
                .code,
            kOk);
  const std::string path = ::testing::TempDir() + "/vector.txt";
  std::ofstream(path) << "[0.5, 1\n2]\n";
  EXPECT_EQ(RunCli(server, {"item", "upsert", "n", "--vector-file", path}).code, kOk);
  EXPECT_EQ(RunCli(server, {"item", "upsert", "n", "--vector-file", "/no/such/file"}).code, kFailed);
  const auto upserts = server.catalog.UpsertItemsMethod.requests();
  ASSERT_EQ(upserts.size(), 2u);
  EXPECT_THAT(upserts[0].items(0).vector(), ElementsAre(1.0f, -2.5f, 0.3f));
  EXPECT_THAT(upserts[0].items(0).metadata().categories(), ElementsAre("A", "B"));
  EXPECT_FALSE(upserts[1].items(0).has_metadata());
  EXPECT_THAT(upserts[1].items(0).vector(), ElementsAre(0.5f, 1.0f, 2.0f));

  const CliResult erased = RunCli(server, {"item", "delete", "a", "b"});
  EXPECT_EQ(erased.out, "1 item deleted, 1 unknown or deleted before.\n");
  EXPECT_THAT(server.catalog.DeleteItemsMethod.requests().at(0).item_ids(), ElementsAre("a", "b"));
}

TEST(CliTest, UserGetShowsTitlesWhereTheyAreKnown) {
  FakeServer server;
  server.user.GetUserMethod.handler = [](auto&, const auto& request, v1::GetUserResponse& response) {
    response.set_user_id(request.user_id());
    for (const char* item : {"a", "b"}) {
      v1::Event& event = *response.add_events();
      event.set_item_id(item);
      event.set_type("rating");
      event.set_value(4);
      event.set_timestamp_ms(1700000000000);
    }
    return grpc::Status::OK;
  };
  server.catalog.GetItemsMethod.handler = [](auto&, const auto&, v1::GetItemsResponse& response) {
    response.add_items()->set_item_id("b");
    response.mutable_items(0)->mutable_metadata()->set_title("Bee");
    return grpc::Status::OK;
  };
  const CliResult result = RunCli(server, {"user", "get", "u"});
  EXPECT_EQ(result.code, kOk) << result.err;
  EXPECT_EQ(result.out,
            "User u: 2 events, without a vector in the serving snapshot\n"
            "\n"
            "Time (UTC)           Event   Value  Item  Title\n"
            "2023-11-14 22:13:20  rating      4  a\n"
            "2023-11-14 22:13:20  rating      4  b     Bee\n");
}

TEST(CliTest, UserDeleteAsksOnATerminal) {
  FakeServer server;
  EXPECT_EQ(RunCli(server, {"user", "delete", "u"}, {.text = "n\n", .terminal = true}).code, kFailed);
  EXPECT_EQ(RunCli(server, {"user", "delete", "u"}, {.text = "", .terminal = true}).code, kFailed);
  EXPECT_EQ(RunCli(server, {"user", "delete", "u"}).code, kUsage);
  EXPECT_TRUE(server.user.DeleteUserMethod.requests().empty());
  EXPECT_EQ(RunCli(server, {"user", "delete", "u"}, {.text = "y\n", .terminal = true}).code, kOk);
  EXPECT_EQ(RunCli(server, {"user", "delete", "u", "--yes"}).out, "User u is erased.\n");
  EXPECT_EQ(server.user.DeleteUserMethod.requests().size(), 2u);
}

TEST(CliTest, Snapshots) {
  FakeServer server;
  server.admin.ListSnapshotsMethod.handler = [](auto&, const auto&, v1::ListSnapshotsResponse& response) {
    v1::SnapshotInfo& bad = *response.add_snapshots();
    bad.set_version(2);
    bad.set_state(v1::SNAPSHOT_STATE_FAILED);
    bad.set_error("checksum of model.safetensors");
    v1::SnapshotInfo& good = *response.add_snapshots();
    good.set_version(1);
    good.set_state(v1::SNAPSHOT_STATE_SERVING);
    good.set_model_kind("attention");
    good.set_dim(64);
    good.set_num_items(9066);
    good.set_num_users(671);
    good.set_pinned(true);
    (*good.mutable_metrics())["ndcg@10"] = 0.125;
    (*good.mutable_metrics())["hr@10"] = 0.25;
    (*good.mutable_metrics())["popularity.ndcg@10"] = 0.0625;
    return grpc::Status::OK;
  };
  server.admin.LoadSnapshotMethod.handler = [](auto&, const v1::LoadSnapshotRequest& request,
                                               v1::LoadSnapshotResponse& response) {
    if (request.version() == 9) return grpc::Status(grpc::StatusCode::NOT_FOUND, "version: 9 is not there");
    response.mutable_snapshot()->set_version(request.version() == 0 ? 5 : request.version());
    response.mutable_snapshot()->set_state(v1::SNAPSHOT_STATE_SERVING);
    return grpc::Status::OK;
  };
  const CliResult list = RunCli(server, {"snapshot", "list"});
  EXPECT_EQ(list.code, kOk) << list.err;
  EXPECT_EQ(list.out,
            "Version  State            Model      Dim  Items  Users  Made (UTC)  Size  Offline metrics\n"
            "      2  failed                        0      0      0  -            0 B\n"
            "    refused: checksum of model.safetensors\n"
            "      1  serving, pinned  attention   64  9,066    671  -            0 B  ndcg@10 0.1250, hr@10 "
            "0.2500\n");
  EXPECT_THAT(RunCli(server, {"snapshot", "load", "3"}).out,
              StartsWith("Serving snapshot 3 (serving) after 0.000 s."));
  EXPECT_THAT(RunCli(server, {"snapshot", "follow"}).out, StartsWith("Serving snapshot 5 "));
  EXPECT_EQ(RunCli(server, {"snapshot", "load", "9"}).err,
            "swiftlet: snapshot load: NOT_FOUND: version: 9 is not there\n");
  const auto loads = server.admin.LoadSnapshotMethod.requests();
  ASSERT_EQ(loads.size(), 3u);
  EXPECT_EQ(loads[0].version(), 3);
  EXPECT_EQ(loads[1].version(), 0);
}

TEST(CliTest, Backups) {
  FakeServer server;
  server.admin.CreateBackupMethod.handler = [](grpc::ServerContext& context, const auto&, auto& response) {
    // As long as it takes.
    EXPECT_GT(absl::FromChrono(context.deadline()) - absl::Now(), absl::Hours(23));
    response.mutable_backup()->set_id(3);
    response.mutable_backup()->set_created_ms(1700000000000);
    response.mutable_backup()->set_size_bytes(2048);
    response.mutable_backup()->set_num_files(4);
    response.set_seconds(1.5);
    return grpc::Status::OK;
  };
  const CliResult created = RunCli(server, {"backup", "create"});
  EXPECT_EQ(created.code, kOk) << created.err;
  EXPECT_EQ(created.out, "Backup 3, made 2023-11-14 22:13:20 UTC: 2.0 KiB, 4 files, in 1.50 s.\n");
  const auto object = nlohmann::json::parse(RunCli(server, {"--json", "backup", "create"}).out);
  EXPECT_EQ(object["backup"]["size_bytes"], "2048");

  EXPECT_THAT(RunCli(server, {"backup", "list"}).out, HasSubstr("No backups in "));
  server.admin.ListBackupsMethod.handler = [](auto&, const auto&, auto& response) {
    v1::BackupInfo* damaged = response.add_backups();
    damaged->set_id(12);
    damaged->set_damaged(true);
    v1::BackupInfo* good = response.add_backups();
    good->set_id(11);
    good->set_created_ms(1700000000000);
    good->set_size_bytes(3 << 20);
    good->set_num_files(1234);
    response.set_directory("/backup");
    response.mutable_running()->set_kind("create");
    response.mutable_running()->set_start_time_ms(1700000000000);
    response.mutable_running()->set_num_bytes(1024);
    response.set_last_error("the disk is full");
    return grpc::Status::OK;
  };
  const CliResult list = RunCli(server, {"backup", "list"});
  EXPECT_EQ(list.code, kOk) << list.err;
  EXPECT_EQ(list.out,
            "Backup  Made (UTC)              Size  Files\n"
            "    12  -                        0 B      0\n"
            "    damaged: it cannot be restored\n"
            "    11  2023-11-14 22:13:20  3.0 MiB  1,234\n"
            "\nIn /backup of the server. Of a stopped one: swiftlet-server --restore.\n"
            "A backup is being made since 2023-11-14 22:13:20 UTC: 1.0 KiB so far.\n"
            "The last attempt failed: the disk is full\n");

  server.admin.VerifyBackupMethod.handler = [](auto&, const auto& request, auto& response) {
    if (request.id() == 12) return grpc::Status(grpc::StatusCode::DATA_LOSS, "backup 12 is damaged");
    response.mutable_backup()->set_id(11);
    return grpc::Status::OK;
  };
  const CliResult damaged = RunCli(server, {"backup", "verify", "12"});
  EXPECT_EQ(damaged.code, kFailed);
  EXPECT_EQ(damaged.err, "swiftlet: backup verify: DATA_LOSS: backup 12 is damaged\n");
  const CliResult whole = RunCli(server, {"backup", "verify"});
  EXPECT_EQ(whole.code, kOk) << whole.err;
  EXPECT_THAT(whole.out, HasSubstr("Every file is as it was written."));
}

TEST(CliTest, StatusExitsWithZeroOnlyWhenRecommendationsAreServed) {
  FakeServer server;
  server.admin.GetStatusMethod.handler = [](auto&, const auto&, v1::GetStatusResponse& response) {
    response.set_server_version("0.1.0");
    response.set_cpu_target("AVX3");
    return grpc::Status::OK;
  };
  const CliResult up = RunCli(server, {"status"});
  EXPECT_EQ(up.code, kOk) << up.err;
  EXPECT_THAT(up.out, HasSubstr("recommendations  SERVING\n"));
  server.SetServing("swiftlet.v1.RecommendationService", false);
  const CliResult down = RunCli(server, {"status"});
  EXPECT_EQ(down.code, kFailed);
  EXPECT_THAT(down.out, HasSubstr("recommendations  NOT_SERVING\n"));
  EXPECT_THAT(down.out, HasSubstr("events           SERVING\n"));
  EXPECT_EQ(down.err, "swiftlet: status: the recommendation service is NOT_SERVING\n");
  EXPECT_EQ(RunCli(server, {"status", "--live"}).code, kOk);
  const CliResult json = RunCli(server, {"status", "--json"});
  EXPECT_EQ(json.code, kFailed);
  const nlohmann::json object = nlohmann::json::parse(json.out);
  EXPECT_EQ(object["server_version"], "0.1.0");
  EXPECT_EQ(object["health"]["swiftlet.v1.RecommendationService"], "NOT_SERVING");
  EXPECT_EQ(object["health"][""], "SERVING");
}

TEST(CliTest, StatusWaitsUntilRecommendationsAreServed) {
  FakeServer server;
  server.SetServing("swiftlet.v1.RecommendationService", false);
  EXPECT_EQ(RunCli(server, {"status", "--wait", "0.2"}).code, kFailed);
  std::thread starter([&] {
    absl::SleepFor(absl::Milliseconds(150));  // any time: the command waits through it
    server.SetServing("swiftlet.v1.RecommendationService", true);
  });
  EXPECT_EQ(RunCli(server, {"status", "--wait", "30"}).code, kOk);
  starter.join();
}

TEST(ParseTest, TimesAndTimeouts) {
  EXPECT_EQ(ParseTime("1700000000000").value(), 1700000000000);
  EXPECT_EQ(ParseTime("2023-11-14T22:13:20Z").value(), 1700000000000);
  EXPECT_EQ(ParseTime("2023-11-14T23:13:20.5+01:00").value(), 1700000000500);

  EXPECT_FALSE(ParseTime("").ok());
  EXPECT_EQ(ParseTimeout("500ms").value(), absl::Milliseconds(500));
  EXPECT_EQ(ParseTimeout("1.5").value(), absl::Milliseconds(1500));
  EXPECT_FALSE(ParseTimeout("-1s").ok());
  EXPECT_FALSE(ParseTimeout("nan").ok());
}

}  // namespace
}  // namespace swiftlet::cli

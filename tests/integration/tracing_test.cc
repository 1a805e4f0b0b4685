// Request ids and traces: in the log, in trailing metadata, and in the client; slow calls and server timing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kTraceParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

using Metadata = std::multimap<std::string, std::string>;

class TracingTest : public ::testing::Test {
 protected:
  void Start(const std::string& config) {
    ASSERT_TRUE(
        PublishRandomSnapshot(ModelDirectory(dir_.path() + "/models"), {.num_items = 3000, .version = 1})
            .ok());
    server_ = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir_.path(), .config = config});
    ASSERT_TRUE(server_->running());
  }
  // Trailing metadata of a call that sent this.
  Metadata Trailing(const Metadata& sent, const v1::RecommendRequest& request,
                    v1::RecommendResponse* response = nullptr) {
    const auto stub = v1::RecommendationService::NewStub(server_->channel());
    grpc::ClientContext context;
    for (const auto& [name, value] : sent) context.AddMetadata(name, value);
    v1::RecommendResponse own;
    last_ = stub->Recommend(&context, request, response == nullptr ? &own : response);
    Metadata trailing;
    for (const auto& [name, value] : context.GetServerTrailingMetadata()) {
      trailing.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
    }
    return trailing;
  }
  static std::string Get(const Metadata& metadata, const std::string& name) {
    const auto it = metadata.find(name);
    return it == metadata.end() ? "" : it->second;
  }
  // The line about the slow call with this id.
  nlohmann::json LoggedSlow(const std::string& request_id) {
    nlohmann::json line;
    EXPECT_TRUE(Eventually([&] { return (line = LastLogged("slow: "))["request_id"] == request_id; }))
        << server_->Log();
    return line;
  }
  // The JSON after `prefix` in the last line of the log that has it; waits for it.
  nlohmann::json LastLogged(const std::string& prefix) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      const std::string log = server_->Log();
      const size_t at = log.rfind(prefix);
      const size_t stop = at == std::string::npos ? at : log.find('\n', at);
      if (stop != std::string::npos)
        return nlohmann::json::parse(log.substr(at + prefix.size(), stop - at - prefix.size()));
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "not logged: " << prefix;
        return {};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  grpc::Status last_;
};

TEST_F(TracingTest, ACallerWhoAsksGetsIdAndTiming) {
  Start("");
  const v1::RecommendRequest request = UserRequest("u", 5);
  EXPECT_TRUE(Trailing({}, request).empty()) << "nothing is sent to those who do not ask";
  v1::RecommendResponse response;
  EXPECT_EQ(Get(Trailing({{"x-request-id", "edge-7"}}, request, &response), "x-request-id"), "edge-7");
  EXPECT_EQ(response.request_id(), "edge-7");
  const Metadata timed = Trailing({{"x-server-timing", "1"}}, request, &response);
  EXPECT_EQ(Get(timed, "x-request-id"), response.request_id()) << "one that the server made";
  EXPECT_THAT(Get(timed, "server-timing"),
              MatchesRegex("queue;dur=[0-9.]+, user_state;dur=[0-9.]+, encode_retrieve;dur=[0-9.]+, "
                           "respond;dur=[0-9.]+, total;dur=[0-9.]+"));
  EXPECT_EQ(Get(Trailing({{"x-server-timing", "yes"}}, request), "server-timing"), "");
  // The request's own id is the API's, and comes first.
  v1::RecommendRequest named = request;
  named.set_request_id("mine");
  EXPECT_EQ(Get(Trailing({{"x-request-id", "edge-7"}}, named, &response), "x-request-id"), "mine");
  EXPECT_EQ(response.request_id(), "mine");
  named.set_request_id("größe");
  EXPECT_EQ(Get(Trailing({{"x-request-id", "edge-7"}}, named, &response), "x-request-id"), "")
      << "metadata is ASCII";
  EXPECT_EQ(response.request_id(), "größe");
}

TEST_F(TracingTest, WhatIsNoIdIsIgnored) {
  Start("");
  const v1::RecommendRequest request = UserRequest("u", 5);
  v1::RecommendResponse response;
  for (const Metadata& bad :
       {Metadata{{"x-request-id", std::string(129, 'x')}}, Metadata{{"x-request-id", "two words"}},
        Metadata{{"x-request-id", "a"}, {"x-request-id", "b"}}}) {
    const std::string id = Get(Trailing(bad, request, &response), "x-request-id");
    EXPECT_THAT(id, MatchesRegex("[0-9a-f]{16}"));
    EXPECT_EQ(id, response.request_id());
    EXPECT_TRUE(last_.ok());
  }
}

TEST_F(TracingTest, AFailedCallHasAnId) {
  Start("");
  EXPECT_THAT(Get(Trailing({}, UserRequest("u", 0)), "x-request-id"), MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(last_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Get(Trailing({{"x-request-id", "edge-8"}}, UserRequest("u", 0)), "x-request-id"), "edge-8");
}

TEST_F(TracingTest, TheLogOfSlowCallsHasStagesAndTrace) {
  Start("log { slow_request_ms: 1 }");
  std::vector<v1::Event> events;
  for (int i = 0; i < 200; ++i) events.push_back(MakeEvent("Jane Doe", "item-" + std::to_string(i)));
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch(events), &recorded));
  v1::RecommendRequest request = UserRequest("Jane Doe", 1000);  // some 200,000 terms: milliseconds
  request.set_explain(true);
  Trailing({{"traceparent", kTraceParent}, {"x-request-id", "edge-9"}}, request);
  ASSERT_TRUE(last_.ok()) << last_.error_message();
  nlohmann::json line = LoggedSlow("edge-9");
  EXPECT_EQ(line["method"], "Recommend");
  EXPECT_GT(line["ms"], 1.0);
  EXPECT_GT(line["respond_ms"], 0.0);
  EXPECT_GT(line["encode_retrieve_ms"], 0.0);
  EXPECT_EQ(line["request_id"], "edge-9");
  EXPECT_EQ(line["trace_id"], kTrace);
  EXPECT_TRUE(line.contains("user_hash"));
  EXPECT_THAT(server_->Log(), Not(HasSubstr("Jane")));
  // A traceparent that is none begins a new trace.
  Trailing({{"traceparent", std::string(kTraceParent) + "x"}, {"x-request-id", "edge-10"}}, request);
  line = LoggedSlow("edge-10");
  EXPECT_EQ(line["request_id"], "edge-10");
  EXPECT_NE(line["trace_id"], kTrace);
  EXPECT_EQ(std::string(line["trace_id"]).size(), 32u);
}

TEST_F(TracingTest, ServerTimingHasTheStagesOfEveryKindOfCall) {
  Start("");
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.address = "127.0.0.1:" + std::to_string(server_->grpc_port())});
  ASSERT_TRUE(client.ok());
  CallInfo info;
  const CallOptions timed = {.server_timing = true, .info = &info};
  const auto stages = [&] {
    std::vector<std::string> names;
    for (const std::string& stage : std::vector<std::string>(absl::StrSplit(info.server_timing, ", "))) {
      names.push_back(stage.substr(0, stage.find(';')));
    }
    return names;
  };
  v1::RecordEventsRequest events;
  *events.add_events() = MakeEvent("u", "item-1");
  ASSERT_TRUE((*client)->RecordEvents(events, timed).ok());
  EXPECT_THAT(stages(), ElementsAre("queue", "pool_wait", "store", "total"));
  v1::UpsertItemsRequest upsert;
  upsert.add_items()->set_item_id("item-2");
  ASSERT_TRUE((*client)->UpsertItems(upsert, timed).ok());
  EXPECT_THAT(stages(), ElementsAre("queue", "pool_wait", "store", "total"));
  ASSERT_TRUE((*client)->Recommend(UserRequest("cold", 3), timed).ok());
  EXPECT_THAT(stages(),
              ElementsAre("queue", "pool_wait", "user_state", "encode_retrieve", "respond", "total"));
  v1::SimilarItemsRequest similar;
  similar.set_item_id("item-3");
  similar.set_k(2);
  ASSERT_TRUE((*client)->SimilarItems(similar, timed).ok());
  EXPECT_THAT(stages(), ElementsAre("queue", "encode_retrieve", "respond", "total"));
}

TEST_F(TracingTest, TheAuditLogHasTheTrace) {
  Start("");
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.address = "127.0.0.1:" + std::to_string(server_->grpc_port())});
  ASSERT_TRUE(client.ok());
  v1::DeleteUserRequest request;
  request.set_user_id("u");
  CallInfo info;
  ASSERT_TRUE((*client)
                  ->DeleteUser(request, {.traceparent = kTraceParent, .request_id = "gdpr-1", .info = &info})
                  .ok());
  EXPECT_EQ(info.request_id, "gdpr-1");
  const nlohmann::json line = LastLogged("audit: ");
  EXPECT_EQ(line["request_id"], "gdpr-1");
  EXPECT_EQ(line["trace_id"], kTrace);
}

TEST_F(TracingTest, TheClientSendsAndReads) {
  Start("");
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect({.address = "127.0.0.1:" + std::to_string(server_->grpc_port())});
  ASSERT_TRUE(client.ok());
  CallInfo info;
  ASSERT_TRUE((*client)->Recommend(UserRequest("u", 3), {.server_timing = true, .info = &info}).ok());
  EXPECT_THAT(info.request_id, MatchesRegex("[0-9a-f]{16}"));
  EXPECT_THAT(info.server_timing, HasSubstr("total;dur="));
  EXPECT_FALSE((*client)->Recommend(UserRequest("u", 0), {.request_id = "bad-1", .info = &info}).ok());
  EXPECT_EQ(info.request_id, "bad-1");
  const auto refused = (*client)->Recommend(UserRequest("u", 3), {.request_id = "two words"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("x-request-id: "));
}

}  // namespace
}  // namespace swiftlet::testing

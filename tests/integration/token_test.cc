// Tokens, roles, rate limits, the audit log and the export of users.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <future>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "client/cli/cli.h"
#include "server/security/roles.h"
#include "server/security/token_file.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr auto kUnauthenticated = grpc::StatusCode::UNAUTHENTICATED;
constexpr auto kDenied = grpc::StatusCode::PERMISSION_DENIED;
constexpr auto kExhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;
constexpr auto kUnimplemented = grpc::StatusCode::UNIMPLEMENTED;

const std::map<Method, std::string> kServiceOf = {
    {Method::kRecommend, "RecommendationService"},  {Method::kSimilarItems, "RecommendationService"},
    {Method::kScoreItems, "RecommendationService"}, {Method::kPredict, "RecommendationService"},
    {Method::kRecordEvents, "EventService"},        {Method::kLoadEvents, "EventService"},
    {Method::kUpsertItems, "CatalogService"},       {Method::kDeleteItems, "CatalogService"},
    {Method::kGetItems, "CatalogService"},          {Method::kGetUser, "UserService"},
    {Method::kDeleteUser, "UserService"},           {Method::kExportUser, "UserService"},
    {Method::kListSnapshots, "AdminService"},       {Method::kLoadSnapshot, "AdminService"},
    {Method::kGetStatus, "AdminService"},           {Method::kCreateBackup, "AdminService"},
    {Method::kListBackups, "AdminService"},         {Method::kVerifyBackup, "AdminService"},
    {Method::kPreviewSnapshot, "AdminService"},
};

class TokenTest : public ::testing::Test {
 protected:
  TokenTest() {
    for (const Role role : {Role::kRecommend, Role::kIngest, Role::kAdmin}) {
      const std::string name(kRoleNames[static_cast<size_t>(role)]);
      Add(name, name, RoleSet::Of(role));
    }
    Write();
  }
  void Add(const std::string& key, const std::string& name, RoleSet roles, int64_t expires_ms = 0) {
    secrets_[key] = NewTokenSecret();
    lines_[key] = FormatToken(
        {.name = name, .roles = roles, .digest = Sha256(secrets_[key]), .expires_ms = expires_ms});
  }
  void Write() {
    std::string text = "# name roles hash\n\n";
    for (const auto& [key, line] : lines_) text += line;
    WriteText(text);
  }
  void WriteText(const std::string& text) {
    std::ofstream(dir_.File("tokens.new"), std::ios::binary) << text;
    ASSERT_EQ(std::rename(dir_.File("tokens.new").c_str(), dir_.File("tokens").c_str()), 0);
  }
  ServerProcess::Options Options(const std::string& security = "", const std::string& more = "") const {
    return {.dir = dir_.path(),
            .config = "security { reload_interval_ms: 10 token_file: \"" + dir_.File("tokens") + "\" " +
                      security + " } " + more};
  }
  // A call of "Service/Method" with one message of these bytes; `authorization` "": without the header.
  static grpc::Status CallWith(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                               const std::vector<std::string>& authorizations, const std::string& bytes = "",
                               std::string* request_id = nullptr) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    for (const std::string& each : authorizations) context.AddMetadata("authorization", each);
    if (request_id != nullptr && !request_id->empty()) context.AddMetadata("x-request-id", *request_id);
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer answer;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/swiftlet.v1." + path, {}, &request, &answer,
                   [&](grpc::Status status) { done.set_value(std::move(status)); });
    const grpc::Status status = done.get_future().get();
    if (request_id != nullptr) {
      const auto& trailing = context.GetServerTrailingMetadata();
      const auto it = trailing.find("x-request-id");
      *request_id = it == trailing.end() ? "" : std::string(it->second.data(), it->second.size());
    }
    return status;
  }
  grpc::Status As(const ServerProcess& server, const std::string& key, const std::string& path,
                  const std::string& bytes = "", std::string* request_id = nullptr) {
    return CallWith(server.channel(), path, {"Bearer " + secrets_[key]}, bytes, request_id);
  }
  static double Refused(const ServerProcess& server, const std::string& method, const std::string& reason) {
    return server.Metric("swiftlet_refused_total{method=\"" + method + "\",reason=\"" + reason + "\"}");
  }
  // All parts of the export, as one message.
  grpc::Status Export(const ServerProcess& server, const std::string& user, v1::ExportUserResponse* all,
                      int* num_parts = nullptr) {
    const auto stub = v1::UserService::NewStub(server.channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    context.AddMetadata("authorization", "Bearer " + secrets_["admin"]);
    v1::ExportUserRequest request;
    request.set_user_id(user);
    const auto reader = stub->ExportUser(&context, request);
    v1::ExportUserResponse part;
    for (all->Clear(); reader->Read(&part); all->MergeFrom(part)) {
      if (num_parts != nullptr) ++*num_parts;
    }
    return reader->Finish();
  }

  TempDir dir_;
  std::map<std::string, std::string> secrets_, lines_;
};

TEST_F(TokenTest, EveryRoleMayCallWhatTheTableSaysAndNothingElse) {
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  ASSERT_EQ(kServiceOf.size(), kNumMethods);
  // Written out once more, so that a change of the table is a decision.
  const std::set<std::string> recommend = {"Recommend", "SimilarItems", "ScoreItems", "Predict", "GetItems"},
                              ingest = {"RecordEvents", "LoadEvents", "UpsertItems", "DeleteItems",
                                        "GetItems"};
  for (const auto& [method, service] : kServiceOf) {
    const std::string name(MethodName(method)), path = service + "/" + name;
    for (const std::string role : {"recommend", "ingest", "admin"}) {
      const bool allowed = role == "admin" || (role == "recommend" && recommend.contains(name)) ||
                           (role == "ingest" && ingest.contains(name));
      const grpc::Status status = As(server, role, path);
      if (allowed) {
        EXPECT_NE(status.error_code(), kDenied) << role << " " << name << ": " << status.error_message();
        EXPECT_NE(status.error_code(), kUnauthenticated) << role << " " << name;
      } else {
        EXPECT_EQ(status.error_code(), kDenied) << role << " " << name << ": " << status.error_message();
        EXPECT_THAT(status.error_message(),
                    AllOf(StartsWith(name + " needs one of the roles "), HasSubstr("the token of " + role)));
      }
    }
    EXPECT_EQ(Refused(server, name, "role"),
              2 - static_cast<int>(recommend.contains(name)) - static_cast<int>(ingest.contains(name)));
    EXPECT_CODE(CallWith(server.channel(), path, {}), kUnauthenticated, name + " needs a token");
  }
}

TEST_F(TokenTest, MissingMalformedUnknownAndExpiredTokensAreRefused) {
  Add("past", "old-shop", RoleSet::Of(Role::kAdmin), 1'600'000'000'000);
  Add("future", "new-shop", RoleSet::Of(Role::kAdmin), 4'000'000'000'000);
  Write();
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  const std::string path = "AdminService/GetStatus", good = secrets_["admin"];
  const auto call = [&](const std::vector<std::string>& headers) {
    return CallWith(server.channel(), path, headers);
  };
  ASSERT_OK(call({"Bearer " + good}));
  ASSERT_OK(call({"bearer   " + good}));
  ASSERT_OK(call({"Bearer " + secrets_["future"]}));
  EXPECT_CODE(call({}), kUnauthenticated, "GetStatus needs a token");
  EXPECT_CODE(call({"Bearer " + good, "Bearer " + good}), kUnauthenticated, "needs a token");
  EXPECT_EQ(Refused(server, "GetStatus", "no_token"), 2);
  std::string one_off = good, lower = good;
  one_off.back() = one_off.back() == 'A' ? 'B' : 'A';
  const std::vector<std::string> unknown = {
      "Bearer " + one_off,
      "Bearer " + good + "A",
      "Bearer " + good.substr(0, good.size() - 1),
      "Bearer " + NewTokenSecret(),
      "Bearer " + ToHex(Sha256(good)),  // what the file has is of no use
      "Bearer",
      "Bearer  ",
      "Basic " + good,
      good,
      "Bearer " + std::string(4000, 'x')};
  for (const std::string& each : unknown) EXPECT_CODE(call({each}), kUnauthenticated, "is not known here");
  EXPECT_EQ(Refused(server, "GetStatus", "unknown_token"), unknown.size());
  EXPECT_CODE(call({"Bearer " + secrets_["past"]}), kUnauthenticated, "the token of old-shop has expired");
  EXPECT_EQ(Refused(server, "GetStatus", "expired_token"), 1);
  EXPECT_THAT(server.Log(), Not(HasSubstr(good)));
  // Probes have no token. Reflection is off.
  EXPECT_EQ(server.Health("swiftlet.v1.EventService"), 1);
  EXPECT_EQ(server.CallRaw("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "", nullptr)
                .error_code(),
            kUnimplemented);
}

TEST_F(TokenTest, ReflectionIsOnWhenAskedFor) {
  ServerProcess server(Options("reflection: \"on\""));
  ASSERT_TRUE(server.running());
  EXPECT_NE(server.CallRaw("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "", nullptr)
                .error_code(),
            kUnimplemented);
}

TEST_F(TokenTest, TheFileIsTakenUpAgainWhenItIsWhole) {
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  const auto reloads = [&](const std::string& result) {
    return server.Metric("swiftlet_reloads_total{result=\"" + result + "\",what=\"tokens\"}");
  };
  Add("second", "recommend", RoleSet::Of(Role::kRecommend));  // the same client changes over
  EXPECT_EQ(As(server, "second", "CatalogService/GetItems").error_code(), kUnauthenticated);
  Write();
  ASSERT_TRUE(Eventually([&] { return reloads("ok") == 1; }));
  EXPECT_NE(As(server, "second", "CatalogService/GetItems").error_code(), kUnauthenticated);
  EXPECT_NE(As(server, "recommend", "CatalogService/GetItems").error_code(), kUnauthenticated);
  lines_.erase("recommend");
  Write();
  ASSERT_TRUE(Eventually([&] { return reloads("ok") == 2; }));
  EXPECT_EQ(As(server, "recommend", "CatalogService/GetItems").error_code(), kUnauthenticated);
  // Files that are not whole leave the tokens as they are.
  int failed = 0;
  for (const std::string& broken : {std::string(), std::string("# nobody\n"),
                                    lines_["admin"].substr(0, lines_["admin"].size() - 1),  // no end of line
                                    lines_["admin"] + lines_["admin"], lines_["admin"] + "shop recommend\n",
                                    lines_["admin"] + "shop recommend " + secrets_["second"] + "\n"}) {
    WriteText(broken);
    ++failed;
    ASSERT_TRUE(Eventually([&] { return reloads("failed") == failed; })) << broken << server.Log();
    EXPECT_EQ(As(server, "admin", "AdminService/GetStatus").error_code(), grpc::StatusCode::OK) << broken;
    EXPECT_NE(As(server, "second", "CatalogService/GetItems").error_code(), kUnauthenticated) << broken;
  }
  EXPECT_THAT(server.Log(), AllOf(HasSubstr("tokens: not reloaded, those from before stay in use"),
                                  HasSubstr("/tokens:2: 2 fields"), Not(HasSubstr(secrets_["second"]))));
  std::remove(dir_.File("tokens").c_str());
  ASSERT_TRUE(Eventually([&] { return reloads("failed") == failed + 1; }));
  EXPECT_OK(As(server, "admin", "AdminService/GetStatus"));
}

TEST_F(TokenTest, AClientsRateIsLimitedByItsName) {
  Add("twin", "ingest", RoleSet::Of(Role::kAdmin));  // another token of the same client
  Write();
  ServerProcess server(
      Options("rate_limit { calls_per_second: 0.001 burst: 3 } client_rate_limits { client: "
              "\"admin\" limit { calls_per_second: 0.001 burst: 5 } }"));
  ASSERT_TRUE(server.running());
  const std::string path = "CatalogService/GetItems";
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;  // let in: the request is empty
  EXPECT_EQ(As(server, "ingest", path).error_code(), invalid);
  EXPECT_EQ(As(server, "ingest", path).error_code(), invalid);
  EXPECT_EQ(As(server, "twin", path).error_code(), invalid);
  for (const std::string key : {"ingest", "twin"}) {
    EXPECT_CODE(As(server, key, path), kExhausted, "the rate limit of ingest is reached, retry in ");
  }
  EXPECT_EQ(As(server, "recommend", path).error_code(), invalid) << "another client";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(As(server, "admin", path).error_code(), invalid) << i;
  EXPECT_CODE(As(server, "admin", path), kExhausted, "the rate limit of admin");
  EXPECT_EQ(Refused(server, "GetItems", "rate_limit"), 3);
  // A new file of tokens fills nobody's bucket.
  Add("more", "ingest", RoleSet::Of(Role::kIngest));
  Write();
  ASSERT_TRUE(Eventually(
      [&] { return server.Metric("swiftlet_reloads_total{result=\"ok\",what=\"tokens\"}") == 1; }));
  EXPECT_EQ(As(server, "more", path).error_code(), kExhausted);
}

TEST(RateLimit, WithoutTokensAnAddressIsLimited) {
  TempDir dir;
  ServerProcess server(
      {.dir = dir.path(), .config = "security { rate_limit { calls_per_second: 0.001 burst: 4 } }"});
  ASSERT_TRUE(server.running());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(server.CallRaw("/swiftlet.v1.CatalogService/GetItems", "", nullptr).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_CODE(server.CallRaw("/swiftlet.v1.CatalogService/GetItems", "", nullptr), kExhausted,
              "the rate limit of this address is reached, retry in ");
  EXPECT_EQ(server.Health("swiftlet.v1.EventService"), 1) << "probes are not limited";
}

TEST_F(TokenTest, TheAuditLogSaysWhoDidWhatAndHowItEnded) {
  ServerProcess server(Options("audit_log: \"" + dir_.File("audit.log") + "\""));
  ASSERT_TRUE(server.running());
  const auto read = [&](const std::string& file) {
    std::vector<nlohmann::json> lines;
    std::ifstream in(dir_.File(file));
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  };
  std::string request_id = "ticket-17";
  v1::DeleteUserRequest erase;
  erase.set_user_id("somebody \"quoted\"\n");
  ASSERT_OK(As(server, "admin", "UserService/DeleteUser", erase.SerializeAsString(), &request_id));
  EXPECT_EQ(request_id, "ticket-17");
  v1::LoadSnapshotRequest load;
  load.set_version(6);
  request_id = std::string(200, 'x');  // too long: the server makes one
  EXPECT_EQ(
      As(server, "admin", "AdminService/LoadSnapshot", load.SerializeAsString(), &request_id).error_code(),
      grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(request_id.size(), 16);
  v1::ExportUserResponse exported;
  ASSERT_OK(Export(server, "u1", &exported));
  EXPECT_EQ(As(server, "ingest", "UserService/ExportUser").error_code(), kDenied);
  EXPECT_EQ(CallWith(server.channel(), "UserService/DeleteUser", {}).error_code(), kUnauthenticated);
  ASSERT_OK(As(server, "admin", "AdminService/GetStatus"));
  EXPECT_EQ(As(server, "recommend", "CatalogService/GetItems").error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  const std::vector<nlohmann::json> lines = read("audit.log");
  ASSERT_EQ(lines.size(), 6) << "GetItems is none of it";
  EXPECT_EQ(lines[0]["method"], "DeleteUser");
  EXPECT_EQ(lines[0]["client"], "admin");
  EXPECT_EQ(lines[0]["what"]["user_id"], erase.user_id());
  EXPECT_EQ(lines[0]["result"], "OK");
  EXPECT_EQ(lines[0]["request_id"], "ticket-17");
  EXPECT_THAT(lines[0]["peer"].get<std::string>(), StartsWith("ipv4:127.0.0.1:"));
  EXPECT_EQ(lines[1]["method"], "LoadSnapshot");
  EXPECT_EQ(lines[1]["what"]["version"], "6");
  EXPECT_EQ(lines[1]["result"], "NOT_FOUND");
  EXPECT_EQ(lines[1]["request_id"], request_id);
  EXPECT_EQ(lines[2]["method"], "ExportUser");
  EXPECT_EQ(lines[2]["what"]["user_id"], "u1");
  EXPECT_EQ(lines[2]["result"], "OK");
  EXPECT_EQ(lines[3]["client"], "ingest");
  EXPECT_EQ(lines[3]["result"], "PERMISSION_DENIED");
  EXPECT_EQ(lines[4]["client"], "");
  EXPECT_EQ(lines[4]["result"], "UNAUTHENTICATED");
  EXPECT_EQ(lines[5]["method"], "GetStatus");

  // Moved away by logrotate.
  ASSERT_EQ(std::rename(dir_.File("audit.log").c_str(), dir_.File("audit.log.1").c_str()), 0);
  ASSERT_OK(As(server, "admin", "AdminService/GetStatus"));
  EXPECT_EQ(read("audit.log").size(), 1);
  EXPECT_EQ(read("audit.log.1").size(), 6);
  // Whoever knocks without a token does not fill the disk.
  for (int i = 0; i < 300; ++i) {
    CallWith(server.channel(), "UserService/DeleteUser", {}).error_code();
  }
  EXPECT_LT(read("audit.log").size(), 250);
  EXPECT_EQ(Refused(server, "DeleteUser", "no_token"), 301);
}

TEST_F(TokenTest, ExportUserHasEverythingAndNothingOfOthers) {
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir_.File("models")), {.version = 1}).ok());
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  const auto record = [&](const std::string& user, int n) {
    for (int done = 0; done < n;) {
      std::vector<v1::Event> events;
      for (; done < n && events.size() < 1000; ++done) {
        events.push_back(MakeEvent(user, "item-" + std::to_string(done % 50), "like",
                                   1'700'000'000'000 + done, user + "-" + std::to_string(done)));
      }
      ASSERT_OK(As(server, "ingest", "EventService/RecordEvents", Batch(events).SerializeAsString()));
    }
  };
  record("u", 2500);
  record("u2", 30);
  v1::ExportUserResponse all;
  int num_parts = 0;
  ASSERT_OK(Export(server, "u", &all, &num_parts));
  EXPECT_GE(num_parts, 4) << "a history and the log by thousands";
  ASSERT_EQ(all.logged_events_size(), 2500);
  ASSERT_EQ(all.history_size(), 200);
  EXPECT_EQ(all.summary().num_logged_events(), 2500);
  EXPECT_EQ(all.summary().num_history_events(), 200);
  EXPECT_EQ(all.summary().erased_ms(), 0);
  for (int i = 0; i < 2500; ++i) {
    const v1::Event& event = all.logged_events(i).event();
    ASSERT_EQ(event.user_id(), "u");
    ASSERT_EQ(event.event_id(), "u-" + std::to_string(i));
    ASSERT_EQ(event.item_id(), "item-" + std::to_string(i % 50));
    ASSERT_EQ(event.type(), "like");
    ASSERT_GT(all.logged_events(i).arrival_ms(), 1'700'000'000'000);
  }
  EXPECT_EQ(all.history(0).timestamp_ms(), 1'700'000'002'499);
  EXPECT_EQ(all.history(0).item_id(), "item-49");

  // Erased: gone from the export too, but for that there was an erasure.
  v1::DeleteUserRequest erase;
  erase.set_user_id("u");
  ASSERT_OK(As(server, "admin", "UserService/DeleteUser", erase.SerializeAsString()));
  ASSERT_OK(Export(server, "u", &all));
  EXPECT_EQ(all.logged_events_size() + all.history_size() + all.long_term_vectors_size(), 0);
  EXPECT_GT(all.summary().erased_ms(), 0);
  EXPECT_EQ(all.summary().num_erased_events(), 2500);
  ASSERT_OK(Export(server, "u2", &all));
  EXPECT_EQ(all.logged_events_size(), 30);
  ASSERT_OK(Export(server, "nobody", &all));
  EXPECT_TRUE(all.has_summary());
  EXPECT_EQ(all.logged_events_size() + all.history_size(), 0);
  EXPECT_CODE(Export(server, "", &all), grpc::StatusCode::INVALID_ARGUMENT, "user_id");
}

TEST_F(TokenTest, ExportUserHasTheLongTermVectors) {
  ASSERT_TRUE(
      PublishRandomSnapshot(ModelDirectory(dir_.File("models")),
                            {.version = 3, .num_users = 5, .write_user_vectors = RandomUserVectors(5, 3)})
          .ok());
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  v1::ExportUserResponse all;
  ASSERT_OK(Export(server, "user-1", &all));
  ASSERT_EQ(all.long_term_vectors_size(), 1) << all.ShortDebugString();
  EXPECT_EQ(all.long_term_vectors(0).snapshot_version(), 3);
  EXPECT_GT(all.long_term_vectors(0).values_size(), 0);
}

TEST_F(TokenTest, ExportsThatNobodyReadsAreBounded) {
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  // Enough that the answer does not fit into the windows of HTTP/2.
  for (int batch = 0; batch < 20; ++batch) {
    std::vector<v1::Event> events;
    for (int i = 0; i < 1000; ++i) {
      events.push_back(
          MakeEvent("u", std::string(200, 'i') + std::to_string(i), "view", 1'700'000'000'000 + i));
    }
    ASSERT_OK(As(server, "ingest", "EventService/RecordEvents", Batch(events).SerializeAsString()));
  }
  std::vector<std::unique_ptr<v1::UserService::Stub>> stubs;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ExportUserResponse>>> readers;
  v1::ExportUserRequest request;
  request.set_user_id("u");
  v1::ExportUserResponse part;
  for (int i = 0; i < 4; ++i) {
    stubs.push_back(v1::UserService::NewStub(server.NewChannel()));
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    contexts.back()->AddMetadata("authorization", "Bearer " + secrets_["admin"]);
    readers.push_back(stubs.back()->ExportUser(contexts.back().get(), request));
    ASSERT_TRUE(readers.back()->Read(&part));  // it runs, and stops at what its caller reads
  }
  v1::ExportUserResponse all;
  EXPECT_CODE(Export(server, "u", &all), kExhausted, "4 exports are running");
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& reader : readers) {
    while (reader->Read(&part)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ASSERT_TRUE(Eventually([&] { return Export(server, "u", &all).ok(); }));
  EXPECT_EQ(all.logged_events_size(), 20000);
  EXPECT_EQ(server.Terminate(), 0) << "no export is left that the end would wait for";
}

// The commands of the README.
TEST_F(TokenTest, TheCommandLineMakesTokensAndUsesThem) {
  const auto run = [](std::vector<std::string> args, std::string* out) {
    std::istringstream in;
    std::ostringstream text, err;
    cli::CliIo io{.in = in, .out = text, .err = err};
    const int code = cli::Run(std::move(args), io);
    *out = text.str() + err.str();
    return code;
  };
  std::string out;
  ASSERT_EQ(run({"token", "new", "--name", "laptop", "--role", "admin", "--expires", "90d", "--file",
                 dir_.File("tokens"), "--json"},
                &out),
            0)
      << out;
  const std::string secret = nlohmann::json::parse(out)["token"];
  std::ofstream(dir_.File("laptop.token")) << secret << "\n";
  ServerProcess server(Options());
  ASSERT_TRUE(server.running());
  const std::string address = "127.0.0.1:" + std::to_string(server.grpc_port());
  EXPECT_EQ(run({"--server", address, "--token-file", dir_.File("laptop.token"), "status", "--live"}, &out),
            0)
      << out;
  EXPECT_THAT(out, HasSubstr("kernels"));
  EXPECT_EQ(run({"--server", address, "status"}, &out), 1);
  EXPECT_THAT(out, HasSubstr("UNAUTHENTICATED: GetStatus needs a token"));
  EXPECT_EQ(run({"--server", address, "status", "--live"}, &out), 0) << "a probe has no token: " << out;
  EXPECT_EQ(run({"--server", address, "--token-file", dir_.File("none"), "status"}, &out), 1);
  EXPECT_THAT(out, HasSubstr(dir_.File("none")));
  EXPECT_EQ(
      run({"--server", address, "--token-file", dir_.File("laptop.token"), "user", "export", "u9"}, &out), 0);
  EXPECT_THAT(out, HasSubstr("\"user_id\":\"u9\""));
  // What cannot be.
  const std::string file = dir_.File("tokens");
  EXPECT_EQ(run({"token", "new", "--name", "a b", "--role", "admin", "--file", file}, &out), 2);
  EXPECT_EQ(run({"token", "new", "--name", "a", "--role", "root", "--file", file}, &out), 2);
  EXPECT_THAT(out, HasSubstr("is not one of recommend, ingest, admin"));
  EXPECT_EQ(
      run({"token", "new", "--name", "a", "--role", "admin", "--expires", "tomorrow", "--file", file}, &out),
      2);
  EXPECT_EQ(
      run({"token", "new", "--name", "a", "--role", "admin", "--file", dir_.File("no/such/file")}, &out), 1);
}

}  // namespace
}  // namespace swiftlet::testing

#include "client/client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "client/rpc_status.h"
#include "tests/unit/client/fake_server.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Client> MustConnect(ClientOptions options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(std::move(options));
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

std::unique_ptr<Client> ClientOf(const FakeServer& server) {
  return MustConnect({.address = server.address()});
}

v1::RecordEventsRequest TwoEvents() {
  v1::RecordEventsRequest request;
  for (const char* item : {"a", "b"}) {
    v1::Event& event = *request.add_events();
    event.set_user_id("u");
    event.set_item_id(item);
    event.set_type("view");
  }
  return request;
}

// Passes one connection on to a port of this machine, after a while: so long takes the way to another
// continent.
class LateRelay {
 public:
  LateRelay(int port, std::chrono::milliseconds after) {
    socklen_t size = sizeof(address_);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address_), size), 0);
    EXPECT_EQ(listen(listener_, 4), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
    relay_ = std::thread([this, port, after] {
      std::this_thread::sleep_for(after);
      const int near = accept(listener_, nullptr, nullptr), far = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in to = Local(port);
      EXPECT_EQ(connect(far, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
      std::thread back([near, far] { Copy(far, near); });
      Copy(near, far);
      back.join();
      close(near);
      close(far);
    });
  }
  ~LateRelay() {
    shutdown(listener_, SHUT_RDWR);
    relay_.join();
    close(listener_);
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", ntohs(address_.sin_port)); }

 private:
  static sockaddr_in Local(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static void Copy(int from, int to) {
    char bytes[4096];
    for (ssize_t n; (n = recv(from, bytes, sizeof(bytes), 0)) > 0;) {
      if (send(to, bytes, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
    }
    shutdown(from, SHUT_RD);
    shutdown(to, SHUT_WR);
  }

  const int listener_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address_ = Local(0);
  std::thread relay_;
};

// Fails the first `failures` calls.
template <typename Method>
void FailFirst(Method& method, int failures, grpc::StatusCode code) {
  auto left = std::make_shared<std::atomic<int>>(failures);
  method.handler = [left, code](auto&, const auto&, auto&) {
    return left->fetch_sub(1) > 0 ? grpc::Status(code, "try later") : grpc::Status::OK;
  };
}

TEST(ClientTest, RetriesAnEventCallWithTheSameEventIds) {
  FakeServer server;
  FailFirst(server.event.RecordEventsMethod, 2, grpc::StatusCode::UNAVAILABLE);
  const auto answer = ClientOf(server)->RecordEvents(TwoEvents());
  ASSERT_TRUE(answer.ok()) << answer.status();
  const auto requests = server.event.RecordEventsMethod.requests();
  ASSERT_EQ(requests.size(), 3u);
  std::set<std::string> first, second;
  for (const v1::RecordEventsRequest& request : requests) {
    ASSERT_EQ(request.events_size(), 2);
    first.insert(request.events(0).event_id());
    second.insert(request.events(1).event_id());
  }
  EXPECT_EQ(first.size(), 1u);
  EXPECT_EQ(second.size(), 1u);
  EXPECT_NE(*first.begin(), *second.begin());
  EXPECT_EQ(first.begin()->size(), 32u);
}

TEST(ClientTest, KeepsEventIdsThatTheCallerSet) {
  FakeServer server;
  v1::RecordEventsRequest request = TwoEvents();
  request.mutable_events(0)->set_event_id("mine");
  ASSERT_TRUE(ClientOf(server)->RecordEvents(request).ok());
  EXPECT_EQ(server.event.RecordEventsMethod.requests()[0].events(0).event_id(), "mine");
  EXPECT_EQ(server.event.RecordEventsMethod.requests()[0].events(1).event_id().size(), 32u);
}

TEST(ClientTest, RetriesABatchThatIsLargerThanGrpcsDefaultRetryBuffer) {
  FakeServer server;
  FailFirst(server.event.RecordEventsMethod, 1, grpc::StatusCode::UNAVAILABLE);
  v1::RecordEventsRequest request;
  for (int i = 0; i < 1000; ++i) {
    v1::Event& event = *request.add_events();
    event.set_user_id(std::string(256, 'u'));
    event.set_item_id(std::string(256, 'i'));
    event.set_type("view");
  }
  ASSERT_GT(request.ByteSizeLong(), 256u << 10);
  const auto answer = ClientOf(server)->RecordEvents(request);
  EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(server.event.RecordEventsMethod.requests().size(), 2u);
}

TEST(ClientTest, RetriesWhenTheServerIsAtItsLimit) {
  FakeServer server;
  FailFirst(server.recommendation.RecommendMethod, 1, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(ClientOf(server)->Recommend({}).ok());
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 2u);
}

TEST(ClientTest, GivesUpAfterMaxAttempts) {
  FakeServer server;
  FailFirst(server.recommendation.RecommendMethod, 1000, grpc::StatusCode::UNAVAILABLE);
  const auto client = MustConnect({.address = server.address(), .max_attempts = 3});
  EXPECT_TRUE(absl::IsUnavailable(client->Recommend({}).status()));
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 3u);
  const auto once = MustConnect({.address = server.address(), .max_attempts = 1});
  EXPECT_TRUE(absl::IsUnavailable(once->Recommend({}).status()));
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 4u);
}

TEST(ClientTest, StopsRetryingWhenMostCallsFail) {
  FakeServer server;
  FailFirst(server.recommendation.RecommendMethod, 1000000, grpc::StatusCode::UNAVAILABLE);
  const auto client = MustConnect({.address = server.address(), .max_attempts = 2});
  constexpr size_t kCalls = 30;
  for (size_t i = 0; i < kCalls; ++i) EXPECT_FALSE(client->Recommend({}).ok());
  const size_t before = server.recommendation.RecommendMethod.requests().size();
  EXPECT_GT(before, kCalls);
  EXPECT_LT(before, kCalls * 2);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(client->Recommend({}).ok());
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), before + 5);
}

TEST(ClientTest, NeverRetriesLoadSnapshotOrOtherErrors) {
  FakeServer server;
  FailFirst(server.admin.LoadSnapshotMethod, 1, grpc::StatusCode::UNAVAILABLE);
  FailFirst(server.recommendation.RecommendMethod, 1, grpc::StatusCode::INTERNAL);
  const auto client = ClientOf(server);
  EXPECT_TRUE(absl::IsUnavailable(client->LoadSnapshot({}).status()));
  EXPECT_TRUE(absl::IsInternal(client->Recommend({}).status()));
  EXPECT_EQ(server.admin.LoadSnapshotMethod.requests().size(), 1u);
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 1u);
}

TEST(ClientTest, RetriesEveryIdempotentMethod) {
  FakeServer server;
  const auto client = ClientOf(server);
#define EXPECT_RETRIED(service, Name, call)                                 \
  FailFirst(server.service.Name##Method, 1, grpc::StatusCode::UNAVAILABLE); \
  EXPECT_TRUE((call).ok()) << #Name;                                        \
  EXPECT_EQ(server.service.Name##Method.requests().size(), 2u) << #Name
  EXPECT_RETRIED(recommendation, SimilarItems, client->SimilarItems({}));
  EXPECT_RETRIED(recommendation, ScoreItems, client->ScoreItems({}));
  EXPECT_RETRIED(recommendation, Predict, client->Predict({}));
  EXPECT_RETRIED(catalog, UpsertItems, client->UpsertItems({}));
  EXPECT_RETRIED(catalog, DeleteItems, client->DeleteItems({}));
  EXPECT_RETRIED(catalog, GetItems, client->GetItems({}));
  EXPECT_RETRIED(user, GetUser, client->GetUser({}));
  EXPECT_RETRIED(user, DeleteUser, client->DeleteUser({}));
  EXPECT_RETRIED(admin, ListSnapshots, client->ListSnapshots());
  EXPECT_RETRIED(admin, GetStatus, client->GetStatus());
#undef EXPECT_RETRIED
}

TEST(ClientTest, ErrorsKeepCodeAndMessageAndNameMethodAndAddress) {
  FakeServer server;
  server.recommendation.RecommendMethod.handler = [](auto&, const auto&, auto&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "k: 0 is not in [1, 1000]");
  };
  const absl::Status status = ClientOf(server)->Recommend({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            "k: 0 is not in [1, 1000] [Recommend at " + server.address() + "]");
  EXPECT_EQ(ServerMessage(status), "k: 0 is not in [1, 1000]");
}

TEST(ClientTest, EveryCallHasADeadlineThatIncludesItsRetries) {
  FakeServer server;
  server.recommendation.RecommendMethod.handler = [](grpc::ServerContext& context, const auto&, auto&) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  std::atomic<int64_t> seconds_given = 0;
  server.user.GetUserMethod.handler = [&](grpc::ServerContext& context, const auto&, auto&) {
    seconds_given = std::chrono::duration_cast<std::chrono::seconds>(context.deadline() -
                                                                     std::chrono::system_clock::now())
                        .count();
    return grpc::Status::OK;
  };
  const auto client = MustConnect({.address = server.address(), .default_timeout = absl::Seconds(100)});
  const absl::Time start = absl::Now();
  const absl::Status status = client->Recommend({}, {.timeout = absl::Milliseconds(50)}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  ASSERT_TRUE(client->GetUser({}).ok());
  EXPECT_GT(seconds_given, 90);
  EXPECT_LE(seconds_given, 100);
}

TEST(ClientTest, RefusesTimeoutsThatAreNotPositive) {
  FakeServer server;
  const absl::Status status = ClientOf(server)->Recommend({}, {.timeout = absl::ZeroDuration()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(server.recommendation.RecommendMethod.requests().empty());
}

TEST(ClientTest, AnUnlimitedTimeoutWorks) {
  FakeServer server;
  EXPECT_TRUE(ClientOf(server)->Recommend({}, {.timeout = absl::InfiniteDuration()}).ok());
}

TEST(ClientTest, ConnectRefusesBadOptions) {
  const auto code = [](ClientOptions options) { return Client::Connect(std::move(options)).status().code(); };
  for (const char* address : {"", "localhost:65536", "127.0.0.1:99999", "[::1]:123456"}) {
    EXPECT_EQ(code({.address = address}), absl::StatusCode::kInvalidArgument) << address;
  }
  for (const char* address : {"localhost", "localhost:65535", "unix:/tmp/a:70000", "dns:///shop:1"}) {
    EXPECT_EQ(code({.address = address}), absl::StatusCode::kOk) << address;
  }
  EXPECT_EQ(code({.default_timeout = absl::ZeroDuration()}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_attempts = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.max_attempts = 6}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.service_config_json = "{not json"}), absl::StatusCode::kInvalidArgument);
}

TEST(ClientTest, WithoutAServerACallFailsUnlessItWaits) {
  std::string address;
  {
    FakeServer server;
    address = server.address();
  }
  const auto client = MustConnect({.address = address});
  EXPECT_TRUE(absl::IsUnavailable(client->Recommend({}).status()));
  const absl::Status waited =
      client->Recommend({}, {.timeout = absl::Milliseconds(100), .wait_for_ready = true}).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(waited)) << waited;
}

TEST(ClientTest, ServersMayBeFarAway) {
  FakeServer server;
  const LateRelay relay(server.port(), std::chrono::milliseconds(400));
  const auto answer = MustConnect({.address = relay.address()})->Recommend({});
  EXPECT_TRUE(answer.ok()) << answer.status();
}

TEST(ClientTest, ReadsTheHealthOfServices) {
  FakeServer server;
  server.SetServing("swiftlet.v1.RecommendationService", false);
  const auto client = ClientOf(server);
  EXPECT_EQ(client->CheckHealth("").value(), ServingStatus::kServing);
  EXPECT_EQ(client->CheckHealth("swiftlet.v1.RecommendationService").value(), ServingStatus::kNotServing);
  EXPECT_EQ(client->CheckHealth("no.such.Service").value(), ServingStatus::kServiceUnknown);
}

TEST(ClientTest, SendsItsUserAgent) {
  FakeServer server;
  std::string agent;
  server.admin.GetStatusMethod.handler = [&](grpc::ServerContext& context, const auto&, auto&) {
    const auto found = context.client_metadata().find("user-agent");
    if (found != context.client_metadata().end()) agent.assign(found->second.data(), found->second.size());
    return grpc::Status::OK;
  };
  ASSERT_TRUE(MustConnect({.address = server.address(), .user_agent = "shop/2.1"})->GetStatus().ok());
  EXPECT_THAT(agent, ::testing::StartsWith("shop/2.1 grpc-c++/"));
}

TEST(ClientTest, ThreadsShareOneClient) {
  FakeServer server;
  server.recommendation.RecommendMethod.handler = [](auto&, const v1::RecommendRequest& request,
                                                     v1::RecommendResponse& response) {
    response.set_request_id(request.request_id());
    return grpc::Status::OK;
  };
  const auto client = ClientOf(server);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        v1::RecommendRequest request;
        request.set_request_id(std::to_string(t * 1000 + i));
        const auto answer = client->Recommend(request);
        if (!answer.ok() || answer->request_id() != request.request_id()) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(server.recommendation.RecommendMethod.requests().size(), 200u);
}

TEST(RpcStatusTest, EveryCodeTranslates) {
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK, "M", "a").ok());
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status =
        FromGrpcStatus(grpc::Status(static_cast<grpc::StatusCode>(code), "why [not at all]"), "M", "a:1");
    EXPECT_EQ(status.raw_code(), code);
    EXPECT_EQ(ServerMessage(status), "why [not at all]");
  }
  EXPECT_EQ(CodeName(absl::StatusCode::kResourceExhausted), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(ServerMessage(absl::NotFoundError("events.tsv[3]")), "events.tsv[3]");
}

}  // namespace
}  // namespace swiftlet

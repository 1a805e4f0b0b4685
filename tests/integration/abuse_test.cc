// Those who do not speak the protocol, or too much, or not at all.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/integration/server_process.h"
#include "tests/testing/certificates.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// A frame of HTTP/2 (RFC 9113, section 4.1): 24 bits of length, type, flags, 31 bits of stream.
std::string Frame(uint32_t length, int type, int flags, uint32_t stream, const std::string& payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += static_cast<char>(length >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(stream >> shift);
  return frame + payload;
}
const std::string kSettings = Frame(0, 4, 0, 0, "");

// A TCP connection without any protocol.
class RawConnection {
 public:
  explicit RawConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = fd_ >= 0 && connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~RawConnection() { close(fd_); }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  bool connected() const { return connected_; }
  void Send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return;  // it was closed already
      sent += static_cast<size_t>(n);
    }
  }
  // Whether the server closes the connection within 30 s; what it sends before is dropped.
  bool IsClosed() const { return ReadToEnd(30000); }
  // Whether it is closed now.
  bool IsClosedNow() const { return ReadToEnd(0); }

 private:
  bool ReadToEnd(int timeout_ms) const {
    char buffer[4096];
    for (;;) {
      pollfd p = {.fd = fd_, .events = POLLIN, .revents = 0};
      if (poll(&p, 1, timeout_ms) <= 0) return false;
      if (recv(fd_, buffer, sizeof(buffer), 0) <= 0) return true;
    }
  }
  const int fd_;
  bool connected_ = false;
};

int NumDescriptors(const ServerProcess& server) {
  return static_cast<int>(server.Metric("process_open_fds"));
}

// Over a new connection.
grpc::Status NewCall(const ServerProcess& server) { return CallOver(server.NewChannel()); }

// The most descriptors that this process may have, up to `wanted`.
rlim_t RaiseDescriptors(rlim_t wanted) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  return limit.rlim_cur;
}

TEST(Abuse, WhatIsNotTheProtocolIsClosedAndHarmsNobody) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { handshake_timeout_ms: 1000 }"});
  ASSERT_TRUE(server.running());
  std::mt19937 random(7);
  std::vector<std::string> garbage = {
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(500, 'x'),  // TLS
      std::string(100'000, '\0'),
      kPreface + Frame(0xffffff, 0, 0, 1, "a frame of 16 MiB"),
      kPreface + Frame(8, 4, 0, 0, "not settings"),
      kPreface + kSettings + Frame(5, 0, 1, 1, "hello"),               // DATA of a stream that nobody began
      kPreface + kSettings + Frame(4, 9, 0, 1, "cont"),                // CONTINUATION of nothing
      kPreface + kSettings + Frame(4, 8, 0, 0, std::string(4, '\0')),  // WINDOW_UPDATE by 0
      kPreface + kSettings + Frame(6, 1, 5, 1, "\xff\xff\xff\xff\xff\xff"),  // HEADERS that HPACK cannot read
      kPreface + kSettings + Frame(6, 1, 5, 2, "\x82\x86\x84\x41\x01x"),     // HEADERS of an even stream
  };
  for (int i = 0; i < 40; ++i) {
    std::string bytes(1 + random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    garbage.push_back(i % 2 == 0 ? bytes : kPreface + kSettings + bytes);
  }
  const int before = NumDescriptors(server);
  std::vector<std::unique_ptr<RawConnection>> connections;
  for (const std::string& bytes : garbage) {
    connections.push_back(std::make_unique<RawConnection>(server.grpc_port()));
    ASSERT_TRUE(connections.back()->connected());
    connections.back()->Send(bytes);
    EXPECT_OK(NewCall(server));
  }
  // Garbage that begins a long frame may leave the server waiting for its end: the client closes then.
  connections.resize(6);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(connections[i]->IsClosed()) << i;
  connections.clear();
  EXPECT_TRUE(Eventually([&] { return NumDescriptors(server) <= before + 1; })) << NumDescriptors(server);
  EXPECT_OK(NewCall(server));
  EXPECT_EQ(server.Terminate(), 0);
}

TEST(Abuse, MessagesAndMetadataHaveALimit) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { max_message_bytes: 100000 }"});
  ASSERT_TRUE(server.running());
  std::string answer;
  const std::string path = "/swiftlet.v1.CatalogService/GetItems";
  EXPECT_EQ(server.CallRaw(path, std::string(100'001, '\x0a'), &answer).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(server.CallRaw(path, std::string(50'000, '\x0a'), &answer).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(CallOver(server.channel(), "Bearer " + std::string(100'000, 'x')).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_OK(NewCall(server));
}

TEST(Abuse, WhoIsSlowToBeginIsClosed) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { handshake_timeout_ms: 300 }"});
  ASSERT_TRUE(server.running());
  RawConnection silent(server.grpc_port()), half(server.grpc_port()), no_settings(server.grpc_port()),
      fair(server.grpc_port());
  half.Send(kPreface.substr(0, 10));
  no_settings.Send(kPreface);
  fair.Send(kPreface + kSettings);
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_TRUE(half.IsClosed());
  EXPECT_TRUE(no_settings.IsClosed());
  EXPECT_FALSE(fair.IsClosedNow());
  EXPECT_OK(NewCall(server));
}

TEST(Abuse, WhoIsSlowToBeginTlsIsClosed) {
  TempDir dir;
  const TestAuthority authority("CA");
  const TestCertificate certificate = authority.Issue({.common_name = "server"});
  std::ofstream(dir.File("c")) << certificate.certificate;
  std::ofstream(dir.File("k")) << certificate.key;
  ServerProcess server(
      {.dir = dir.path(),
       .config = "limits { handshake_timeout_ms: 300 }",
       .args = {"--tls-cert", dir.File("c"), "--tls-key", dir.File("k")},
       .credentials = grpc::SslCredentials(
           {.pem_root_certs = authority.certificate(), .pem_private_key = "", .pem_cert_chain = ""})});
  ASSERT_TRUE(server.running());
  RawConnection silent(server.grpc_port()), half(server.grpc_port()), plain(server.grpc_port());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  plain.Send(kPreface + kSettings);
  EXPECT_TRUE(silent.IsClosed());
  EXPECT_TRUE(half.IsClosed());
  EXPECT_TRUE(plain.IsClosed());
  EXPECT_OK(NewCall(server));
}

TEST(Abuse, IdleConnectionsAreClosedWhereAskedFor) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { max_idle_ms: 200 }"});
  ASSERT_TRUE(server.running());
  RawConnection idle(server.grpc_port());
  idle.Send(kPreface + kSettings);
  EXPECT_TRUE(idle.IsClosed());
  EXPECT_OK(NewCall(server));
}

TEST(Abuse, ThousandsOfIdleConnectionsLeaveCallsAlone) {
  constexpr int kIdle = 2000;
  if (RaiseDescriptors(kIdle + 500) < kIdle + 500) GTEST_SKIP() << "too few descriptors: see ulimit -Hn";
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  std::vector<std::unique_ptr<RawConnection>> idle;
  v1::RecommendResponse response;
  for (int i = 0; i < kIdle; ++i) {
    idle.push_back(std::make_unique<RawConnection>(server.grpc_port()));
    ASSERT_TRUE(idle.back()->connected()) << i;
    idle.back()->Send(kPreface + kSettings);
    if (i % 50 == 0) {
      ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
    }
  }
  EXPECT_TRUE(Eventually([&] { return NumDescriptors(server) > kIdle; }));
  for (int i = 0; i < 20; ++i) ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
  EXPECT_OK(NewCall(server));
  EXPECT_EQ(server.Metric("swiftlet_connections_refused_total"), 0);
  idle.clear();
  EXPECT_TRUE(Eventually([&] { return NumDescriptors(server) < 200; }));
}

TEST(Abuse, WhoHoldsTheMetricsPortKeepsNobodyFromWatching) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  std::vector<std::unique_ptr<RawConnection>> held;
  for (int i = 0; i < 60; ++i) {
    held.push_back(std::make_unique<RawConnection>(server.metrics_port()));
    if (i % 2 == 0) held.back()->Send("GET /metrics HTTP/1.1\r\nX-Slow: ");
  }
  EXPECT_TRUE(Eventually([&] { return server.Metric("swiftlet_storage_writable") == 1; }));
  // They go on, little by little.
  for (int round = 0; round < 3; ++round) {
    for (const auto& connection : held) connection->Send("x");
    EXPECT_TRUE(Eventually([&] { return server.Metric("swiftlet_storage_writable") == 1; })) << round;
  }
  // Whatever holds them does not hold up the end either.
  const absl::Time begin = absl::Now();
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
}

TEST(Abuse, ConnectionsBeyondTheLimitAreClosedAtOnce) {
  constexpr int kLimit = 20, kMore = 30;
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = "limits { max_connections: 20 }"});
  ASSERT_TRUE(server.running());
  ASSERT_OK(NewCall(server));
  server.GetStatus();  // channel() is one of them
  std::vector<std::unique_ptr<RawConnection>> connections;
  for (int i = 0; i < kLimit + kMore; ++i) {
    connections.push_back(std::make_unique<RawConnection>(server.grpc_port()));
    connections.back()->Send(kPreface + kSettings);
  }
  const auto refused = [&] { return server.Metric("swiftlet_connections_refused_total"); };
  EXPECT_TRUE(Eventually([&] { return refused() >= kMore; })) << refused();
  EXPECT_LE(refused(), kMore + 3) << "of those that had been closed before some may have counted";
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(connections[static_cast<size_t>(i)]->IsClosedNow()) << i;
  EXPECT_TRUE(connections.back()->IsClosed());
  server.GetStatus();  // goes on over the connection that is there
  connections.clear();
  EXPECT_TRUE(Eventually([&] { return NewCall(server).ok(); })) << "the places are free again";
}

TEST(Abuse, RunningOutOfDescriptorsIsSurvived) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .max_descriptors = 160});
  ASSERT_TRUE(server.running());
  server.GetStatus();
  EXPECT_THAT(server.Log(), HasSubstr("limits.max_connections: 80 at most"));
  std::vector<std::unique_ptr<RawConnection>> connections;
  for (int i = 0; i < 300; ++i) connections.push_back(std::make_unique<RawConnection>(server.grpc_port()));
  EXPECT_TRUE(connections.back()->IsClosed());
  server.GetStatus();
  v1::RecordEventsResponse recorded;
  EXPECT_OK(server.RecordEvents(Batch({MakeEvent("u", "i")}), &recorded));
  connections.clear();
  EXPECT_TRUE(Eventually([&] { return NewCall(server).ok(); })) << "it listens no more";
}

}  // namespace
}  // namespace swiftlet::testing

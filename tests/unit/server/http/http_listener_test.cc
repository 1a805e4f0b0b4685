#include "server/http/http_listener.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <string_view>

namespace swiftlet {
namespace {

constexpr std::string_view kRequest = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

// Answers nothing by itself.
class Handler final : public HttpHandler {
 public:
  std::optional<HttpResponse> CheckHead(const HttpRequest&) override { return std::nullopt; }
  bool WantsBody(const HttpRequest&) override { return true; }
  void Handle(HttpRequest, std::shared_ptr<HttpReply> reply) override {
    if (is_taken_.exchange(true)) return;  // the first only
    reply->WhenGone([this] { gone.set_value(); });
    taken.set_value(std::move(reply));
  }
  HttpResponse BadRequest(int status, std::string_view why) override {
    return {.status = status, .content_type = "text/plain", .headers = {}, .body = std::string(why)};
  }

  std::promise<std::shared_ptr<HttpReply>> taken;
  std::promise<void> gone;

 private:
  std::atomic<bool> is_taken_{false};
};

class HttpListenerTest : public ::testing::Test {
 protected:
  explicit HttpListenerTest(int64_t max_connections = 1024) {
    HttpListenerOptions options;
    options.address = "127.0.0.1:0";
    options.max_connections = max_connections;
    listener_ = *HttpListener::Start(std::move(options), &handler_);
  }
  // A connection that has sent this.
  int Connect(std::string_view bytes) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(listener_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    return fd;
  }

  Handler handler_;
  std::unique_ptr<HttpListener> listener_;
};

TEST_F(HttpListenerTest, AClientThatHangsUpIsNoticed) {
  const int fd = Connect(kRequest);
  const std::shared_ptr<HttpReply> reply = handler_.taken.get_future().get();
  // Also one that has sent more, which nobody reads before the answer.
  ASSERT_EQ(send(fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL), static_cast<ssize_t>(kRequest.size()));
  std::future<void> gone = handler_.gone.get_future();
  EXPECT_EQ(gone.wait_for(std::chrono::seconds(1)), std::future_status::timeout) << "it waits";
  close(fd);
  gone.wait();
  reply->Send({.status = 200, .headers = {}, .body = "too late"});
}

TEST_F(HttpListenerTest, OneThatHasItsAnswerMayGo) {
  const int fd = Connect(kRequest);
  handler_.taken.get_future().get()->Send({.status = 200, .headers = {}, .body = "in time"});
  std::string answer(4096, '\0');
  answer.resize(static_cast<size_t>(recv(fd, answer.data(), answer.size(), 0)));
  EXPECT_NE(answer.find("in time"), std::string::npos);
  close(fd);
  while (listener_->num_connections() > 0) usleep(1000);
  EXPECT_EQ(handler_.gone.get_future().wait_for(std::chrono::milliseconds(600)), std::future_status::timeout);
}

TEST_F(HttpListenerTest, ACutOffIsAHangUp) {
  const int fd = Connect(kRequest);
  const std::shared_ptr<HttpReply> reply = handler_.taken.get_future().get();
  listener_->Shutdown(absl::ZeroDuration());
  EXPECT_EQ(handler_.gone.get_future().wait_for(std::chrono::seconds(0)), std::future_status::ready);
  close(fd);
}

TEST_F(HttpListenerTest, HalfARequestDoesNotHoldUpTheEnd) {
  const int fd = Connect("GET /slow HT");
  while (listener_->num_connections() < 1) usleep(1000);
  usleep(20'000);
  const auto begin = std::chrono::steady_clock::now();
  listener_->Shutdown(absl::Seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  close(fd);
}

class FullHttpListenerTest : public HttpListenerTest {
 protected:
  FullHttpListenerTest() : HttpListenerTest(/*max_connections=*/3) {}
  static bool IsClosed(int fd) {
    pollfd state = {.fd = fd, .events = POLLIN | POLLRDHUP, .revents = 0};
    return poll(&state, 1, 2000) > 0 && (state.revents & (POLLRDHUP | POLLHUP)) != 0;
  }
};

// Neither silence nor half a request keeps others out; a call in progress is left alone.
TEST_F(FullHttpListenerTest, TheOneThatHasWaitedLongestMakesRoom) {
  const int busy = Connect(kRequest);
  const std::shared_ptr<HttpReply> reply = handler_.taken.get_future().get();
  const int slow = Connect("POST /slow HTTP/1.1\r\nContent-Length: 9\r\n\r\nh");
  while (listener_->num_connections() < 2) usleep(1000);
  usleep(20'000);
  const int silent = Connect("");
  while (listener_->num_connections() < 3) usleep(1000);
  sleep(1);
  usleep(200'000);
  const int first = Connect(kRequest);
  EXPECT_TRUE(IsClosed(slow));
  const int second = Connect(kRequest);
  EXPECT_TRUE(IsClosed(silent));
  EXPECT_EQ(listener_->num_refused(), 2u);
  reply->Send({.status = 200, .headers = {}, .body = "still here"});
  std::string answer(4096, '\0');
  answer.resize(static_cast<size_t>(std::max<ssize_t>(0, recv(busy, answer.data(), answer.size(), 0))));
  EXPECT_NE(answer.find("still here"), std::string::npos);
  for (const int fd : {busy, slow, silent, first, second}) close(fd);
}

}  // namespace
}  // namespace swiftlet

// Listening on a Unix domain socket, beside or instead of TCP.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;

class UnixSocketTest : public ::testing::Test {
 protected:
  std::string Path() const { return dir_.File("swiftlet.sock"); }
  grpc::Status RecommendBySocket() const {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto stub = v1::RecommendationService::NewStub(
        grpc::CreateCustomChannel("unix:" + Path(), grpc::InsecureChannelCredentials(), args));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    context.set_wait_for_ready(true);
    v1::RecommendResponse response;
    const grpc::Status status = stub->Recommend(&context, UserRequest("u", 3), &response);
    EXPECT_EQ(response.items_size(), status.ok() ? 3 : 0);
    return status;
  }
  unsigned Mode() const {
    struct stat found = {};
    return stat(Path().c_str(), &found) == 0 ? found.st_mode & 0777 : 0;
  }
  void Publish() {
    ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir_.path() + "/models"), {.version = 1}).ok());
  }
  // A server that cannot start: what it says.
  std::string ErrorWith(const std::string& unix_socket) {
    TempDir other;
    const ProgramResult result =
        RunServerBinary({"--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", other.File("d"),
                         "--model-dir", other.File("m"), "--unix-socket", unix_socket});
    EXPECT_EQ(result.exit_code, 1);
    return result.err;
  }

  TempDir dir_;
};

TEST_F(UnixSocketTest, IsListenedOnBesideTcpAndGoesWithTheServer) {
  Publish();
  ServerProcess server({.dir = dir_.path(), .args = {"--unix-socket", Path()}});
  ASSERT_TRUE(server.running());
  ASSERT_OK(RecommendBySocket());
  v1::RecommendResponse response;
  ASSERT_OK(server.Recommend(UserRequest("u", 3), &response));
  EXPECT_EQ(Mode(), 0660u);
  EXPECT_THAT(server.Log(), HasSubstr("and unix:" + Path()));
  EXPECT_EQ(server.Terminate(), 0);
  EXPECT_FALSE(std::filesystem::exists(Path()));
}

TEST_F(UnixSocketTest, WhatAKilledServerLeftBehindIsReplaced) {
  Publish();
  {
    ServerProcess server({.dir = dir_.path(), .args = {"--unix-socket", Path()}});
    ASSERT_TRUE(server.running());
    server.Kill();
  }
  ASSERT_TRUE(std::filesystem::is_socket(Path()));
  ServerProcess server(
      {.dir = dir_.path(), .config = "unix_socket: \"" + Path() + "\" unix_socket_mode: \"600\""});
  ASSERT_TRUE(server.running());
  ASSERT_OK(RecommendBySocket());
  EXPECT_EQ(Mode(), 0600u);
}

TEST_F(UnixSocketTest, ASocketThatSomebodyListensOnIsNotTakenAway) {
  Publish();
  ServerProcess server({.dir = dir_.path(), .args = {"--unix-socket", Path()}});
  ASSERT_TRUE(server.running());
  EXPECT_THAT(ErrorWith(Path()),
              HasSubstr("unix_socket: cannot listen on " + Path() + ": another process listens on it"));
  ASSERT_OK(RecommendBySocket());
}

TEST_F(UnixSocketTest, WhatStandsInTheWayIsNamedAndLeftAlone) {
  std::ofstream(Path()) << "precious";
  EXPECT_THAT(ErrorWith(Path()), HasSubstr("not a socket"));
  std::string text;
  std::ifstream(Path()) >> text;
  EXPECT_EQ(text, "precious");
  EXPECT_THAT(ErrorWith(dir_.File("nowhere/s")), HasSubstr("No such file or directory"));
  const ProgramResult result =
      RunServerBinary({"--check-config", "--unix-socket", "/" + std::string(108, 's')});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("is longer than the 107 bytes of a socket's name"));
}

TEST_F(UnixSocketTest, MayBeTheOnlyAddress) {
  Publish();
  ServerProcess server({.dir = dir_.path(), .listen = "unix:" + Path()});
  ASSERT_TRUE(server.running());
  ASSERT_OK(RecommendBySocket());
  EXPECT_EQ(Mode(), 0660u);
  TempDir other;
  const ProgramResult result =
      RunServerBinary({"--listen", "unix:" + Path(), "--metrics", "off", "--data-dir", other.File("d"),
                       "--model-dir", other.File("m")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("listen_address: cannot listen on " + Path() + ": another process listens on it"));
  EXPECT_EQ(server.Terminate(), 0);
}

}  // namespace
}  // namespace swiftlet::testing

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/security/token_file.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/client/cli/run_cli.h"

namespace swiftlet::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class TokenCommandsTest : public ::testing::Test {
 protected:
  static CliResult New(const std::string& name, const std::string& file) {
    return RunCli({"token", "new", "--name", name, "--role", "recommend", "--file", file});
  }
  static std::vector<TokenEntry> Tokens(const std::string& file) {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    absl::StatusOr<std::vector<TokenEntry>> tokens = ParseTokenFile(text.str(), file);
    EXPECT_TRUE(tokens.ok()) << tokens.status();
    return tokens.ok() ? *std::move(tokens) : std::vector<TokenEntry>();
  }
  testing::TempDir dir_;
  const std::string path_ = dir_.File("tokens");
};

TEST_F(TokenCommandsTest, ANewFileIsForItsOwnerAlone) {
  EXPECT_EQ(New("shop", path_).code, 0);
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(TokenCommandsTest, NoneIsLostWhenManyAreMadeAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const CliResult result = New(absl::StrCat("client-", t, "-", i), path_);
        EXPECT_EQ(result.code, 0) << result.err;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Tokens(path_), SizeIs(20));
}

TEST_F(TokenCommandsTest, TheServerCanStillReadTheFile) {
  ASSERT_EQ(New("shop", path_).code, 0);
  ASSERT_EQ(chmod(path_.c_str(), 0640), 0);
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown(path_.c_str(), 65534, 65533), 0);
  }
  ASSERT_EQ(New("feed", path_).code, 0);
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(info.st_uid, root ? 65534 : geteuid());
  if (root) {
    EXPECT_EQ(info.st_gid, 65533u);
  }
}

TEST_F(TokenCommandsTest, LinksStayLinks) {
  ASSERT_TRUE(std::filesystem::create_directory(dir_.File("real")));
  const std::string real = dir_.File("real/tokens");
  std::filesystem::create_symlink("real/tokens", path_);
  ASSERT_EQ(New("first", path_).code, 0) << "the file is not there yet";
  ASSERT_EQ(New("second", path_).code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  EXPECT_THAT(Tokens(real), SizeIs(2));
}

TEST_F(TokenCommandsTest, WhatCannotBeWrittenIsNamed) {
  const std::string path = dir_.File("none/tokens");
  const CliResult result = New("shop", path);
  EXPECT_NE(result.code, 0);
  EXPECT_THAT(result.err, HasSubstr(path));
}

}  // namespace
}  // namespace swiftlet::cli

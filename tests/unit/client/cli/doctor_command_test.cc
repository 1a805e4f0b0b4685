// swiftlet doctor becomes the server's program: each test forks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/client/cli/run_cli.h"

namespace swiftlet::cli {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

class DoctorCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/swiftlet_doctor_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    std::ofstream(program()) << "#!/bin/sh\n[ \"$*\" = '--doctor --config c --data-dir d --model-dir m "
                                "--listen h:1 --json' ] && exit 7\n";
    std::filesystem::permissions(program(), std::filesystem::perms::owner_all);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string program() const { return dir_ + "/server program"; }

  std::string dir_;
};

TEST_F(DoctorCommandTest, PassesOnWhatItIsGivenAndEndsAsTheServerDoes) {
  EXPECT_EXIT(exit(RunCli({"doctor", "--server-program", program(), "--config", "c", "--data-dir", "d",
                           "--model-dir", "m", "--listen", "h:1", "--json"})
                       .code),
              ExitedWithCode(7), "");
}

TEST_F(DoctorCommandTest, SaysSoWhereThereIsNoServer) {
  const CliResult result = RunCli({"doctor", "--server-program", dir_ + "/nothing"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.err, HasSubstr("doctor: NOT_FOUND: " + dir_ + "/nothing: cannot run it: No such file"));
}

}  // namespace
}  // namespace swiftlet::cli

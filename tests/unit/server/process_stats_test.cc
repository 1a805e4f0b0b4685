#include "server/process_stats.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

TEST(ProcessStats, CountsOpenFilesAndCpuTime) {
  const ProcessStats before = ReadProcessStats();
  EXPECT_GE(before.open_fds, 3);
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  EXPECT_EQ(ReadProcessStats().open_fds, before.open_fds + 2);
  close(fds[0]);
  close(fds[1]);
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(before.max_fds, static_cast<int64_t>(limit.rlim_cur));
  volatile uint64_t work = 0;
  while (ReadProcessStats().cpu_seconds < before.cpu_seconds + 0.01) work = work + 1;
  EXPECT_GT(work, 0u);
}

TEST(DiskSpace, IsThatOfThePathsFileSystem) {
  const testing::TempDir dir;
  const std::optional<DiskSpace> disk = ReadDiskSpace(dir.path());
  ASSERT_TRUE(disk.has_value());
  EXPECT_EQ(disk->size, std::filesystem::space(dir.path()).capacity);
  EXPECT_LE(disk->available, disk->size);
  // Others write there meanwhile.
  const auto expected = static_cast<double>(std::filesystem::space(dir.path()).available);
  EXPECT_NEAR(static_cast<double>(disk->available), expected, std::max(1e9, expected * 0.1));
  EXPECT_FALSE(ReadDiskSpace(dir.path() + "/none").has_value());
}

}  // namespace
}  // namespace swiftlet

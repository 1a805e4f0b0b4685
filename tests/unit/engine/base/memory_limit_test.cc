#include "engine/base/memory_limit.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

void Write(const std::string& path, const char* text) { std::ofstream(path) << text; }

TEST(MemoryLimitTest, IsWhatEitherVersionOfControlGroupsAllows) {
  testing::TempDir dir;
  EXPECT_EQ(CgroupMemoryLimit(dir.path()), std::nullopt);
  Write(dir.File("memory.max"), "max\n");
  EXPECT_EQ(CgroupMemoryLimit(dir.path()), std::nullopt);
  Write(dir.File("memory.max"), "536870912\n");
  EXPECT_EQ(CgroupMemoryLimit(dir.path()), 536870912u);
  std::filesystem::create_directory(dir.File("memory"));
  Write(dir.File("memory/memory.limit_in_bytes"), "1000000\n");
  EXPECT_EQ(CgroupMemoryLimit(dir.path()), 1000000u);
  Write(dir.File("memory.max"), "max\n");
  EXPECT_EQ(CgroupMemoryLimit(dir.path()), 1000000u);
}

TEST(MemoryLimitTest, OfThisProcessIsNotNothing) { EXPECT_GT(MemoryLimit(), 1u << 20); }

}  // namespace
}  // namespace swiftlet

#include "engine/base/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>

namespace swiftlet {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// A line of /proc/self/smaps of the mapping that begins at `start`, in KiB; 0 when there is none.
size_t Kilobytes(std::string_view name, const void* start) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  for (bool here = false; std::getline(maps, line);) {
    const size_t dash = line.find('-');
    if (dash != std::string::npos && dash < line.find(' ')) {
      here = std::stoull(line, nullptr, 16) == reinterpret_cast<uintptr_t>(start);
    } else if (here && line.starts_with(name)) {
      return std::stoull(line.substr(name.size()));
    }
  }
  return 0;
}

TEST(HugePagesTest, AskingIsEnoughWhereTheSystemSaysAlwaysOrMadvise) {
  EXPECT_TRUE(AllowsHugePages("[always] madvise never"));
  EXPECT_TRUE(AllowsHugePages("always [madvise] never"));
  EXPECT_FALSE(AllowsHugePages("always madvise [never]"));
  EXPECT_FALSE(AllowsHugePages(""));
}

TEST(HugePagesTest, AreZerosOfTheSizeOnTheirBoundary) {
  for (const size_t size : {size_t{1}, kHugePage - 1, kHugePage, kHugePage + 1, 5 * kHugePage + 7}) {
    auto pages = HugePages::Allocate(size);
    ASSERT_TRUE(pages.ok()) << pages.status();
    const std::span<std::byte> bytes = pages->bytes();
    ASSERT_EQ(bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % kHugePage, 0u);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    std::fill(bytes.begin(), bytes.end(), std::byte{1});  // all of it may be written
  }
}

TEST(HugePagesTest, AreHugeWhereTheMachineHasThem) {
  if (!HugePagesAvailable()) GTEST_SKIP() << "no huge pages here";
  auto pages = HugePages::Allocate(8 * kHugePage);
  ASSERT_TRUE(pages.ok()) << pages.status();
  std::fill(pages->bytes().begin(), pages->bytes().end(), std::byte{1});
  // One that the kernel has none left for is made of small ones.
  EXPECT_GT(Kilobytes("AnonHugePages:", pages->bytes().data()), 0u);
}

TEST(HugePagesTest, TouchingMakesPagesAndChangesNothing) {
  HugePages pages = *HugePages::Allocate(8 * kHugePage + 5);
  EXPECT_EQ(Kilobytes("Rss:", pages.bytes().data()), 0u);
  pages.bytes()[kHugePage] = std::byte{3};
  pages.Touch(kHugePage - 1, kHugePage);
  EXPECT_EQ(pages.bytes()[kHugePage], std::byte{3});
  const size_t some = Kilobytes("Rss:", pages.bytes().data());
  EXPECT_GT(some, 2048u);
  EXPECT_LT(some, 7 * 2048u);
  pages.Touch(0, SIZE_MAX);
  EXPECT_GE(Kilobytes("Rss:", pages.bytes().data()), 8 * 2048u);
  pages.Touch(SIZE_MAX, 1);
  pages.Touch(pages.bytes().size(), 1);
}

TEST(HugePagesTest, NothingIsNothingAndTooMuchIsAnError) {
  const auto none = HugePages::Allocate(0);
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->bytes().empty());
  for (const size_t size : {SIZE_MAX, SIZE_MAX - 2 * kHugePage, size_t{1} << 62}) {
    const auto pages = HugePages::Allocate(size);
    EXPECT_TRUE(absl::IsResourceExhausted(pages.status())) << pages.status();
    EXPECT_NE(pages.status().message().find(std::to_string(size)), absl::string_view::npos);
  }
}

TEST(HugePagesTest, MovesWithoutCopying) {
  HugePages a = *HugePages::Allocate(kHugePage);
  const std::byte* const start = a.bytes().data();
  a.bytes()[5] = std::byte{9};
  HugePages b = std::move(a);
  EXPECT_EQ(b.bytes().data(), start);
  EXPECT_EQ(b.bytes()[5], std::byte{9});
  HugePages c = *HugePages::Allocate(1);
  c = std::move(b);
  EXPECT_EQ(c.bytes().data(), start);
}

}  // namespace
}  // namespace swiftlet

#include "engine/kernels/cpu_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace swiftlet {
namespace {

TEST(CpuTarget, TheBestSupportedTargetIsActive) {
  ASSERT_FALSE(SupportedCpuTargets().empty());
  EXPECT_EQ(ActiveCpuTarget(), SupportedCpuTargets().front());
}

TEST(CpuTarget, EveryTargetCanBeForcedAndReleased) {
  const std::vector<std::string> all = SupportedCpuTargets();
  for (const std::string& name : all) {
    ASSERT_TRUE(ForceCpuTarget(name).ok()) << name;
    EXPECT_EQ(ActiveCpuTarget(), name);
    EXPECT_EQ(SupportedCpuTargets(), all) << "while " << name << " is forced";
  }
  ASSERT_TRUE(ForceCpuTarget("").ok());
  EXPECT_EQ(ActiveCpuTarget(), all.front());
}

TEST(CpuTarget, AnUnknownTargetIsNotFoundAndChangesNothing) {
  const std::string before = ActiveCpuTarget();
  const absl::Status status = ForceCpuTarget("PENTIUM");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("PENTIUM"));
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(before)) << "names what there is";
  EXPECT_EQ(ActiveCpuTarget(), before);
}

}  // namespace
}  // namespace swiftlet

#include "engine/base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

namespace swiftlet {
namespace {

absl::Status Fail() { return absl::DataLossError("broken"); }
absl::StatusOr<std::unique_ptr<int>> Make(bool ok) {
  if (!ok) return absl::NotFoundError("nothing");
  return std::make_unique<int>(7);
}

TEST(StatusMacros, ReturnIfErrorReturnsTheErrorAndGoesOnOtherwise) {
  int reached = 0;
  const auto run = [&](bool fail) -> absl::Status {
    SWIFTLET_RETURN_IF_ERROR(fail ? Fail() : absl::OkStatus());
    ++reached;
    return absl::OkStatus();
  };
  EXPECT_EQ(run(true), absl::DataLossError("broken"));
  EXPECT_EQ(reached, 0);
  EXPECT_TRUE(run(false).ok());
  EXPECT_EQ(reached, 1);
}

TEST(StatusMacros, AssignOrReturnMovesTheValueOut) {
  const auto run = [](bool ok) -> absl::StatusOr<int> {
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<int> first, Make(true));
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<int> second, Make(ok));
    return *first + *second;
  };
  EXPECT_EQ(*run(true), 14);
  EXPECT_EQ(run(false).status(), absl::NotFoundError("nothing"));
}

}  // namespace
}  // namespace swiftlet

#include "server/write_gate.h"

#include <string>

#include "gmock/gmock.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

class WriteGateTest : public ::testing::Test {
 protected:
  double Refusals(const std::string& reason) const {
    const std::string text = metrics_.Text(),
                      series = "swiftlet_write_refusals_total{reason=\"" + reason + "\"} ";
    const size_t at = text.find(series);
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size()));
  }

  ServerMetrics metrics_{"test", [] { return int64_t{1}; }};
  bool stopped_ = false;
  WriteGate gate_{2, [this] { return stopped_; }, &metrics_};
};

TEST_F(WriteGateTest, LetsInAsManyAsMayWait) {
  EXPECT_TRUE(gate_.Enter(100).ok());
  EXPECT_TRUE(gate_.Enter(100).ok());
  for (int i = 0; i < 3; ++i) {
    const absl::Status refused = gate_.Enter(100);
    EXPECT_TRUE(absl::IsResourceExhausted(refused));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("storage.max_pending_writes: 2"));
  }
  EXPECT_EQ(gate_.num_pending(), 2);
  gate_.Leave(100);
  EXPECT_TRUE(gate_.Enter(100).ok()) << "a refused one takes no place";
  EXPECT_EQ(Refusals("queue_full"), 3);
  EXPECT_EQ(Refusals("stalled"), 0);
}

TEST_F(WriteGateTest, LetsInAsManyBytesAsMayWait) {
  constexpr size_t kMost = WriteGate::kMaxPendingBytes;
  ASSERT_TRUE(gate_.Enter(kMost - 10).ok());
  const absl::Status refused = gate_.Enter(11);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("64 MiB"));
  ASSERT_TRUE(gate_.Enter(10).ok());
  gate_.Leave(10);
  gate_.Leave(kMost - 10);
  ASSERT_TRUE(gate_.Enter(kMost + 1).ok()) << "alone, for it would never be let in";
  EXPECT_FALSE(gate_.Enter(0).ok());
  gate_.Leave(kMost + 1);
  EXPECT_EQ(gate_.num_pending(), 0);
  EXPECT_EQ(Refusals("queue_full"), 2);
}

TEST_F(WriteGateTest, LetsNobodyInWhileTheStoreTakesNoWrites) {
  stopped_ = true;
  EXPECT_TRUE(absl::IsResourceExhausted(gate_.Enter(100)));
  EXPECT_EQ(gate_.num_pending(), 0);
  EXPECT_EQ(Refusals("stalled"), 1);
  stopped_ = false;
  EXPECT_TRUE(gate_.Enter(100).ok());
  EXPECT_EQ(Refusals("queue_full"), 0);
}

TEST_F(WriteGateTest, CountsWhyTheStoreRefused) {
  gate_.CountRefusal(absl::UnavailableError("the disk fails"));
  gate_.CountRefusal(absl::OkStatus());
  EXPECT_EQ(Refusals("disk_full") + Refusals("stalled") + Refusals("queue_full"), 0);
  gate_.CountRefusal(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(Refusals("disk_full"), 1);
  stopped_ = true;
  gate_.CountRefusal(absl::ResourceExhaustedError("stopped"));
  EXPECT_EQ(Refusals("stalled"), 1);
}

}  // namespace
}  // namespace swiftlet

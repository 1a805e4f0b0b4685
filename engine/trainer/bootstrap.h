// Bootstrap confidence intervals of means over users (Efron and Tibshirani, An Introduction to the Bootstrap,
// 1993, chapter 13: percentile intervals), and paired ones of differences (Sakai, SIGIR 2006).
#ifndef SWIFTLET_ENGINE_TRAINER_BOOTSTRAP_H_
#define SWIFTLET_ENGINE_TRAINER_BOOTSTRAP_H_

#include <array>
#include <cstdint>
#include <span>

#include "engine/trainer/metrics.h"

namespace swiftlet {

struct BootstrapOptions {
  uint32_t replicates = 1000;  // >= 1
  uint64_t seed = 1;           // the same seed and values give the same intervals
  double confidence = 0.95;    // in (0, 1)
};

struct Interval {
  double mean = 0, low = 0, high = 0;
};

struct Difference {
  Interval interval;  // of a - b
  // Twice the smaller share of replicates on the far side of 0, at most 1 and at least 1 / replicates.
  double p_value = 1;
};

// In the order of the first kNumUserMetrics of kMetricFields; the same draws serve all metrics. [users] each;
// all zeros for no user.
std::array<Interval, kNumUserMetrics> BootstrapMeans(std::span<const MetricsAtK> users,
                                                     const BootstrapOptions& options);

// a[u] and b[u] are of the same user. Requires a.size() == b.size().
std::array<Difference, kNumUserMetrics> BootstrapDifferences(std::span<const MetricsAtK> a,
                                                             std::span<const MetricsAtK> b,
                                                             const BootstrapOptions& options);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_BOOTSTRAP_H_

#include "client/load/window.h"

#include <numeric>

namespace swiftlet::load {
namespace {

constexpr size_t kMaxReasons = 20;

}  // namespace

int64_t KindStats::count() const { return std::accumulate(by_code.begin(), by_code.end(), int64_t{0}); }

void KindStats::Merge(const KindStats& other) {
  latency.Merge(other.latency);
  for (int i = 0; i < kNumCodes; ++i) by_code[i] += other.by_code[i];
  wrong += other.wrong;
}

void WindowStats::CountFailure(const std::string& reason, int64_t number) {
  const bool room = failures.size() + 1 < kMaxReasons || failures.contains(reason);
  failures[room ? reason : "other"] += number;
}

void WindowStats::Merge(const WindowStats& other) {
  for (int i = 0; i < kNumKinds; ++i) kinds[i].Merge(other.kinds[i]);
  if (by_second.size() < other.by_second.size())
    by_second.resize(other.by_second.size(), Histogram(kSecondBits));
  for (size_t i = 0; i < other.by_second.size(); ++i) by_second[i].Merge(other.by_second[i]);
  during_event.Merge(other.during_event);
  outside_event.Merge(other.outside_event);
  refusal.Merge(other.refusal);
  send_lag.Merge(other.send_lag);
  unsent += other.unsent;
  completed += other.completed;
  completed_good += other.completed_good;
  for (const auto& [reason, number] : other.failures) CountFailure(reason, number);
}

KindStats WindowStats::Total() const {
  KindStats total;
  for (const KindStats& kind : kinds) total.Merge(kind);
  return total;
}

}  // namespace swiftlet::load

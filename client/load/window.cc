#include "client/load/window.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace swiftlet::load {
namespace {

constexpr size_t kMaxReasons = 20;

// Of reasons that differ only in how long something takes, one: "#s" for "5.008979477s".
std::string WithoutDurations(const std::string& reason) {
  std::string text;
  for (size_t i = 0; i < reason.size();) {
    const size_t end = std::min(reason.find_first_not_of("0123456789.", i), reason.size());
    const std::string_view unit = std::string_view(reason).substr(end, 2);
    const bool is_duration = reason.find('.', i) < end && (unit.starts_with('s') || unit.ends_with('s'));
    if (is_duration) text += '#';
    if (!is_duration) text.append(reason, i, end - i);
    i = end;
    if (i < reason.size()) text += reason[i++];
  }
  return text;
}

}  // namespace

int64_t KindStats::count() const { return std::accumulate(by_code.begin(), by_code.end(), int64_t{0}); }

void KindStats::Merge(const KindStats& other) {
  latency.Merge(other.latency);
  for (int i = 0; i < kNumCodes; ++i) by_code[i] += other.by_code[i];
  wrong += other.wrong;
}

void WindowStats::CountFailure(const std::string& reason, int64_t number) {
  const std::string kept = WithoutDurations(reason);
  const bool room = failures.size() + 1 < kMaxReasons || failures.contains(kept);
  failures[room ? kept : "other"] += number;
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

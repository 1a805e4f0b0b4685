#include "engine/base/trace_parent.h"

#include <algorithm>

namespace swiftlet {
namespace {

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

}  // namespace

std::optional<TraceParent> ParseTraceParent(std::string_view value) {
  // version "-" trace-id "-" parent-id "-" trace-flags: 2, 32, 16 and 2 digits.
  constexpr size_t kBytes = 55;
  if (value.size() < kBytes || value[2] != '-' || value[35] != '-' || value[52] != '-') return std::nullopt;
  const std::string_view version = value.substr(0, 2), flags = value.substr(53, 2);
  const TraceParent parent = {.trace_id = value.substr(3, 32), .parent_id = value.substr(36, 16)};
  if (!IsLowerHex(version) || version == "ff" || !IsLowerHex(flags)) return std::nullopt;
  if (version == "00" ? value.size() != kBytes : value.size() > kBytes && value[kBytes] != '-') {
    return std::nullopt;
  }
  if (!IsLowerHex(parent.trace_id) || IsZero(parent.trace_id)) return std::nullopt;
  if (!IsLowerHex(parent.parent_id) || IsZero(parent.parent_id)) return std::nullopt;
  const int low = flags[1] <= '9' ? flags[1] - '0' : flags[1] - 'a' + 10;
  return TraceParent{.trace_id = parent.trace_id, .parent_id = parent.parent_id, .sampled = (low & 1) != 0};
}

}  // namespace swiftlet

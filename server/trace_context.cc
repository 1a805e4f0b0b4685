#include "server/trace_context.h"

#include <algorithm>
#include <array>

#include "server/response_builder.h"

namespace swiftlet {
namespace {

bool IsZero(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

}  // namespace

std::string NewTraceId() {
  std::string id;
  do {
    id.clear();
    for (int half = 0; half < 2; ++half) {
      const std::array<char, 16> digits = NewRequestId();
      id.append(digits.data(), digits.size());
    }
  } while (IsZero(id));
  return id;
}

bool IsRequestId(std::string_view id) {
  constexpr size_t kMaxBytes = 128;
  return !id.empty() && id.size() <= kMaxBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace swiftlet

#include "server/trace_context.h"

#include <algorithm>
#include <array>

#include "server/response_builder.h"

namespace swiftlet {
std::string NewTraceId() {
  std::string id;
  do {
    id.clear();
    for (int half = 0; half < 2; ++half) {
      const std::array<char, 16> digits = NewRequestId();
      id.append(digits.data(), digits.size());
    }
  } while (id.find_first_not_of('0') == std::string::npos);
  return id;
}

bool IsRequestId(std::string_view id) {
  constexpr size_t kMaxBytes = 128;
  return !id.empty() && id.size() <= kMaxBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace swiftlet

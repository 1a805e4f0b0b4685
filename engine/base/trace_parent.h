// The header "traceparent" of W3C Trace Context (https://www.w3.org/TR/trace-context/, Recommendation of 23
// November 2021): which trace a call is a part of.
#ifndef SWIFTLET_ENGINE_BASE_TRACE_PARENT_H_
#define SWIFTLET_ENGINE_BASE_TRACE_PARENT_H_

#include <optional>
#include <string_view>

namespace swiftlet {

// Views of the header.
struct TraceParent {
  std::string_view trace_id;   // 32 lower-case hexadecimal digits, not all zero
  std::string_view parent_id;  // 16 of them, not all zero: the caller's span
  bool sampled = false;
};

// Section 3.2 of the recommendation, to the letter: nothing when the value is not one ("If the vendor failed
// to parse traceparent, it MUST NOT attempt to parse tracestate", and a new trace begins). Of versions to
// come, the part that they share with version 00.
std::optional<TraceParent> ParseTraceParent(std::string_view value);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_TRACE_PARENT_H_

// What ties a call to others: the trace that it is a part of, by W3C Trace Context
// (https://www.w3.org/TR/trace-context/, Recommendation of 23 November 2021), and a request id.
#ifndef SWIFTLET_SERVER_TRACE_CONTEXT_H_
#define SWIFTLET_SERVER_TRACE_CONTEXT_H_

#include <string>
#include <string_view>

#include "engine/base/trace_parent.h"

namespace swiftlet {

// Metadata that callers send.
inline constexpr char kTraceParentHeader[] = "traceparent";
inline constexpr char kRequestIdHeader[] = "x-request-id";
inline constexpr char kServerTimingRequestHeader[] =
    "x-server-timing";  // "1": the answer says where its time went
// ... and get back, with the request id.
inline constexpr char kServerTimingHeader[] = "server-timing";

// 32 lower-case hexadecimal digits, not all zero, by this thread's generator.
std::string NewTraceId();

// What a caller may call its request: 1 to 128 printable ASCII characters without spaces.
bool IsRequestId(std::string_view id);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_TRACE_CONTEXT_H_

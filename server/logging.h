// Logs go to stderr: text for people, or JSON with one object a line:
//   {"time":"2024-05-01T12:00:00.123Z","level":"info","thread":42,"message":"snapshot 7 serves"}
#ifndef SWIFTLET_SERVER_LOGGING_H_
#define SWIFTLET_SERVER_LOGGING_H_

#include <memory>
#include <string>

#include "server/config.h"
#include "spdlog/formatter.h"
#include "spdlog/logger.h"

namespace swiftlet {

// Sets spdlog's default logger, and routes the messages of gRPC and protobuf to it; makes the one of
// CallLogger.
void InitLogging(const LogOptions& options);

// For lines of threads that answer calls. They go where the others go, but a thread of its own writes them: a
// disk or a pipe that stalls stops no call. Of more than 1,024 lines that wait, the oldest are dropped. The
// default logger before InitLogging.
std::shared_ptr<spdlog::logger> CallLogger();
// Makes it, for InitLogging and tests.
void InitCallLogger(spdlog::sink_ptr sink);

// One JSON object a line, whatever the message holds (quotes, newlines, invalid UTF-8). For InitLogging and
// tests.
std::unique_ptr<spdlog::formatter> MakeJsonFormatter();

// The last complaint of protobuf's parser on this thread since the last call, such as which string field is
// not UTF-8; empty when there was none.
std::string TakeParseComplaint();

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_LOGGING_H_

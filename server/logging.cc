#include "server/logging.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/time.h"
#include "server/security/rate_limit.h"
#include "spdlog/async.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace swiftlet {
namespace {

constexpr char kCallLogger[] = "calls";

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    nlohmann::ordered_json line;
    const spdlog::string_view_t level = spdlog::level::to_string_view(message.level);
    line["time"] =
        absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time), absl::UTCTimeZone());
    line["level"] = std::string(level.data(), level.size());
    line["thread"] = message.thread_id;
    line["message"] = std::string(message.payload.data(), message.payload.size());
    const std::string text =
        line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

// gRPC logs an error for every handshake that fails: whoever knocks often enough would fill the disk.
bool IsLogged() {
  static RateBucket bucket({.calls_per_second = 10, .burst = 100});
  static std::atomic<uint64_t> num_dropped{0};
  if (bucket.Take(std::chrono::steady_clock::now().time_since_epoch().count()) > 0) {
    num_dropped.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  if (const uint64_t dropped = num_dropped.exchange(0); dropped > 0) {
    spdlog::warn("grpc: {} more messages were not logged", dropped);
  }
  return true;
}

void LogFromGrpc(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_ERROR && !IsLogged()) return;
  const spdlog::level::level_enum level = args->severity == GPR_LOG_SEVERITY_ERROR  ? spdlog::level::err
                                          : args->severity == GPR_LOG_SEVERITY_INFO ? spdlog::level::info
                                                                                    : spdlog::level::debug;
  spdlog::log(level, "grpc: {}", args->message);
}

thread_local std::string parse_complaint;

// Bytes from callers are no reason to fill the log: a complaint is kept for the caller's status.
void LogFromProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  parse_complaint = message;
  spdlog::debug("protobuf: {}", message);
}

}  // namespace

std::unique_ptr<spdlog::formatter> MakeJsonFormatter() { return std::make_unique<JsonFormatter>(); }

void InitLogging(const LogOptions& options) {
  auto logger =
      std::make_shared<spdlog::logger>("swiftlet", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (options.json) {
    logger->set_formatter(MakeJsonFormatter());
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  }
  logger->flush_on(spdlog::level::info);
  InitCallLogger(logger->sinks().front());
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(spdlog::level::from_str(options.level));
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

void InitCallLogger(spdlog::sink_ptr sink) {
  // The thread takes no signals: they are for who waits for them.
  spdlog::init_thread_pool(1024, 1, [] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
  });
  spdlog::drop(kCallLogger);
  spdlog::register_logger(std::make_shared<spdlog::async_logger>(
      kCallLogger, std::move(sink), spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest));
}

std::shared_ptr<spdlog::logger> CallLogger() {
  std::shared_ptr<spdlog::logger> logger = spdlog::get(kCallLogger);
  return logger != nullptr ? logger : spdlog::default_logger();
}

std::string TakeParseComplaint() { return std::exchange(parse_complaint, std::string()); }

}  // namespace swiftlet

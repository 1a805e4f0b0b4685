// The server's configuration file. Input: the file.
#include <google/protobuf/text_format.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/config.h"
#include "server/logging.h"
#include "tests/fuzz/fuzz_target.h"

namespace swiftlet::fuzz {

std::vector<std::string> Seeds() {
  std::ifstream sample(SWIFTLET_SOURCE_DIR "/deploy/swiftlet.textproto");
  std::vector<std::string> seeds = {{std::istreambuf_iterator<char>(sample), {}}};
  FUZZ_CHECK(!seeds[0].empty(), "deploy/swiftlet.textproto");
  seeds.push_back(
      "listen_address: \"[::1]:0\" metrics_address: \"off\" data_dir: \"a\" model_dir: \"a/../b\"\n"
      "log { format: \"json\" level: \"warn\" } limits < max_k: 10 max_history_events: 0x10 max_batch_size: "
      "010 >\n"
      "storage { sync_writes: false user_cache_bytes: 1048576 event_retention_hours: 24 }\n"
      "event_types { id: 1 name: \"view\" weight: 1 } event_types { id: 2 name: 'hide' weight: -1e1 }\n"
      "snapshots { poll_interval_ms: 100, keep_versions: 2 }; num_worker_threads: 2 drain_timeout_ms: 1 # "
      "end\n");
  seeds.push_back("event_types: [{id: 1 name: 'a' weight: inf}, {id: 300 name: 'B'}] limits { max_k: -1 }");
  seeds.push_back("event_types { id: 12 name: 'sea\\nevent' weight: 1 }");
  seeds.push_back("unknown: 1\nlisten_address: \"nowhere\"");
  return seeds;
}

namespace {

// What config.proto promises.
void CheckAccepted(const ServerOptions& o) {
  FUZZ_CHECK(!o.listen_address.empty(), "listen_address");
  FUZZ_CHECK(!o.data_dir.empty() && !o.model_dir.empty() && o.data_dir != o.model_dir, "directories");
  FUZZ_CHECK(o.limits.max_k >= 1 && o.limits.max_k <= 100000, "max_k");
  FUZZ_CHECK(o.limits.max_history_events >= 1 && o.limits.max_history_events <= 10000, "max_history_events");
  FUZZ_CHECK(o.limits.max_batch_size >= 1 && o.limits.max_batch_size <= 100000, "max_batch_size");
  FUZZ_CHECK(o.admission.max_in_flight >= 1, "max_concurrent_requests");
  FUZZ_CHECK(o.admission.queue.min_limit >= 1 && o.admission.queue.min_limit <= o.admission.queue.max_limit,
             "queued_calls");
  FUZZ_CHECK(o.admission.queue.target_wait > absl::ZeroDuration(), "queue_target_us");
  FUZZ_CHECK(o.max_message_bytes >= 1024 && o.max_message_bytes <= 256 << 20, "max_message_bytes");
  FUZZ_CHECK(o.user_cache_bytes >= 1 && o.block_cache_bytes >= 1, "caches");
  FUZZ_CHECK(o.event_retention_ms >= 0 && o.idempotency_window_ms > 0, "retention");
  FUZZ_CHECK(o.snapshot_poll_interval >= absl::Milliseconds(10), "poll_interval");
  FUZZ_CHECK(o.keep_versions >= 1 && o.num_worker_threads >= 1 && o.num_worker_threads <= 256, "counts");
  FUZZ_CHECK(o.drain_timeout > absl::ZeroDuration(), "drain_timeout");
  FUZZ_CHECK(
      o.log.level == "debug" || o.log.level == "info" || o.log.level == "warn" || o.log.level == "error",
      o.log.level);
  FUZZ_CHECK(!o.event_types.types().empty(), "event_types");
  for (const EventType& type : o.event_types.types()) {
    FUZZ_CHECK(type.id >= 1 && !type.name.empty() && std::isfinite(type.weight) && type.weight != 0,
               type.name);
  }
}

}  // namespace
}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;  // NOLINT(google-build-using-namespace): an extern "C" function
  static const bool logging = [] { return InitLogging({.level = "error"}), true; }();
  static_cast<void>(logging);
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<v1::ServerConfig> config = ParseConfig(text, "swiftlet.textproto");
  if (!config.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(config.status()), config.status().ToString());
    const std::string message(config.status().message());
    for (const absl::string_view line : absl::StrSplit(message, '\n')) {
      FUZZ_CHECK(line.substr(0, 18) == "swiftlet.textproto" && line.size() > 20, message);
    }
    return 0;
  }
  const absl::StatusOr<ServerOptions> options = ResolveConfig(*config);
  if (!options.ok()) {  // settings that do not go together
    FUZZ_CHECK(absl::IsInvalidArgument(options.status()), options.status().ToString());
    return 0;
  }
  fuzz::CheckAccepted(*options);
  std::string printed;
  FUZZ_CHECK(google::protobuf::TextFormat::PrintToString(*config, &printed), "printing");
  const absl::StatusOr<v1::ServerConfig> again = ParseConfig(printed, "swiftlet.textproto");
  FUZZ_CHECK(again.ok(), absl::StrCat(again.status().ToString(), "\n", printed));
  std::string printed_again;
  FUZZ_CHECK(google::protobuf::TextFormat::PrintToString(*again, &printed_again), "printing");
  FUZZ_CHECK(printed_again == printed, printed);
  return 0;
}

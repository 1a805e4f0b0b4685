#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<v1::ServerConfig> config = ParseConfig(text, "c.textproto");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(config.status().message());
}

TEST(Config, AnEmptyFileIsAllDefaults) {
  const absl::StatusOr<v1::ServerConfig> config = ParseConfig("", "c");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  const absl::StatusOr<ServerOptions> options = ResolveConfig(*config);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->listen_address, "127.0.0.1:50051");
  EXPECT_EQ(options->metrics_address, "127.0.0.1:9464");
  EXPECT_EQ(options->limits.max_k, 1000);
  EXPECT_EQ(options->limits.max_history_events, 200);
  EXPECT_EQ(options->admission.max_in_flight, 1024);
  EXPECT_EQ(options->admission.queue.min_limit, 64);
  EXPECT_EQ(options->admission.queue.max_limit, 1024);
  EXPECT_EQ(options->admission.queue.target_wait, absl::Milliseconds(20));
  EXPECT_EQ(options->unix_socket, "");
  EXPECT_EQ(options->unix_socket_mode, 0660u);
  EXPECT_EQ(options->max_message_bytes, 4 << 20);
  EXPECT_EQ(options->idempotency_window_ms, 24 * 3600 * 1000);
  EXPECT_EQ(options->event_retention_ms, 0);
  EXPECT_TRUE(options->sync_writes);
  EXPECT_EQ(options->snapshot_poll_interval, absl::Milliseconds(500));
  EXPECT_EQ(options->drain_timeout, absl::Seconds(10));
  EXPECT_EQ(options->search.mode, SearchMode::kExact);
  EXPECT_EQ(options->search.max_rows, 0u);
  EXPECT_EQ(options->search.max_us, 0u);
  EXPECT_EQ(options->recall_sample_rate, 0.001);
  EXPECT_EQ(options->event_types.types().size(), 12u);
}

TEST(Config, TheShippedFileSaysWhatTheDefaultsAre) {
  const absl::StatusOr<v1::ServerConfig> file =
      ReadConfigFile(std::string(SWIFTLET_SOURCE_DIR) + "/deploy/swiftlet.textproto");
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  const absl::StatusOr<ServerOptions> shipped = ResolveConfig(*file), defaults = ResolveConfig({});
  ASSERT_TRUE(shipped.ok() && defaults.ok());
  EXPECT_EQ(shipped->listen_address, defaults->listen_address);
  EXPECT_EQ(shipped->metrics_address, defaults->metrics_address);
  EXPECT_EQ(shipped->data_dir, defaults->data_dir);
  EXPECT_EQ(shipped->model_dir, defaults->model_dir);
  EXPECT_EQ(shipped->port_file, defaults->port_file);
  EXPECT_EQ(shipped->log.json, defaults->log.json);
  EXPECT_EQ(shipped->log.level, defaults->log.level);
  EXPECT_EQ(shipped->limits.max_k, defaults->limits.max_k);
  EXPECT_EQ(shipped->limits.max_history_events, defaults->limits.max_history_events);
  EXPECT_EQ(shipped->limits.max_batch_size, defaults->limits.max_batch_size);
  EXPECT_EQ(shipped->unix_socket, defaults->unix_socket);
  EXPECT_EQ(shipped->unix_socket_mode, defaults->unix_socket_mode);
  EXPECT_EQ(shipped->admission.max_in_flight, defaults->admission.max_in_flight);
  EXPECT_EQ(shipped->admission.max_in_flight_of, defaults->admission.max_in_flight_of);
  EXPECT_EQ(shipped->admission.queue.min_limit, defaults->admission.queue.min_limit);
  EXPECT_EQ(shipped->admission.queue.max_limit, defaults->admission.queue.max_limit);
  EXPECT_EQ(shipped->admission.queue.target_wait, defaults->admission.queue.target_wait);
  EXPECT_EQ(shipped->max_connections, defaults->max_connections);
  EXPECT_EQ(shipped->handshake_timeout, defaults->handshake_timeout);
  EXPECT_EQ(shipped->max_idle, defaults->max_idle);
  EXPECT_EQ(shipped->security.tls_certificate, defaults->security.tls_certificate);
  EXPECT_EQ(shipped->security.token_file, defaults->security.token_file);
  EXPECT_EQ(shipped->security.audit_log, defaults->security.audit_log);
  EXPECT_EQ(shipped->security.reload_interval, defaults->security.reload_interval);
  EXPECT_FALSE(shipped->security.rate_limit.limits());
  EXPECT_EQ(shipped->security.reflection, defaults->security.reflection);
  EXPECT_EQ(shipped->max_message_bytes, defaults->max_message_bytes);
  EXPECT_EQ(shipped->user_cache_bytes, defaults->user_cache_bytes);
  EXPECT_EQ(shipped->user_vector_memo_bytes, defaults->user_vector_memo_bytes);
  EXPECT_EQ(shipped->num_commit_threads, defaults->num_commit_threads);
  EXPECT_EQ(shipped->max_pending_writes, defaults->max_pending_writes);
  EXPECT_EQ(shipped->block_cache_bytes, defaults->block_cache_bytes);
  EXPECT_EQ(shipped->sync_writes, defaults->sync_writes);
  EXPECT_EQ(shipped->event_retention_ms, defaults->event_retention_ms);
  EXPECT_EQ(shipped->idempotency_window_ms, defaults->idempotency_window_ms);
  EXPECT_EQ(shipped->snapshot_poll_interval, defaults->snapshot_poll_interval);
  EXPECT_EQ(shipped->keep_versions, defaults->keep_versions);
  EXPECT_EQ(shipped->huge_pages, defaults->huge_pages);
  EXPECT_EQ(shipped->snapshot_read_bytes_per_second, defaults->snapshot_read_bytes_per_second);
  EXPECT_EQ(shipped->num_worker_threads, defaults->num_worker_threads);
  EXPECT_EQ(shipped->num_io_threads, defaults->num_io_threads);
  EXPECT_EQ(shipped->drain_timeout, defaults->drain_timeout);
  EXPECT_EQ(shipped->search.mode, defaults->search.mode);
  EXPECT_EQ(shipped->search.max_rows, defaults->search.max_rows);
  EXPECT_EQ(shipped->search.max_us, defaults->search.max_us);
  EXPECT_EQ(shipped->recall_sample_rate, defaults->recall_sample_rate);
  const auto a = shipped->event_types.types(), b = defaults->event_types.types();
  EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
  // Every field of the configuration is in the file.
  const google::protobuf::Reflection& reflection = *file->GetReflection();
  const google::protobuf::Descriptor& descriptor = *file->GetDescriptor();
  std::stringstream text;
  text << std::ifstream(std::string(SWIFTLET_SOURCE_DIR) + "/deploy/swiftlet.textproto").rdbuf();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *descriptor.field(i);
    EXPECT_THAT(text.str(), HasSubstr(field.name()));
    if (field.message_type() == nullptr || field.is_repeated()) continue;
    EXPECT_TRUE(reflection.HasField(*file, &field));
    for (int j = 0; j < field.message_type()->field_count(); ++j) {
      EXPECT_THAT(text.str(), HasSubstr(field.message_type()->field(j)->name()));
    }
  }
}

TEST(Config, SecurityIsCheckedAsAWhole) {
  const auto resolve = [](const std::string& text) {
    const absl::StatusOr<v1::ServerConfig> config = ParseConfig(text, "c");
    EXPECT_TRUE(config.ok()) << "flags may change it: " << config.status();
    return ResolveConfig(*config);
  };
  const auto error = [&](const std::string& text) { return std::string(resolve(text).status().message()); };
  EXPECT_THAT(error("listen_address: \"0.0.0.0:1\""), HasSubstr("listen_address: other machines reach"));
  EXPECT_THAT(error("metrics_address: \"[::]:1\" security { insecure_listen: true }"),
              HasSubstr("metrics_address: other machines reach"));
  EXPECT_THAT(error("security { tls_certificate: \"c\" }"), HasSubstr("go together"));
  EXPECT_THAT(error("security { tls_client_ca: \"c\" }"), HasSubstr("without tls_certificate"));
  EXPECT_THAT(error("security { client_rate_limits { client: \"a\" limit { calls_per_second: 1 } } }"),
              HasSubstr("without token_file"));
  const absl::StatusOr<ServerOptions> options = resolve(
      "listen_address: \"0.0.0.0:1\" metrics_address: \"0.0.0.0:2\" security { insecure_metrics: true "
      "tls_certificate: \"c\" tls_private_key: \"k\" token_file: \"t\" rate_limit { calls_per_second: 2.5 } "
      "client_rate_limits { client: \"a\" limit { calls_per_second: 0.5 burst: 7 } } }");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->security.rate_limit.burst, 2);
  EXPECT_EQ(options->security.client_rate_limits.at("a").burst, 7);
  EXPECT_FALSE(options->security.reflection) << "by itself off where there are tokens";
  EXPECT_THAT(ErrorOf("security { rate_limit { calls_per_second: -1 } }"), HasSubstr("c.textproto:1:25: "));
  EXPECT_THAT(ErrorOf("security { rate_limit { calls_per_second: nan } }"),
              HasSubstr("is not in [0.001, 1000000]"));
  EXPECT_THAT(ErrorOf("security { rate_limit { burst: 3 } }"), HasSubstr("without calls_per_second"));
  EXPECT_THAT(ErrorOf("security { client_rate_limits { client: \"a b\" } }"), HasSubstr("the name \"a b\""));
  EXPECT_THAT(
      ErrorOf("security { client_rate_limits { client: \"a\" } client_rate_limits { client: \"a\" } }"),
      HasSubstr("a has a limit already"));
  EXPECT_THAT(ErrorOf("security { reflection: \"maybe\" }"), HasSubstr("is not one of auto, on, off"));
  EXPECT_THAT(ErrorOf("limits { max_connections: -1 }"), HasSubstr("limits.max_connections: -1"));
}

TEST(Config, HttpIsOffUntilItHasAnAddress) {
  const auto resolve = [](const std::string& text) { return ResolveConfig(*ParseConfig(text, "c")); };
  EXPECT_EQ(resolve("")->http.listen_address, "");
  EXPECT_EQ(resolve("http { listen_address: \"off\" }")->http.listen_address, "");
  const absl::StatusOr<ServerOptions> options = resolve(
      "http { listen_address: \"127.0.0.1:0\" num_threads: 3 max_connections: 7 request_timeout_ms: 50 "
      "idle_timeout_ms: 60 call_timeout_ms: 70 }");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->http.listen_address, "127.0.0.1:0");
  EXPECT_EQ(options->http.num_threads, 3);
  EXPECT_EQ(options->http.max_connections, 7);
  EXPECT_EQ(options->http.request_timeout, absl::Milliseconds(50));
  EXPECT_EQ(options->http.idle_timeout, absl::Milliseconds(60));
  EXPECT_EQ(options->http.call_timeout, absl::Milliseconds(70));
  EXPECT_THAT(ErrorOf("http { listen_address: \"8080\" }"),
              HasSubstr("c.textproto:1:8: http.listen_address: \"8080\" is not host:port"));
  EXPECT_THAT(ErrorOf("http { num_threads: 17 }"), HasSubstr("17 is not in [1, 16]"));
  EXPECT_THAT(ErrorOf("http { request_timeout_ms: 9 }"), HasSubstr("9 is not in [10, 600000]"));
  const std::string open = "http { listen_address: \"0.0.0.0:80\" } ";
  EXPECT_THAT(std::string(resolve(open).status().message()),
              HasSubstr("http.listen_address: other machines reach \"0.0.0.0:80\""));
  EXPECT_TRUE(resolve(open + "security { insecure_listen: true }").ok());
  EXPECT_TRUE(resolve(open + "security { tls_certificate: \"c\" tls_private_key: \"k\" }").ok());
}

TEST(Config, UnknownAndBadFieldsAreRefusedWithLineAndColumn) {
  EXPECT_THAT(ErrorOf("log { format: \"text\" }\nlisten: \"x\"\n"), HasSubstr("c.textproto:2:"));
  EXPECT_THAT(ErrorOf("log { format: \"text\" }\nlisten: \"x\"\n"), HasSubstr("\"listen\""));
  EXPECT_THAT(ErrorOf("limits {\n  max_k: \"ten\"\n}"), HasSubstr("c.textproto:2:"));
  EXPECT_THAT(ErrorOf("limits {\n  max_k: 5"), HasSubstr("c.textproto:"));
  EXPECT_THAT(ErrorOf("num_io_threads: 17"), HasSubstr("17 is not in [1, 16]"));
  EXPECT_THAT(ErrorOf("num_worker_threads: 99999999999"), HasSubstr("c.textproto:1:"));
}

TEST(Config, LimitsOfMethodsAndOfTheQueue) {
  const absl::StatusOr<v1::ServerConfig> config = ParseConfig(
      "limits { max_queued_calls: 12 queue_target_us: 500 methods { method: \"SimilarItems\" max_concurrent: "
      "7 } } "
      "unix_socket: \"/run/s\" unix_socket_mode: \"0666\"",
      "c");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  const absl::StatusOr<ServerOptions> options = ResolveConfig(*config);
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->admission.queue.max_limit, 12);
  EXPECT_EQ(options->admission.queue.min_limit, 12) << "the default is not above the ceiling";
  EXPECT_EQ(options->admission.queue.target_wait, absl::Microseconds(500));
  for (size_t m = 0; m < kNumMethods; ++m) {
    EXPECT_EQ(options->admission.max_in_flight_of[m],
              static_cast<Method>(m) == Method::kSimilarItems ? 7 : 0);
  }
  EXPECT_EQ(options->unix_socket, "/run/s");
  EXPECT_EQ(options->unix_socket_mode, 0666u);
  EXPECT_EQ(ErrorOf("limits { methods { method: \"Guess\" max_concurrent: 1 } }"),
            "c.textproto:1:20: limits.methods[0].method: \"Guess\" is not a method of the API");
  for (const char* stream : {"LoadEvents", "ExportUser"}) {
    EXPECT_THAT(ErrorOf(absl::StrCat("limits { methods { method: \"", stream, "\" max_concurrent: 1 } }")),
                HasSubstr(absl::StrCat(stream, " is a stream")));
  }
  EXPECT_THAT(ErrorOf("limits { methods { method: \"GetUser\" } }"),
              HasSubstr("limits.methods[0].max_concurrent: 0 is not in [1, 1000000]"));
  EXPECT_THAT(ErrorOf("limits { methods { method: \"GetUser\" max_concurrent: 1 }\n"
                      "methods { method: \"GetUser\" max_concurrent: 2 } }"),
              HasSubstr("c.textproto:2:11: limits.methods[1].method: GetUser has a limit already"));
  EXPECT_THAT(ErrorOf("limits { min_queued_calls: 9 max_queued_calls: 8 }"),
              HasSubstr("limits.min_queued_calls: 9 is more than limits.max_queued_calls, 8"));
  EXPECT_THAT(ErrorOf("limits { queue_target_us: 99 }"), HasSubstr("limits.queue_target_us: 99 is not in"));
  EXPECT_THAT(ErrorOf("unix_socket_mode: \"0888\""),
              HasSubstr("unix_socket_mode: \"0888\" is not an octal number"));
  EXPECT_THAT(ErrorOf("unix_socket: \"/" + std::string(107, 's') + "\""),
              HasSubstr("is longer than the 107"));
  EXPECT_THAT(ErrorOf("listen_address: \"unix:\""), HasSubstr("listen_address: unix: without a path"));
}

TEST(Config, ValuesOutOfRangeAreRefusedWithLineFieldAndValue) {
  EXPECT_EQ(ErrorOf("\nlimits { max_k: -3 }"), "c.textproto:2:10: limits.max_k: -3 is not in [1, 100000]");
  EXPECT_EQ(ErrorOf("drain_timeout_ms: 3600001"),
            "c.textproto:1:1: drain_timeout_ms: 3600001 is not in [1, 3600000]");
  EXPECT_THAT(ErrorOf("log {\n  level: \"loud\"\n}"),
              HasSubstr("c.textproto:2:3: log.level: \"loud\" is not one of debug, info, warn, error"));
  EXPECT_THAT(ErrorOf("log { format: \"xml\" }"), HasSubstr("log.format: \"xml\" is not one of text, json"));
  EXPECT_THAT(ErrorOf("storage { num_commit_threads: 257 }"),
              HasSubstr("storage.num_commit_threads: 257 is not in"));
  EXPECT_THAT(ErrorOf("storage { max_pending_writes: -1 }"),
              HasSubstr("storage.max_pending_writes: -1 is not in"));
  EXPECT_THAT(ErrorOf("storage { user_cache_bytes: -1 }"),
              HasSubstr("storage.user_cache_bytes: -1 is not in"));
  EXPECT_THAT(ErrorOf("storage { user_vector_memo_bytes: -1 }"),
              HasSubstr("storage.user_vector_memo_bytes: -1 is not in"));
  EXPECT_THAT(ErrorOf("data_dir: \"x\" model_dir: \"x\""), HasSubstr("they must differ"));
  EXPECT_THAT(ErrorOf("data_dir: \"x3\" model_dir: \"x3/\""), HasSubstr("they must differ"));
  EXPECT_THAT(ErrorOf("data_dir: \"./a/../x3\" model_dir: \"x3//\""), HasSubstr("they must differ"));
  // All errors at once.
  const std::string both = ErrorOf("limits { max_k: -1 }\nsnapshots { keep_versions: 5000 }");
  EXPECT_THAT(both, HasSubstr("c.textproto:1:10: limits.max_k"));
  EXPECT_THAT(both, HasSubstr("\nc.textproto:2:13: snapshots.keep_versions"));
}

TEST(Config, AMemoOfNoBytesIsNotTheDefault) {
  const auto bytes = [](const std::string& text) {
    return ResolveConfig(ParseConfig(text, "c").value()).value().user_vector_memo_bytes;
  };
  EXPECT_EQ(bytes(""), 16 << 20);
  EXPECT_EQ(bytes("storage { user_vector_memo_bytes: 0 }"), 0);
  EXPECT_EQ(bytes("storage { user_vector_memo_bytes: 5000 }"), 5000);
}

TEST(Config, HowSnapshotsAreRead) {
  const auto rate = [](const std::string& text) {
    return ResolveConfig(ParseConfig(text, "c").value()).value().snapshot_read_bytes_per_second;
  };
  EXPECT_EQ(rate(""), 256 << 20);
  EXPECT_EQ(rate("snapshots { read_bytes_per_second: 0 }"), 0);
  EXPECT_EQ(rate("snapshots { read_bytes_per_second: 1048576 }"), 1048576);
  EXPECT_THAT(ErrorOf("snapshots { read_bytes_per_second: 1048575 }"),
              HasSubstr("snapshots.read_bytes_per_second: 1048575 is not in"));
  EXPECT_THAT(ErrorOf("snapshots { read_bytes_per_second: -1 }"),
              HasSubstr("snapshots.read_bytes_per_second: -1 is not in"));
  EXPECT_TRUE(ResolveConfig(ParseConfig("", "c").value()).value().huge_pages);
  EXPECT_FALSE(ResolveConfig(ParseConfig("snapshots { huge_pages: false }", "c").value()).value().huge_pages);
}

TEST(Config, RetrievalSettings) {
  const absl::StatusOr<v1::ServerConfig> config = ParseConfig(
      "retrieval { mode: \"approximate\" budget_rows: 20000 budget_us: 500 recall_sample_rate: 0.25 }", "c");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  const ServerOptions options = *ResolveConfig(*config);
  EXPECT_EQ(options.search.mode, SearchMode::kApproximate);
  EXPECT_EQ(options.search.max_rows, 20000u);
  EXPECT_EQ(options.search.max_us, 500u);
  EXPECT_EQ(options.recall_sample_rate, 0.25);
  EXPECT_EQ(ResolveConfig(*ParseConfig("retrieval { recall_sample_rate: 0 }", "c"))->recall_sample_rate, 0);

  EXPECT_EQ(ErrorOf("retrieval { mode: \"fast\" }"),
            "c.textproto:1:13: retrieval.mode: \"fast\" is not one of exact, approximate");
  EXPECT_THAT(ErrorOf("retrieval { budget_rows: -1 }"), HasSubstr("retrieval.budget_rows: -1 is not in"));
  EXPECT_THAT(ErrorOf("retrieval { budget_us: 60000001 }"),
              HasSubstr("retrieval.budget_us: 60000001 is not in"));
  for (const char* bad : {"-0.1", "1.5", "nan", "inf"}) {
    EXPECT_THAT(ErrorOf(std::string("retrieval {\n recall_sample_rate: ") + bad + " }"),
                HasSubstr("c.textproto:2:2: retrieval.recall_sample_rate: "))
        << bad;
  }
}

TEST(Config, DirectoriesAreComparedAsPlacesNotAsText) {
  testing::TempDir dir;
  std::filesystem::create_directory(dir.File("real"));
  std::filesystem::create_directory_symlink(dir.File("real"), dir.File("link"));
  auto resolve = [](const std::string& data_dir, const std::string& model_dir) {
    v1::ServerConfig config;
    config.set_data_dir(data_dir);
    config.set_model_dir(model_dir);
    return ResolveConfig(config).status();
  };
  for (const char* same : {"real", "real/", "link", "link/", "link/../real/.", "none/../real"}) {
    EXPECT_EQ(resolve(dir.File("real"), dir.File(same)).code(), absl::StatusCode::kInvalidArgument) << same;
  }
  EXPECT_EQ(resolve(dir.File("new"), dir.File("new/")).code(), absl::StatusCode::kInvalidArgument);
  const std::string absolute = std::filesystem::current_path().string() + "/x3";
  EXPECT_EQ(resolve("x3", absolute).code(), absl::StatusCode::kInvalidArgument);
  for (const char* other : {"real/models", "real2", "none", "."}) {
    EXPECT_TRUE(resolve(dir.File("real"), dir.File(other)).ok()) << other;
  }
}

TEST(Config, AddressesAreHostAndPort) {
  for (const char* good :
       {"127.0.0.1:0", "localhost:65535", "[::1]:50051", "0.0.0.0:1", "unix:/run/swiftlet.sock"}) {
    v1::ServerConfig config;
    config.set_listen_address(good);
    config.mutable_security()->set_insecure_listen(true);
    EXPECT_TRUE(ResolveConfig(config).ok()) << good;
  }
  for (const char* bad : {"localhost", "localhost:", ":50051", "localhost:65536", "localhost:-1", "::1:50051",
                          "localhost:http", "a b:1", "localhost:0x10"}) {
    v1::ServerConfig config;
    config.set_listen_address(bad);
    EXPECT_THAT(std::string(ResolveConfig(config).status().message()), HasSubstr("is not host:port")) << bad;
  }
  v1::ServerConfig config;
  config.set_metrics_address("off");
  EXPECT_EQ(ResolveConfig(config)->metrics_address, "");
}

TEST(Config, EventTypesAreCheckedEntryByEntry) {
  const absl::StatusOr<v1::ServerConfig> config =
      ParseConfig("event_types { id: 9 name: \"watch\" weight: -2.5 }", "c");
  ASSERT_TRUE(config.ok());
  const EventTypeTable table = ResolveConfig(*config)->event_types;
  ASSERT_EQ(table.types().size(), 1u);
  EXPECT_EQ(*table.FindByName("watch"), (EventType{9, "watch", -2.5f}));

  const std::string good = "event_types { id: 1 name: \"a\" weight: 1 }\n";
  EXPECT_THAT(ErrorOf(good + "event_types { id: 1 name: \"b\" weight: 1 }"),
              HasSubstr("c.textproto:2:1: event_types[1]: "));
  EXPECT_THAT(ErrorOf(good + "event_types { id: 256 name: \"b\" weight: 1 }"),
              HasSubstr("c.textproto:2:15: event_types[1].id: 256 is not in [1, 255]"));
  EXPECT_THAT(ErrorOf("event_types { id: 2 name: \"Bad\" weight: 1 }"), HasSubstr("event_types[0]"));
  EXPECT_THAT(ErrorOf("event_types { id: 2 name: \"b\" weight: 0 }"), HasSubstr("event_types[0].weight: 0"));
  EXPECT_THAT(ErrorOf("event_types { id: 2 name: \"b\" weight: nan }"),
              HasSubstr("event_types[0].weight: nan"));
}

TEST(Config, FilesThatCannotBeReadAreNamed) {
  testing::TempDir dir;
  EXPECT_EQ(ReadConfigFile(dir.File("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadConfigFile(dir.path()).status().message()),
              HasSubstr(dir.path() + ": cannot read"));
  std::ofstream(dir.File("empty")).close();
  EXPECT_TRUE(ReadConfigFile(dir.File("empty")).ok());
}

}  // namespace
}  // namespace swiftlet

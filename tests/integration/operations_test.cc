// The command line, the configuration file, health, reflection, metrics and logs.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string WriteFile(const TempDir& dir, const std::string& name, const std::string& text) {
  std::ofstream(dir.File(name)) << text;
  return dir.File(name);
}

TEST(CommandLine, HelpAndVersionSucceed) {
  const ProgramResult help = RunServerBinary({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* flag : {"--config", "--listen", "--metrics", "--data-dir", "--model-dir", "--port-file",
                           "--retrieval-mode", "--budget-rows", "--budget-us", "--recall-sample-rate",
                           "--log-format", "--log-level", "--check-config", "--backup", "--restore",
                           "--backup-id", "--list-backups", "--version", "Examples:"}) {
    EXPECT_THAT(help.out, HasSubstr(flag));
  }
  const ProgramResult version = RunServerBinary({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, HasSubstr("swiftlet-server "));
  const ProgramResult unknown = RunServerBinary({"--no-such-flag"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("--no-such-flag"));
}

TEST(CommandLine, ABackupOfAStoppedServerIsServedElsewhere) {
  TempDir dir, other;
  const std::string data = dir.path() + "/data", backups = dir.path() + "/backups";
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    v1::RecordEventsResponse recorded;
    ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item-1", "click", 0, "e")}), &recorded));
    const ProgramResult busy = RunServerBinary({"--backup", backups, "--data-dir", data});
    EXPECT_EQ(busy.exit_code, 1);
    EXPECT_THAT(busy.err, HasSubstr("another process has this database open"));
    EXPECT_EQ(server.Terminate(), 0);
  }
  const ProgramResult backup = RunServerBinary({"--backup", backups, "--data-dir", data});
  EXPECT_EQ(backup.exit_code, 0) << backup.err;
  EXPECT_THAT(backup.out, HasSubstr("backup 1 of "));
  const ProgramResult refused = RunServerBinary({"--restore", backups, "--data-dir", data});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("is not empty"));
  const ProgramResult inside = RunServerBinary({"--backup", data + "/../data/sub", "--data-dir", data});
  EXPECT_EQ(inside.exit_code, 1);
  EXPECT_THAT(inside.err, HasSubstr("data/../data/sub, is in the data directory, " + data));
  const ProgramResult spoiling = RunServerBinary({"--restore", backups, "--data-dir", backups + "/x"});
  EXPECT_EQ(spoiling.exit_code, 1);
  EXPECT_THAT(spoiling.err, HasSubstr("is in the directory of backups, " + backups));
  ASSERT_EQ(RunServerBinary({"--backup", backups, "--data-dir", data}).exit_code, 0);
  const ProgramResult list = RunServerBinary({"--list-backups", backups});
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_THAT(list.out, ::testing::ContainsRegex("^Backup  Made [(]UTC[)] +Size +Files\n"
                                                 " +1  20..-..-.. ..:..:.. +[0-9.]+ MB +[0-9]+\n"
                                                 " +2  20..-..-.. ..:..:.. +[0-9.]+ MB +[0-9]+\n$"));
  const ProgramResult nowhere = RunServerBinary({"--list-backups", data});
  EXPECT_EQ(nowhere.exit_code, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("cannot list the backups: " + data + ": no backups there"));
  EXPECT_EQ(RunServerBinary({"--list-backups", ""}).exit_code, 2);
  EXPECT_EQ(RunServerBinary({"--list-backups", backups, "--restore", backups}).exit_code, 2);
  const ProgramResult which =
      RunServerBinary({"--restore", backups, "--backup-id", "7", "--data-dir", other.path() + "/data"});
  EXPECT_EQ(which.exit_code, 1);
  EXPECT_THAT(which.err, HasSubstr("no backup 7 in " + backups + "; there are 1, 2\n"));
  const ProgramResult restored =
      RunServerBinary({"--restore", backups, "--backup-id", "1", "--data-dir", other.path() + "/data"});
  EXPECT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr("restored from backup 1"));

  ServerProcess server({.dir = other.path()});
  ASSERT_TRUE(server.running());
  v1::RecordEventsResponse again;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item-1", "click", 0, "e")}), &again));
  EXPECT_EQ(again.num_duplicates(), 1);
}

TEST(CommandLine, TheDoctorEndsAsItFinds) {
  TempDir dir;
  const ProgramResult well =
      RunServerBinary({"--doctor", "--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir",
                       dir.path() + "/data", "--model-dir", dir.path() + "/models"});
  EXPECT_EQ(well.exit_code, 0) << well.out;
  EXPECT_THAT(well.out, HasSubstr("No problem"));
  const ProgramResult ill =
      RunServerBinary({"--doctor", "--json", "--listen", "192.0.2.1:1", "--insecure-listen", "--metrics",
                       "off", "--data-dir", dir.path() + "/data", "--model-dir", dir.path() + "/models"});
  EXPECT_EQ(ill.exit_code, 1) << ill.out << ill.err;
  EXPECT_THAT(ill.out, HasSubstr("\"about\": \"listen_address\""));
  // What a server would refuse to start with, the doctor says, too.
  const ProgramResult open = RunServerBinary({"--doctor", "--json", "--listen", "0.0.0.0:0"});
  EXPECT_EQ(open.exit_code, 1) << open.out << open.err;
  EXPECT_THAT(open.out, HasSubstr("\"about\": \"configuration\""));
  EXPECT_THAT(open.out, HasSubstr("other machines reach"));
}

TEST(Configuration, ErrorsNameFileLineColumnAndReason) {
  TempDir dir;
  const std::string unknown =
      WriteFile(dir, "a.textproto", "listen_address: \"127.0.0.1:0\"\n\nlimits {\n  max_q: 5\n}\n");
  ProgramResult result = RunServerBinary({"--config", unknown});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr(unknown + ":4:"));
  EXPECT_THAT(result.err, HasSubstr("max_q"));
  const std::string range =
      WriteFile(dir, "b.textproto", "limits {\n  max_k: 200000\n}\nsnapshots { poll_interval_ms: 1 }\n");
  result = RunServerBinary({"--config", range});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr(range + ":2:3: limits.max_k: 200000 is not in [1, 100000]"));
  EXPECT_THAT(result.err, HasSubstr(range + ":4:13: snapshots.poll_interval_ms: 1 is not in [10, 3600000]"));
  result = RunServerBinary({"--config", dir.File("missing.textproto")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("missing.textproto: cannot read: No such file"));
  result = RunServerBinary({"--config", dir.path()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("directory"));
  result = RunServerBinary({"--listen", "nonsense"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("listen_address: \"nonsense\" is not host:port"));
  result = RunServerBinary({"--retrieval-mode", "rough", "--budget-rows", "-1", "--recall-sample-rate", "2"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("retrieval.mode: \"rough\" is not one of exact, approximate"));
  EXPECT_THAT(result.err, HasSubstr("retrieval.budget_rows: -1 is not in"));
  EXPECT_THAT(result.err, HasSubstr("retrieval.recall_sample_rate: 2 is not in [0, 1]"));
}

TEST(Configuration, TheShippedFileHoldsTheDefaults) {
  const std::string path = std::string(SWIFTLET_SOURCE_DIR) + "/deploy/swiftlet.textproto";
  const ProgramResult result = RunServerBinary({"--config", path, "--check-config"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("valid"));
}

TEST(StartUp, WhatStandsInTheWayIsNamed) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  TempDir other;
  const std::string listen = "127.0.0.1:" + std::to_string(server.grpc_port());
  const std::string metrics = "127.0.0.1:" + std::to_string(server.metrics_port());
  ProgramResult result = RunServerBinary({"--listen", listen, "--metrics", "off", "--data-dir",
                                          other.File("d"), "--model-dir", other.File("m")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("listen_address: cannot listen on " + listen + ": Address already in use"));
  result = RunServerBinary({"--listen", "127.0.0.1:0", "--metrics", metrics, "--data-dir", other.File("d"),
                            "--model-dir", other.File("m")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("metrics_address: cannot listen on " + metrics));
  // RocksDB's lock.
  result = RunServerBinary({"--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", server.data_dir(),
                            "--model-dir", other.File("m")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("data_dir: "));
  EXPECT_THAT(result.err, HasSubstr(server.data_dir()));
  // A file where a directory should be.
  const std::string file = WriteFile(other, "file", "text");
  result = RunServerBinary(
      {"--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", other.File("d"), "--model-dir", file});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("model_dir: "));
  EXPECT_THAT(result.err, HasSubstr(file));
}

TEST(StartUp, AnEventTypeCannotChangeItsName) {
  TempDir dir;
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    EXPECT_EQ(server.Terminate(), 0);
  }
  const std::string config = WriteFile(dir, "c.textproto", "event_types { id: 1 name: \"look\" weight: 1 }");
  const ProgramResult result =
      RunServerBinary({"--config", config, "--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir",
                       dir.File("data"), "--model-dir", dir.File("models")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("look"));
}

TEST(Health, AnUnknownServiceIsNotFound) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  EXPECT_EQ(server.Health("no.such.Service"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
}

TEST(Reflection, ListsTheServices) {
  TempDir dir;
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  grpc::CompletionQueue queue;
  auto stream =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  auto next = [&] {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  stream->StartCall(nullptr);
  ASSERT_TRUE(next());
  const grpc::Slice list_services(std::string("\x3a\x00", 2));  // string list_services = 7
  stream->Write(grpc::ByteBuffer(&list_services, 1), nullptr);
  ASSERT_TRUE(next());
  grpc::ByteBuffer answer;
  stream->Read(&answer, nullptr);
  ASSERT_TRUE(next());
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(answer.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& s : slices) text.append(reinterpret_cast<const char*>(s.begin()), s.size());
  for (const char* service :
       {"RecommendationService", "EventService", "CatalogService", "UserService", "AdminService"}) {
    EXPECT_THAT(text, HasSubstr(std::string("swiftlet.v1.") + service));
  }
  EXPECT_THAT(text, HasSubstr("grpc.health.v1.Health"));
  context.TryCancel();
  grpc::Status status;
  stream->Finish(&status, nullptr);
  next();
}

TEST(Metrics, CountUserVectorsThatAreUsedAgain) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {}).ok());
  for (const bool on : {true, false}) {
    ServerProcess server({.dir = dir.path(), .config = on ? "" : "storage { user_vector_memo_bytes: 0 }"});
    ASSERT_TRUE(server.running());
    v1::RecordEventsResponse recorded;
    ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item-1", "click", 0, "e")}), &recorded));
    v1::RecommendResponse response;
    for (int i = 0; i < 50; ++i) ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
    // Each thread that answers, at most 16 of gRPC's, makes its own first.
    const double reused = server.Metric("swiftlet_user_vectors_reused_total");
    EXPECT_GE(reused, on ? 50 - 16 : 0);
    EXPECT_LE(reused, on ? 49 : 0);
  }
}

TEST(Metrics, CountWhatHappens) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 3}).ok());
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  v1::RecommendResponse response;
  for (int i = 0; i < 5; ++i) ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));
  EXPECT_FALSE(server.Recommend(UserRequest("u", 0), &response).ok());
  v1::RecordEventsResponse recorded;
  const v1::RecordEventsRequest batch = Batch({MakeEvent("u", "item-1", "click", 0, "e")});
  ASSERT_OK(server.RecordEvents(batch, &recorded));
  ASSERT_OK(server.RecordEvents(batch, &recorded));
  ASSERT_OK(server.Recommend(UserRequest("u", 5), &response));

  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"OK\",method=\"Recommend\"}"), 6);
  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"INVALID_ARGUMENT\",method=\"Recommend\"}"), 1);
  EXPECT_EQ(server.Metric("swiftlet_requests_total{code=\"OK\",method=\"RecordEvents\"}"), 2);
  EXPECT_EQ(server.Metric("swiftlet_request_seconds_count{method=\"Recommend\"}"), 7);
  EXPECT_EQ(server.Metric("swiftlet_stage_seconds_count{stage=\"encode_retrieve\"}"), 6);
  EXPECT_EQ(server.Metric("swiftlet_recommend_answers_total{source=\"popular\"}"), 5);
  EXPECT_EQ(server.Metric("swiftlet_recommend_answers_total{source=\"history\"}"), 1);
  EXPECT_EQ(server.Metric("swiftlet_events_recorded_total"), 1);
  EXPECT_EQ(server.Metric("swiftlet_event_duplicates_total"), 1);
  EXPECT_EQ(server.Metric("swiftlet_snapshot_version"), 3);
  EXPECT_EQ(server.Metric("swiftlet_snapshot_created_timestamp_seconds"), 1'700'000'100);
  EXPECT_GT(server.Metric("swiftlet_snapshot_age_seconds"), 0);
  EXPECT_EQ(server.Metric("swiftlet_snapshot_loads_total{result=\"ok\"}"), 1);
  EXPECT_EQ(server.Metric("swiftlet_snapshot_items"), 100);
  EXPECT_EQ(server.Metric("swiftlet_requests_in_flight"), 0);
  EXPECT_GE(server.Metric("swiftlet_user_cache_entries"), 1);
  EXPECT_GE(server.Metric("swiftlet_user_cache_hits_total"), 4);
  EXPECT_GE(server.Metric("swiftlet_user_cache_misses_total"), 1);
  EXPECT_GT(server.Metric("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(server.Metric("process_cpu_seconds_total"), 0);
  EXPECT_GT(server.Metric("process_open_fds"), 10);
  EXPECT_GT(server.Metric("process_max_fds"), server.Metric("process_open_fds"));
  for (const std::string directory : {"{directory=\"data\"}", "{directory=\"models\"}"}) {
    const double available = server.Metric("swiftlet_disk_available_bytes" + directory);
    EXPECT_GE(available, 0);
    EXPECT_GE(server.Metric("swiftlet_disk_size_bytes" + directory), available);
  }
  EXPECT_GT(server.Metric("swiftlet_rocksdb_wal_syncs_total"), 0);
  EXPECT_EQ(server.Metric("swiftlet_rocksdb_stall_seconds_total"), 0);
  const std::string page = server.Metrics();
  EXPECT_THAT(page, HasSubstr("swiftlet_rocksdb_"));
  EXPECT_THAT(page, HasSubstr("swiftlet_build_info{"));
  for (const char* label : {"user=", "item=", "user_id=", "item_id=", "snapshot="}) {
    EXPECT_THAT(page, Not(HasSubstr(label)));
  }
  const v1::GetStatusResponse status = server.GetStatus();
  EXPECT_GT(status.resident_bytes(), 1 << 20);
  EXPECT_GE(status.user_cache_entries(), 1);
  EXPECT_FALSE(status.cpu_target().empty());
  EXPECT_FALSE(status.draining());
}

TEST(Storage, AFailedDiskIsReportedAndWritesResumeWithoutARestart) {
  TempDir dir;
  signal(SIGXFSZ, SIG_IGN);  // of the server too
  ServerProcess server({.dir = dir.path()});
  signal(SIGXFSZ, SIG_DFL);
  ASSERT_TRUE(server.running());
  EXPECT_EQ(server.Metric("swiftlet_storage_writable"), 1);
  int recorded = 0;
  auto record = [&] {
    v1::RecordEventsResponse response;
    const grpc::Status status =
        server.RecordEvents(Batch({MakeEvent("u", "item-" + std::to_string(recorded))}), &response);
    if (status.ok()) ++recorded;
    return status;
  };
  auto wait_for = [](const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return condition();
  };
  // A disk that fails, but is not full: no file may grow over this (EFBIG).
  rlimit old_limit;
  ASSERT_EQ(prlimit(server.pid(), RLIMIT_FSIZE, nullptr, &old_limit), 0);
  rlimit limit = {60'000, old_limit.rlim_max};
  ASSERT_EQ(prlimit(server.pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  grpc::Status status;
  for (int i = 0; i < 5000 && status.ok(); ++i) status = record();
  // Room for lines of the server's own log, not for the tables that resuming writes.
  limit.rlim_cur = server.Log().size() + 1000;
  ASSERT_EQ(prlimit(server.pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(server.Metric("swiftlet_storage_writable"), 0);
  EXPECT_TRUE(wait_for([&] { return server.Log().find("storage: a write failed") != std::string::npos; }));
  EXPECT_FALSE(record().ok());
  EXPECT_EQ(server.Metric("swiftlet_storage_writable"), 0);

  ASSERT_EQ(prlimit(server.pid(), RLIMIT_FSIZE, &old_limit, nullptr), 0);
  EXPECT_TRUE(wait_for([&] { return server.Metric("swiftlet_storage_writable") == 1; })) << server.Log();
  EXPECT_TRUE(
      wait_for([&] { return server.Log().find("storage: writes succeed again") != std::string::npos; }));
  ASSERT_OK(record());
  EXPECT_EQ(server.Kill(), 128 + SIGKILL);
  ServerProcess again({.dir = dir.path()});
  ASSERT_TRUE(again.running());
  v1::GetUserRequest request;
  request.set_user_id("u");
  v1::GetUserResponse response;
  ASSERT_OK(again.GetUser(request, &response));
  ASSERT_EQ(response.events_size(), std::min(recorded, 200));
  EXPECT_EQ(response.events(0).item_id(), "item-" + std::to_string(recorded - 1));
}

TEST(Logs, AreOneJsonObjectALine) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .args = {"--log-format", "json"}});
  ASSERT_TRUE(server.running());
  EXPECT_EQ(server.Terminate(), 0);
  std::istringstream lines(server.Log());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(object.is_object()) << line;
    EXPECT_TRUE(object.contains("time") && object.contains("level") && object.contains("message")) << line;
  }
  EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace swiftlet::testing

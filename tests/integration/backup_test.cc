// Backups of a running server: what they hold, and what stands in their way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "client/cli/cli.h"
#include "tests/integration/server_process.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string Config(const std::string& directory, const std::string& more = "") {
  return "backup { directory: \"" + directory + "\" " + more + " }\n";
}

// A server and the calls that are about backups.
class Backups {
 public:
  explicit Backups(const ServerProcess& server) : stub_(v1::AdminService::NewStub(server.channel())) {}

  grpc::Status Create(v1::CreateBackupResponse* response, grpc::ClientContext* context = nullptr) {
    grpc::ClientContext own;
    if (context == nullptr) context = &own;
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
    return stub_->CreateBackup(context, {}, response);
  }
  grpc::Status Verify(uint32_t id, v1::VerifyBackupResponse* response) {
    grpc::ClientContext context;
    v1::VerifyBackupRequest request;
    request.set_id(id);
    return stub_->VerifyBackup(&context, request, response);
  }
  v1::ListBackupsResponse List() {
    grpc::ClientContext context;
    v1::ListBackupsResponse response;
    EXPECT_OK(stub_->ListBackups(&context, {}, &response));
    return response;
  }
  std::vector<uint32_t> Ids() {
    std::vector<uint32_t> ids;
    const v1::ListBackupsResponse list = List();
    for (const v1::BackupInfo& info : list.backups()) ids.push_back(info.id());
    return ids;
  }

 private:
  const std::unique_ptr<v1::AdminService::Stub> stub_;
};

// Some `megabytes` of events that no compression makes less.
void Fill(ServerProcess& server, int megabytes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 5 * megabytes; ++i) {
    std::vector<v1::Event> events;
    for (int e = 0; e < 1000; ++e) {
      std::string item(250, ' ');
      for (char& c : item) c = static_cast<char>('0' + random() % 64);
      events.push_back(MakeEvent("u" + std::to_string(random() % 1000), item));
    }
    v1::RecordEventsResponse response;
    ASSERT_OK(server.RecordEvents(Batch(events), &response));
  }
}

// Writes events until it is stopped: user n of each thread gets `kEventsOfUser` of them, one by one.
class Writer {
 public:
  static constexpr int kEventsOfUser = 50;
  Writer(ServerProcess* server, std::string name) : server_(server), name_(std::move(name)) {}

  void Start() {
    thread_ = std::thread([this] {
      while (!stop_.load()) {
        v1::RecordEventsResponse response;
        if (!server_->RecordEvents(Batch({Event(acknowledged_.load())}), &response).ok()) return;
        ++acknowledged_;
      }
    });
  }
  void Stop() {
    stop_.store(true);
    thread_.join();
  }
  int acknowledged() const { return acknowledged_.load(); }
  std::string User(int n) const { return name_ + "-" + std::to_string(n / kEventsOfUser); }
  v1::Event Event(int n) const {
    const std::string number = std::to_string(n);
    return MakeEvent(User(n), "item-" + number, "click", 1000 + n, name_ + ":" + number);
  }

 private:
  ServerProcess* const server_;
  const std::string name_;
  std::atomic<int> acknowledged_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST(Backup, OneThatIsMadeUnderLoadHoldsWhatWasAcknowledgedBefore) {
  TempDir dir, other;
  const std::string directory = dir.File("backups");
  std::vector<int> before;
  {
    ServerProcess server({.dir = dir.path(), .config = Config(directory)});
    ASSERT_TRUE(server.running());
    Backups backups(server);
    std::vector<std::unique_ptr<Writer>> writers;
    for (const char* name : {"a", "b", "c"}) {
      writers.push_back(std::make_unique<Writer>(&server, name));
      writers.back()->Start();
    }
    for (const auto& writer : writers) {
      ASSERT_TRUE(Eventually([&] { return writer->acknowledged() > 2 * Writer::kEventsOfUser; }));
      before.push_back(writer->acknowledged());
    }
    v1::CreateBackupResponse created;
    ASSERT_OK(backups.Create(&created));
    EXPECT_EQ(created.backup().id(), 1u);
    EXPECT_GT(created.backup().size_bytes(), 0);
    EXPECT_GT(created.seconds(), 0);
    // Writes go on beside it, and after it.
    for (size_t w = 0; w < writers.size(); ++w) {
      const int now = writers[w]->acknowledged();
      EXPECT_TRUE(Eventually([&] { return writers[w]->acknowledged() > now + 20; }));
    }
    EXPECT_EQ(server.Kill(), 128 + SIGKILL);
    for (const auto& writer : writers) writer->Stop();
  }
  const ProgramResult restored =
      RunServerBinary({"--restore", directory, "--data-dir", other.path() + "/data"});
  ASSERT_EQ(restored.exit_code, 0) << restored.err;

  ServerProcess server({.dir = other.path(), .config = Config(directory)});
  ASSERT_TRUE(server.running());
  size_t w = 0;
  for (const char* name : {"a", "b", "c"}) {
    const Writer writer(&server, name);
    for (int n = 0; n < before[w]; n += Writer::kEventsOfUser) {
      v1::GetUserRequest request;
      request.set_user_id(writer.User(n));
      v1::GetUserResponse user;
      ASSERT_OK(server.GetUser(request, &user));
      EXPECT_GE(user.events_size(), std::min(Writer::kEventsOfUser, before[w] - n)) << request.user_id();
    }
    // All of it counts once when the writers send it again, and so does what comes then.
    v1::RecordEventsRequest again;
    for (int n = 0; n < before[w]; ++n) *again.add_events() = writer.Event(n);
    v1::RecordEventsResponse response;
    ASSERT_OK(server.RecordEvents(again, &response));
    EXPECT_EQ(response.num_duplicates(), before[w]);
    Writer more(&server, std::string(name) + "2");
    more.Start();
    EXPECT_TRUE(Eventually([&] { return more.acknowledged() > 20; }));
    more.Stop();
    ++w;
  }
}

TEST(Backup, TheNewestAreKeptAndTheMetricsTell) {
  TempDir dir;
  const std::string directory = dir.File("backups");
  const ServerProcess::Options options = {.dir = dir.path(),
                                          .config = Config(directory, "keep: 2 expected_every_hours: 24")};
  double made = 0;
  {
    ServerProcess server(options);
    ASSERT_TRUE(server.running());
    Backups backups(server);
    EXPECT_EQ(backups.List().backups_size(), 0);
    EXPECT_EQ(backups.List().directory(), directory);
    EXPECT_EQ(server.Metric("swiftlet_backup_last_success_timestamp_seconds"), 0);
    for (int i = 0; i < 3; ++i) {
      v1::CreateBackupResponse created;
      ASSERT_OK(backups.Create(&created));
      v1::RecordEventsResponse recorded;
      ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "item")}), &recorded));
    }
    EXPECT_THAT(backups.Ids(), ::testing::ElementsAre(3, 2));
    v1::VerifyBackupResponse verified;
    ASSERT_OK(backups.Verify(0, &verified));
    EXPECT_EQ(verified.backup().id(), 3u);
    EXPECT_CODE(backups.Verify(1, &verified), grpc::StatusCode::NOT_FOUND, "no backup 1");
    EXPECT_EQ(server.Metric("swiftlet_backups_total{result=\"ok\"}"), 3);
    EXPECT_EQ(server.Metric("swiftlet_backup_verifications_total{result=\"ok\"}"), 1);
    EXPECT_EQ(server.Metric("swiftlet_backup_verifications_total{result=\"failed\"}"), 0)
        << "a number that is none of a backup is no damage";
    EXPECT_EQ(server.Metric("swiftlet_backup_expected_interval_seconds"), 24 * 3600);
    EXPECT_GT(server.Metric("swiftlet_backup_last_duration_seconds"), 0);
    EXPECT_GT(server.Metric("swiftlet_backup_last_size_bytes"), 0);
    EXPECT_EQ(server.Metric("swiftlet_backup_running"), 0);
    made = server.Metric("swiftlet_backup_last_success_timestamp_seconds");
    EXPECT_GT(made, 1.7e9);
    // The audit log has who made one; where it is no file of its own, not who looked.
    EXPECT_THAT(server.Log(), HasSubstr("\"method\":\"CreateBackup\""));
    EXPECT_THAT(server.Log(), ::testing::Not(HasSubstr("\"method\":\"ListBackups\"")));
    EXPECT_EQ(server.Terminate(), 0);
  }
  ServerProcess server(options);
  ASSERT_TRUE(server.running());
  EXPECT_TRUE(Eventually([&] {
    return server.Metric("swiftlet_backup_last_success_timestamp_seconds") == made;
  })) << "it is known after a restart, too";
}

// Lists at the same time, and beside backups that are made: each has the three newest.
TEST(Backup, EveryListIsWhole) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = Config(dir.File("backups"), "keep: 3")});
  ASSERT_TRUE(server.running());
  Backups backups(server);
  std::atomic<uint32_t> newest{0};  // of those that are acknowledged
  const auto make_one = [&] {
    v1::RecordEventsResponse recorded;
    EXPECT_OK(server.RecordEvents(Batch({MakeEvent("u", "item")}), &recorded));
    v1::CreateBackupResponse created;
    EXPECT_OK(backups.Create(&created));
    newest.store(created.backup().id());
  };
  for (int i = 0; i < 3; ++i) make_one();
  std::atomic<bool> stop{false};
  std::atomic<int> num_lists{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Backups mine(server);
      while (!stop.load()) {
        const uint32_t at_least = newest.load();
        const v1::ListBackupsResponse list = mine.List();
        ++num_lists;
        ASSERT_EQ(list.backups_size(), 3) << list.ShortDebugString();
        ASSERT_GE(list.backups(0).id(), at_least);
        for (int i = 0; i < 3; ++i) {
          ASSERT_EQ(list.backups(i).id() + static_cast<uint32_t>(i), list.backups(0).id());
          ASSERT_FALSE(list.backups(i).damaged());
        }
      }
    });
  }
  EXPECT_TRUE(Eventually([&] { return num_lists.load() > 200 || HasFatalFailure(); }));
  for (int i = 0; i < 20; ++i) make_one();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
}

TEST(Backup, DamageIsFound) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = Config(dir.File("backups"))});
  ASSERT_TRUE(server.running());
  Backups backups(server);
  Fill(server, 1);
  v1::CreateBackupResponse created;
  ASSERT_OK(backups.Create(&created));
  fs::path largest;
  for (const auto& entry : fs::recursive_directory_iterator(dir.File("backups"))) {
    if (entry.path().extension() == ".sst" &&
        (largest.empty() || entry.file_size() > fs::file_size(largest))) {
      largest = entry.path();
    }
  }
  ASSERT_FALSE(largest.empty());
  {
    std::fstream file(largest, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(fs::file_size(largest) / 2));
    file << "damage";
  }
  v1::VerifyBackupResponse verified;
  EXPECT_CODE(backups.Verify(1, &verified), grpc::StatusCode::DATA_LOSS, "backup 1 is damaged");
  EXPECT_CODE(backups.Verify(1, &verified), grpc::StatusCode::DATA_LOSS, largest.filename().string());
  EXPECT_EQ(server.Metric("swiftlet_backup_verifications_total{result=\"failed\"}"), 2);
  ASSERT_EQ(backups.List().backups_size(), 1);
  EXPECT_TRUE(backups.List().backups(0).damaged()) << "it was found";
  EXPECT_GT(backups.List().backups(0).created_ms(), 0);
  fs::remove(largest);
  ASSERT_EQ(backups.List().backups_size(), 1);
  EXPECT_TRUE(backups.List().backups(0).damaged());
  ASSERT_OK(backups.Create(&created));  // the next one is whole again
  EXPECT_OK(backups.Verify(created.backup().id(), &verified));
}

TEST(Backup, NoWholeOneGoesForOneThatIsDamaged) {
  TempDir dir;
  const auto tables = [&] {
    std::set<fs::path> paths;
    for (const auto& entry : fs::recursive_directory_iterator(dir.File("backups"))) {
      if (entry.path().extension() == ".sst") paths.insert(entry.path());
    }
    return paths;
  };
  ServerProcess server({.dir = dir.path(), .config = Config(dir.File("backups"), "keep: 2")});
  ASSERT_TRUE(server.running());
  Backups backups(server);
  v1::RecordEventsResponse recorded;
  v1::CreateBackupResponse created;
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "a")}), &recorded));
  ASSERT_OK(backups.Create(&created));
  const std::set<fs::path> of_first = tables();
  ASSERT_OK(server.RecordEvents(Batch({MakeEvent("u", "b")}), &recorded));
  ASSERT_OK(backups.Create(&created));
  for (const fs::path& path : tables()) {
    if (of_first.contains(path)) continue;
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(10);
    file << "damage";
  }
  v1::VerifyBackupResponse verified;
  EXPECT_CODE(backups.Verify(0, &verified), grpc::StatusCode::DATA_LOSS, "backup 2 is damaged");
  EXPECT_OK(backups.Verify(1, &verified));
  ASSERT_OK(backups.Create(&created));
  EXPECT_THAT(backups.Ids(), ::testing::ElementsAre(3, 2, 1)) << "1 and 3 are the two to keep";
  EXPECT_TRUE(backups.List().backups(1).damaged());
  EXPECT_FALSE(backups.List().backups(0).damaged());
  EXPECT_FALSE(backups.List().backups(2).damaged());
}

TEST(Backup, OneAtATimeAndOnlyWhileSomebodyWaits) {
  TempDir dir;
  // Some eight seconds of work.
  ServerProcess server(
      {.dir = dir.path(), .config = Config(dir.File("backups"), "bytes_per_second: 1048576")});
  ASSERT_TRUE(server.running());
  Backups backups(server);
  Fill(server, 8);
  grpc::ClientContext context;
  grpc::Status result;
  std::thread creator([&] {
    v1::CreateBackupResponse created;
    result = backups.Create(&created, &context);
  });
  EXPECT_TRUE(Eventually([&] { return backups.List().running().num_bytes() > 0; }));
  EXPECT_EQ(backups.List().running().kind(), "create");
  EXPECT_EQ(server.Metric("swiftlet_backup_running"), 1);
  v1::CreateBackupResponse created;
  EXPECT_CODE(backups.Create(&created), grpc::StatusCode::ABORTED, "a backup is being made");
  v1::VerifyBackupResponse verified;
  EXPECT_CODE(backups.Verify(0, &verified), grpc::StatusCode::ABORTED, "a backup is being made");
  v1::RecordEventsResponse recorded;
  EXPECT_OK(server.RecordEvents(Batch({MakeEvent("u", "item")}), &recorded));

  context.TryCancel();
  creator.join();
  EXPECT_EQ(result.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return !backups.List().has_running(); })) << "the server stops, too";
  EXPECT_EQ(server.Metric("swiftlet_backups_total{result=\"stopped\"}"), 1);
  EXPECT_EQ(server.Metric("swiftlet_backups_total{result=\"failed\"}"), 0);
  EXPECT_EQ(backups.List().backups_size(), 0);
  for (const auto& entry : fs::recursive_directory_iterator(dir.File("backups"))) {
    EXPECT_NE(entry.path().extension(), ".sst") << "what was copied is deleted: " << entry.path();
  }

  // Nor does one keep the server from ending.
  std::thread another([&] {
    v1::CreateBackupResponse response;
    grpc::ClientContext own;
    result = backups.Create(&response, &own);
  });
  EXPECT_TRUE(Eventually([&] { return backups.List().has_running(); }));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(server.Terminate(), 0);
  another.join();
  EXPECT_EQ(result.error_code(), grpc::StatusCode::UNAVAILABLE) << result.error_message();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(9))
      << "less than the drain timeout";
}

TEST(Backup, WhatStandsInTheWayIsNamed) {
  TempDir dir;
  v1::CreateBackupResponse created;
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    EXPECT_CODE(Backups(server).Create(&created), grpc::StatusCode::FAILED_PRECONDITION,
                "backup.directory is not configured");
    EXPECT_EQ(server.Terminate(), 0);
  }
  fs::create_directory(dir.File("precious"));
  std::ofstream(dir.File("precious/letter.txt")) << "x";
  ServerProcess server({.dir = dir.path(), .config = Config(dir.File("precious"))});
  ASSERT_TRUE(server.running()) << "a server without backups still serves";
  Backups backups(server);
  EXPECT_CODE(backups.Create(&created), grpc::StatusCode::FAILED_PRECONDITION, "holds no backups");
  EXPECT_EQ(server.Metric("swiftlet_backups_total{result=\"failed\"}"), 1);
  EXPECT_THAT(backups.List().last_error(), HasSubstr("precious"));
  EXPECT_TRUE(fs::exists(dir.File("precious/letter.txt")));
  for (const char* bad : {"data/backups", "models", "data/../data"}) {
    const ProgramResult refused = RunServerBinary({"--config", [&] {
                                                     std::ofstream(dir.File("bad.textproto"))
                                                         << Config(dir.path() + "/" + bad) << "data_dir: \""
                                                         << dir.path() << "/data\" model_dir: \""
                                                         << dir.path() << "/models\"";
                                                     return dir.File("bad.textproto");
                                                   }()});
    EXPECT_EQ(refused.exit_code, 2) << bad;
    EXPECT_THAT(refused.err, HasSubstr("backup.directory: "));
  }
}

TEST(Backup, FromTheCommandLine) {
  TempDir dir;
  ServerProcess server({.dir = dir.path(), .config = Config(dir.File("backups"))});
  ASSERT_TRUE(server.running());
  const auto run = [&](std::vector<std::string> args) {
    std::istringstream in;
    std::ostringstream out, err;
    cli::CliIo io{.in = in,
                  .out = out,
                  .err = err,
                  .in_is_terminal = false,
                  .out_is_terminal = false,
                  .err_is_terminal = false};
    args.insert(args.begin(), {"--server", "127.0.0.1:" + std::to_string(server.grpc_port())});
    EXPECT_EQ(cli::Run(args, io), cli::kOk) << err.str();
    return out.str();
  };
  EXPECT_THAT(run({"backup", "create"}), HasSubstr("Backup 1, made "));
  EXPECT_THAT(run({"backup", "verify"}), HasSubstr("Every file is as it was written."));
  EXPECT_THAT(run({"backup", "list"}), HasSubstr("In " + dir.File("backups") + " of the server."));
}

}  // namespace
}  // namespace swiftlet::testing

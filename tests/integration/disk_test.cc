// Disks that are full, read-only, taken away or not ours: a clear status, reads go on, nothing is lost.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A small file system of its own at `path`; ok() is false where this process may not mount one.
class SmallDisk {
 public:
  SmallDisk(std::string path, const std::string& options) : path_(std::move(path)) {
    fs::create_directories(path_);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool ok() const { return mounted_; }
  bool MakeReadOnly() const {
    return mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  // Takes all free space but this, by a file beside the database's.
  void LeaveFree(uint64_t bytes) const {
    const int fd = open(Ballast().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const uint64_t available = fs::space(path_).available;
    ASSERT_GT(available, bytes);
    EXPECT_EQ(posix_fallocate(fd, 0, static_cast<off_t>(available - bytes)), 0);
    close(fd);
  }
  void Free() const { fs::remove(Ballast()); }
  std::string Ballast() const { return path_ + "/ballast"; }

 private:
  const std::string path_;
  bool mounted_ = false;
};

// Records events of one user, each with an item and an event id of its own.
class Recorder {
 public:
  grpc::Status Record(ServerProcess& server) {
    v1::RecordEventsResponse response;
    const std::string number = std::to_string(recorded_);
    const grpc::Status status =
        server.RecordEvents(Batch({MakeEvent("u", "item-" + number + std::string(200, 'x'), "click",
                                             1000 + recorded_, "id-" + number)}),
                            &response);
    if (status.ok()) ++recorded_;
    return status;
  }
  int recorded() const { return recorded_; }
  // The newest of them, and how many, as far as a history reaches.
  void ExpectAllThere(ServerProcess& server) const {
    v1::GetUserRequest request;
    request.set_user_id("u");
    v1::GetUserResponse response;
    ASSERT_OK(server.GetUser(request, &response));
    ASSERT_EQ(response.events_size(), std::min(recorded_, 200));
    EXPECT_THAT(response.events(0).item_id(), HasSubstr("item-" + std::to_string(recorded_ - 1)));
  }

 private:
  int recorded_ = 0;
};

class FullDiskTest : public ::testing::TestWithParam<bool> {};

// The parameter: whether the server was just restarted, so that RocksDB has nothing in memory.
TEST_P(FullDiskTest, WritesAreRefusedReadsGoOnAndItRecoversWithoutARestart) {
  TempDir dir;
  SmallDisk disk(dir.File("disk"), "size=24m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  fs::create_directory(dir.File("disk/data"));
  fs::create_directory_symlink(dir.File("disk/data"), dir.File("data"));
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  const ServerProcess::Options options = {.dir = dir.path()};
  Recorder recorder;
  auto server = std::make_unique<ServerProcess>(options);
  ASSERT_TRUE(server->running());
  for (int i = 0; i < 20; ++i) ASSERT_OK(recorder.Record(*server));
  if (GetParam()) {
    ASSERT_EQ(server->Terminate(), 0);
    server = std::make_unique<ServerProcess>(options);
    ASSERT_TRUE(server->running());
  }
  disk.LeaveFree(0);
  grpc::Status status;
  for (int i = 0; i < 20000 && status.ok(); ++i) status = recorder.Record(*server);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr(server->data_dir()));
  EXPECT_THAT(status.error_message(), HasSubstr("No space left on device"));
  EXPECT_EQ(server->Metric("swiftlet_storage_writable"), 0);
  v1::RecommendResponse answer;
  ASSERT_OK(server->Recommend(UserRequest("u", 5), &answer));
  EXPECT_EQ(answer.items_size(), 5);
  recorder.ExpectAllThere(*server);
  EXPECT_FALSE(recorder.Record(*server).ok());

  // Less room than the largest memtable could need, but enough for what there is.
  disk.Free();
  disk.LeaveFree(8 << 20);
  EXPECT_TRUE(Eventually([&] { return server->Metric("swiftlet_storage_writable") == 1; })) << server->Log();
  for (int i = 0; i < 10; ++i) ASSERT_OK(recorder.Record(*server));
  recorder.ExpectAllThere(*server);
  EXPECT_EQ(server->Kill(), 128 + SIGKILL);
  server = std::make_unique<ServerProcess>(options);
  ASSERT_TRUE(server->running());
  recorder.ExpectAllThere(*server);
}

INSTANTIATE_TEST_SUITE_P(, FullDiskTest, ::testing::Bool(), [](const auto& info) {
  return info.param ? std::string("AfterARestart") : std::string("WhileRunning");
});

ProgramResult RunOn(const std::string& data_dir, const TempDir& dir) {
  return RunServerBinary({"--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", data_dir,
                          "--model-dir", dir.File("models")});
}

TEST(DataDirectory, AReadOnlyDiskIsRefusedAtTheStart) {
  TempDir dir;
  SmallDisk disk(dir.File("disk"), "size=4m");
  if (!disk.ok() || !disk.MakeReadOnly()) GTEST_SKIP() << "cannot mount a file system here";
  for (const std::string& data_dir : {dir.File("disk"), dir.File("disk/new/data")}) {
    const ProgramResult result = RunOn(data_dir, dir);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("data_dir: "));
    EXPECT_THAT(result.err, HasSubstr(dir.File("disk")));
    EXPECT_THAT(result.err, HasSubstr("Read-only file system"));
  }
}

TEST(DataDirectory, AFullDiskIsRefusedAtTheStart) {
  TempDir dir;
  SmallDisk disk(dir.File("disk"), "size=1m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  fs::create_directory(dir.File("disk/data"));
  disk.LeaveFree(0);
  const ProgramResult result = RunOn(dir.File("disk/data"), dir);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr(dir.File("disk/data")));
  EXPECT_THAT(result.err, HasSubstr("No space left on device"));
  disk.Free();
  fs::resize_file(dir.File("disk/data/SWIFTLET"), 0);  // as the full disk left it
  fs::create_directory_symlink(dir.File("disk/data"), dir.File("data"));
  ServerProcess server({.dir = dir.path()});
  EXPECT_TRUE(server.running()) << "what was begun is finished once there is space";
}

TEST(DataDirectory, OneThatIsMissingIsCreatedAndForeignOnesAreRefused) {
  TempDir dir;
  {
    ServerProcess server({.dir = dir.path()});
    ASSERT_TRUE(server.running());
    EXPECT_EQ(server.Terminate(), 0);
  }
  fs::create_directory(dir.File("foreign"));
  std::ofstream(dir.File("foreign/letter.txt")) << "hello";
  ProgramResult result = RunOn(dir.File("foreign"), dir);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("not a Swiftlet database"));
  result = RunOn(dir.File("foreign/letter.txt/data"), dir);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("letter.txt"));
  EXPECT_THAT(result.err, HasSubstr("Not a directory"));
  // Ours, but its CURRENT is gone.
  fs::remove(dir.File("data/CURRENT"));
  result = RunOn(dir.File("data"), dir);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("the file CURRENT is missing"));
}

TEST(DataDirectory, DeletedWhileRunningRefusesWritesAndServesReads) {
  TempDir dir;
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(dir.path() + "/models"), {.version = 1}).ok());
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.running());
  Recorder recorder;
  for (int i = 0; i < 5; ++i) ASSERT_OK(recorder.Record(server));
  fs::remove_all(server.data_dir());
  const grpc::Status status = recorder.Record(server);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.error_message(), HasSubstr("the data directory was deleted"));
  EXPECT_THAT(status.error_message(), HasSubstr(server.data_dir()));
  EXPECT_EQ(server.Metric("swiftlet_storage_writable"), 0);
  recorder.ExpectAllThere(server);
  v1::RecommendResponse answer;
  ASSERT_OK(server.Recommend(UserRequest("u", 5), &answer));
  EXPECT_EQ(answer.items_size(), 5);
}

// `spoil` makes that nothing can be written there.
void ExpectNoRollback(const std::function<void(const SmallDisk&)>& spoil, grpc::StatusCode code,
                      const std::string& reason) {
  TempDir dir;
  SmallDisk disk(dir.File("models"), "size=4m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  const ModelDirectory models(dir.File("models"));
  for (const int64_t version : {1, 2}) {
    ASSERT_TRUE(PublishRandomSnapshot(models, {.version = version}).ok());
  }
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.WaitForVersion(2));
  spoil(disk);
  v1::LoadSnapshotResponse response;
  for (int i = 0; i < 2; ++i) {
    EXPECT_CODE(server.LoadSnapshot(1, &response), code,
                "snapshot 1 cannot be pinned in " + dir.File("models") + ", so it was not loaded: ");
    EXPECT_CODE(server.LoadSnapshot(1, &response), code, reason);
  }
  EXPECT_EQ(server.Metric("swiftlet_snapshot_loads_total{result=\"ok\"}"), 1) << "that of the start";
  EXPECT_EQ(server.GetStatus().serving().version(), 2);
  // Where nothing is to be written, nothing fails.
  ASSERT_OK(server.LoadSnapshot(0, &response));
  EXPECT_EQ(response.snapshot().version(), 2);
}

TEST(ModelDisk, WhatCannotBePinnedOnAReadOnlyDiskIsNotLoaded) {
  ExpectNoRollback([](const SmallDisk& disk) { ASSERT_TRUE(disk.MakeReadOnly()); },
                   grpc::StatusCode::FAILED_PRECONDITION, "Read-only file system");
}

TEST(ModelDisk, WhatCannotBePinnedOnAFullDiskIsNotLoaded) {
  ExpectNoRollback([](const SmallDisk& disk) { disk.LeaveFree(0); }, grpc::StatusCode::RESOURCE_EXHAUSTED,
                   "No space left on device");
}

TEST(ModelDisk, APinThatIsThereIsLoadedFromAReadOnlyDiskToo) {
  TempDir dir;
  SmallDisk disk(dir.File("models"), "size=4m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  const ModelDirectory models(dir.File("models"));
  for (const int64_t version : {1, 2}) {
    ASSERT_TRUE(PublishRandomSnapshot(models, {.version = version}).ok());
  }
  ASSERT_TRUE(models.WritePinned(1).ok());
  ASSERT_TRUE(disk.MakeReadOnly());
  ServerProcess server({.dir = dir.path()});
  ASSERT_TRUE(server.WaitForVersion(1));
  v1::LoadSnapshotResponse response;
  ASSERT_OK(server.LoadSnapshot(1, &response));
  EXPECT_TRUE(response.snapshot().pinned());
}

TEST(Backups, AFullDiskOfTheirsHarmsNothingElse) {
  TempDir dir;
  SmallDisk disk(dir.File("disk"), "size=8m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  ServerProcess server(
      {.dir = dir.path(), .config = "backup { directory: \"" + dir.File("disk") + "/backups\" }\n"});
  ASSERT_TRUE(server.running());
  Recorder recorder;
  for (int i = 0; i < 5; ++i) ASSERT_OK(recorder.Record(server));
  const auto admin = v1::AdminService::NewStub(server.channel());
  const auto create = [&] {
    grpc::ClientContext context;
    v1::CreateBackupResponse response;
    return admin->CreateBackup(&context, {}, &response);
  };
  disk.LeaveFree(8192);
  EXPECT_CODE(create(), grpc::StatusCode::RESOURCE_EXHAUSTED, dir.File("disk") + "/backups");
  EXPECT_EQ(server.Metric("swiftlet_backups_total{result=\"failed\"}"), 1);
  EXPECT_EQ(server.Metric("swiftlet_storage_writable"), 1);
  ASSERT_OK(recorder.Record(server));
  recorder.ExpectAllThere(server);
  disk.Free();
  EXPECT_OK(create());
}

TEST(Backups, ALowerNumberToKeepMakesRoomOnAFullDisk) {
  TempDir dir;
  SmallDisk disk(dir.File("disk"), "size=8m");
  if (!disk.ok()) GTEST_SKIP() << "cannot mount a file system here";
  const auto config = [&](int keep) {
    return "backup { directory: \"" + dir.File("disk") + "/backups\" keep: " + std::to_string(keep) + " }\n";
  };
  ServerProcess server({.dir = dir.path(), .config = config(4)});
  ASSERT_TRUE(server.running());
  Recorder recorder;
  const auto admin = v1::AdminService::NewStub(server.channel());
  const auto create = [&] {
    EXPECT_OK(recorder.Record(server));
    grpc::ClientContext context;
    v1::CreateBackupResponse response;
    return admin->CreateBackup(&context, {}, &response);
  };
  const auto num_backups = [&] {
    grpc::ClientContext context;
    v1::ListBackupsResponse response;
    EXPECT_OK(admin->ListBackups(&context, {}, &response));
    return response.backups_size();
  };
  for (int i = 0; i < 4; ++i) ASSERT_OK(create());
  disk.LeaveFree(8192);
  EXPECT_CODE(create(), grpc::StatusCode::RESOURCE_EXHAUSTED, dir.File("disk") + "/backups");
  EXPECT_EQ(num_backups(), 4);
  std::ofstream(dir.File("server.textproto")) << config(1);
  server.Signal(SIGHUP);
  ASSERT_TRUE(Eventually(
      [&] { return server.Metric("swiftlet_reloads_total{result=\"ok\",what=\"configuration\"}") == 1; }));
  EXPECT_OK(create());
  EXPECT_EQ(num_backups(), 1);
}

}  // namespace
}  // namespace swiftlet::testing

#include "server/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/snapshot/model_directory.h"
#include "server/security/token_file.h"
#include "storage/backup.h"
#include "storage/database.h"
#include "tests/testing/certificates.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;
using Verdict = Finding::Verdict;

auto Found(Verdict verdict, const std::string& about, const std::string& detail) {
  return AllOf(Field("verdict", &Finding::verdict, verdict), Field("about", &Finding::about, about),
               Field("detail", &Finding::detail, HasSubstr(detail)));
}

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.data_dir = dir_.File("data");
    options_.model_dir = dir_.File("models");
    options_.listen_address = "127.0.0.1:0";
    options_.metrics_address = "";
    host_ = {.cpu_target = "AVX3", .num_cpus = 2, .available_bytes = uint64_t{8} << 30, .max_files = 100'000};
  }
  std::vector<Finding> Look() const { return Examine(options_, host_); }
  void PublishSnapshot(int64_t version) {
    const absl::Status status =
        testing::PublishRandomSnapshot(ModelDirectory(options_.model_dir), {.version = version});
    ASSERT_TRUE(status.ok()) << status;
  }
  std::unique_ptr<Database> MakeDatabase() {
    auto database = Database::Open({.path = options_.data_dir}, EventTypeTable::Default());
    EXPECT_TRUE(database.ok()) << database.status();
    return *std::move(database);
  }

  testing::TempDir dir_;
  ServerOptions options_;
  HostFacts host_;
};

TEST_F(DoctorTest, AFreshMachineHasNoProblem) {
  const std::vector<Finding> findings = Look();
  EXPECT_FALSE(HasProblem(findings)) << FindingsText(findings);
  EXPECT_THAT(findings, Contains(Found(Verdict::kOk, "data_dir", "will be created")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kAdvice, "model_dir", "is not there")));
  EXPECT_FALSE(fs::exists(options_.data_dir)) << "looking makes nothing";
  EXPECT_FALSE(fs::exists(options_.model_dir));
}

TEST_F(DoctorTest, AServerThatRunsIsNoProblem) {
  PublishSnapshot(4);
  const auto database = MakeDatabase();
  const auto before = std::distance(fs::directory_iterator(options_.data_dir), {});
  const std::vector<Finding> findings = Look();
  EXPECT_FALSE(HasProblem(findings)) << FindingsText(findings);
  EXPECT_THAT(findings, Contains(Found(Verdict::kOk, "data_dir", "which a server has open")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kOk, "data_dir", "fsync takes")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kOk, "model_dir", "snapshot 4 (")));
  EXPECT_EQ(std::distance(fs::directory_iterator(options_.data_dir), {}), before) << "the probe is gone";
}

TEST_F(DoctorTest, DamagedFilesAreNamed) {
  PublishSnapshot(4);
  MakeDatabase().reset();
  fs::permissions(options_.model_dir + "/4/model.safetensors", fs::perms::owner_all);
  fs::resize_file(options_.model_dir + "/4/model.safetensors", 1000);
  fs::remove(options_.data_dir + "/CURRENT");
  const std::vector<Finding> findings = Look();
  EXPECT_THAT(findings, Contains(Found(Verdict::kProblem, "model_dir", "snapshot 4 is refused")));
  EXPECT_THAT(findings, Contains(AllOf(Field(&Finding::verdict, Verdict::kProblem),
                                       Field(&Finding::about, "data_dir"))));
}

TEST_F(DoctorTest, WhatARestoreLeftIsNotADatabase) {
  fs::create_directories(options_.data_dir + "/restoring");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "data_dir", "a restore was cut short")));
  fs::remove(options_.data_dir + "/restoring");
  fs::create_directory(options_.data_dir + "/lost+found");
  fs::create_directories(options_.data_dir + "/broken/restoring");  // where the runbook puts what was there
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "data_dir", "is empty")));
}

TEST_F(DoctorTest, AWholeDatabaseBesideWhatARestoreLeftIsOne) {
  MakeDatabase().reset();
  fs::create_directories(options_.data_dir + "/restoring");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "data_dir", "holds a database")));
  EXPECT_FALSE(HasProblem(Look()));
}

TEST_F(DoctorTest, CertificatesAndTokensAreLookedInto) {
  const testing::TestAuthority authority("Test CA");
  const auto write = [&](const std::string& name, const std::string& text) {
    std::ofstream(dir_.File(name)) << text;
    return dir_.File(name);
  };
  const auto use = [&](const testing::TestCertificate& certificate) {
    options_.security.tls_certificate = write("cert.pem", certificate.certificate);
    options_.security.tls_private_key = write("key.pem", certificate.key);
  };
  const long year = 365 * 24 * 3600;
  use(authority.Issue({.common_name = "server", .not_after_seconds = year}));
  options_.security.token_file = write(
      "tokens", FormatToken({.name = "shop", .roles = RoleSet::Of(Role::kRecommend), .digest = Sha256("s")}));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "security.tls_certificate", "cert.pem is valid until ")));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "security.token_file", "tokens has 1 token")));
  EXPECT_FALSE(HasProblem(Look()));

  use(authority.Issue({.common_name = "server", .not_after_seconds = 3600}));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kAdvice, "security.tls_certificate", "is valid until ")));
  const auto advice = [&] {
    for (const Finding& finding : Look()) {
      if (finding.about == "security.tls_certificate") return finding.advice;
    }
    return std::string();
  };
  use(authority.Issue({.common_name = "server", .not_after_seconds = -10}));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "security.tls_certificate",
                                     "cert.pem: tls_certificate: has expired, at 20")));
  EXPECT_THAT(advice(), HasSubstr("put a valid certificate and its key where these are"));
  use(authority.Issue({.common_name = "server", .not_before_seconds = 1800}));
  EXPECT_THAT(Look(),
              Contains(Found(Verdict::kProblem, "security.tls_certificate", "is not valid before 20")));
  write("key.pem", authority.Issue({.common_name = "other"}).key);
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "security.tls_certificate",
                                     "tls_private_key: is not the key of tls_certificate")));
  EXPECT_THAT(advice(), HasSubstr("PEM files that belong together"));
  options_.security.tls_private_key = dir_.File("nowhere.pem");
  EXPECT_THAT(Look(),
              Contains(Found(Verdict::kProblem, "security.tls_certificate", "nowhere.pem: cannot read")));
  write("tokens", "shop nonsense\n");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "security.token_file", "tokens:1: ")));
  write("tokens", FormatToken({.name = "shop",
                               .roles = RoleSet::Of(Role::kRecommend),
                               .digest = Sha256("s"),
                               .expires_ms = 1000}));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kAdvice, "security.token_file", "1 of them expired")));
}

TEST_F(DoctorTest, WhoReachesTheServerIsMentioned) {
  EXPECT_THAT(Look(), Not(Contains(Field(&Finding::about, "security"))));
  options_.listen_address = "0.0.0.0:0";  // by insecure_listen
  EXPECT_THAT(Look(),
              Contains(Found(Verdict::kAdvice, "security",
                             "whoever reaches 0.0.0.0:0 may call everything and read what others say")));
  EXPECT_FALSE(HasProblem(Look()));
}

TEST_F(DoctorTest, AConfigurationThatIsRefusedIsAProblem) {
  const std::vector<Finding> findings = ConfigurationProblems("a:1:2: b: is bad\nc: is worse");
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_THAT(findings, Contains(Found(Verdict::kProblem, "configuration", "c: is worse")));
}

TEST_F(DoctorTest, BackupsAreLookedFor) {
  EXPECT_THAT(Look(), Contains(Found(Verdict::kAdvice, "backup.directory", "no backups are made")));
  options_.backup.directory = dir_.File("backups");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kAdvice, "backup.directory", "is not there")));
  const auto database = MakeDatabase();
  ASSERT_TRUE(database->CreateBackup({.directory = options_.backup.directory}).ok());
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "backup.directory", "1 backup, the newest (1) of ")));
  options_.backup.expected_every = absl::Nanoseconds(1);
  EXPECT_THAT(Look(), Contains(Found(Verdict::kAdvice, "backup.directory", "older than")));
  fs::create_directory(dir_.File("foreign"));
  std::ofstream(dir_.File("foreign/thesis.tex")) << "x";
  options_.backup.directory = dir_.File("foreign");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "backup.directory", "holds other things")));
}

TEST_F(DoctorTest, OtherPeoplesDirectoriesAreNotTaken) {
  fs::create_directory(options_.data_dir);
  std::ofstream(options_.data_dir + "/thesis.tex") << "x";
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "data_dir", "holds other things")));
  options_.data_dir += "/thesis.tex";
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "data_dir", "is not a directory")));
}

TEST_F(DoctorTest, APinnedOldSnapshotIsMentioned) {
  PublishSnapshot(4);
  PublishSnapshot(5);
  ASSERT_TRUE(ModelDirectory(options_.model_dir).WritePinned(4).ok());
  const std::vector<Finding> findings = Look();
  EXPECT_THAT(findings, Contains(Found(Verdict::kOk, "model_dir", "snapshot 4 (")));
  EXPECT_THAT(findings,
              Contains(Found(Verdict::kAdvice, "model_dir", "snapshot 4 is pinned, 5 was published")));
}

TEST_F(DoctorTest, TheMachineIsHeldAgainstTheConfiguration) {
  host_.cpu_target = "SSE2";
  host_.available_bytes = uint64_t{200} << 20;
  host_.max_files = 1024;
  host_.swap_used_bytes = uint64_t{1} << 30;
  options_.num_io_threads = 16;
  const std::vector<Finding> findings = Look();
  EXPECT_THAT(findings, Contains(Found(Verdict::kAdvice, "processor", "SSE2")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kAdvice, "num_io_threads", "16 threads for 2 CPUs")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kProblem, "memory", "200 MiB available")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kAdvice, "open files", "1024 open files")));
  EXPECT_THAT(findings, Contains(Found(Verdict::kAdvice, "swap space", "1.0 GiB")));
  const std::string text = FindingsText(findings);
  EXPECT_THAT(text, HasSubstr("problem  memory "));
  EXPECT_THAT(text, HasSubstr("-> lower storage.user_cache_bytes"));
  EXPECT_THAT(text, HasSubstr("\n1 problem, "));
  const auto json = nlohmann::json::parse(FindingsJson(findings));
  EXPECT_EQ(json["problems"], 1);
  EXPECT_EQ(json["findings"].size(), findings.size());
  EXPECT_EQ(json["findings"][0]["verdict"], "advice");
}

TEST_F(DoctorTest, AddressesThatCannotBeListenedOn) {
  options_.listen_address = "192.0.2.1:50051";  // RFC 5737: nobody's
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "listen_address", "192.0.2.1:50051: ")));
  options_.listen_address = "no.such.host.invalid:1";
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "listen_address", "no.such.host.invalid:1: ")));
  options_.listen_address = "unix:" + dir_.File("socket");
  EXPECT_FALSE(HasProblem(Look()));
  options_.listen_address = "unix:" + dir_.File("nowhere/socket");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "listen_address", "nowhere/socket: No such file")));
}

TEST_F(DoctorTest, ASocketThatCannotBeListenedOn) {
  options_.unix_socket = dir_.File("socket");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "unix_socket", "socket is free")));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  options_.unix_socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "unix_socket", "another process listens on it")));
  {
    const auto database = MakeDatabase();
    EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "unix_socket", "as a server is running")));
  }
  close(fd);
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "unix_socket", "socket is free")));
  EXPECT_TRUE(fs::exists(options_.unix_socket)) << "looking removes nothing";
  std::ofstream(dir_.File("thesis.tex")) << "x";
  options_.unix_socket = dir_.File("thesis.tex");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "unix_socket", "something else of this name")));
}

TEST_F(DoctorTest, FilesThatTheServerWrites) {
  options_.security.audit_log = dir_.File("audit.log");
  options_.port_file = dir_.File("ports");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "security.audit_log", "audit.log can be written")));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kOk, "port_file", "ports can be written")));
  EXPECT_FALSE(fs::exists(options_.security.audit_log));
  options_.security.audit_log = dir_.File("nowhere/audit.log");
  options_.port_file = dir_.File("nowhere/ports");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "security.audit_log", "nowhere: No such file")));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "port_file", "nowhere: No such file")));
  fs::create_directory(dir_.File("directory"));
  options_.security.audit_log = options_.port_file = dir_.File("directory");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "security.audit_log", "directory: Is a directory")));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "port_file", "directory: Is a directory")));
}

TEST_F(DoctorTest, DirectoriesThatCannotBeCreated) {
  std::ofstream(dir_.File("file")) << "x";
  options_.data_dir = dir_.File("file/data");
  options_.model_dir = dir_.File("file/models");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "data_dir", "file is not a directory")));
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "model_dir", "file is not a directory")));
  options_.model_dir = dir_.File("file");
  EXPECT_THAT(Look(), Contains(Found(Verdict::kProblem, "model_dir", "file is not a directory")));
}

TEST(HostFacts, AreRead) {
  const HostFacts host = ReadHostFacts();
  EXPECT_NE(host.cpu_target, "");
  EXPECT_GE(host.num_cpus, 1);
  EXPECT_GT(host.available_bytes, uint64_t{1} << 20);
  EXPECT_GT(host.max_files, 0u);
}

}  // namespace
}  // namespace swiftlet

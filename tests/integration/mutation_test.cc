// More than 1,000 damaged and hostile snapshots against a server that serves: each is refused with a reason,
// the one that serves goes on serving, and nothing is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"
#include "tests/integration/snapshot_mutations.h"
#include "tests/integration/versioned_models.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kEvery = 5;
#else
constexpr size_t kEvery = 1;
#endif

constexpr size_t kWarm = 600;
constexpr VersionedModelOptions kModel = {.num_items = 60, .dim = 10, .num_users = 12};
constexpr VersionedModelOptions kOther = {.num_items = 70, .dim = 12, .num_users = 9};

int64_t CountIn(const std::string& path) {
  return std::distance(fs::directory_iterator(path), fs::directory_iterator());
}

int64_t ResidentKb(pid_t pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  int64_t kb = 0;
  for (std::string word; status >> word;) {
    if (word == "VmRSS:") status >> kb;
  }
  return kb;
}

TEST(MutationTest, AThousandBadSnapshotsAreRefusedWithAReasonWhileTheOldOneServes) {
  TempDir dir, elsewhere;
  const std::string models = dir.path() + "/models", made = elsewhere.path();
  PublishVersion(models, 1, kModel);
  PublishVersion(made, 2, kModel);
  PublishVersion(made, 3, kOther);
  const std::string good = made + "/2", bad = models + "/2";
  ExpectedAnswers expected;
  expected.Add(models + "/1", 1, kModel);
  expected.Add(good, 2, kModel);
  const std::vector<Mutation> mutations = MakeMutations(good, made + "/3", /*seed=*/20260515);

  ServerProcess server({.dir = dir.path(), .snapshot_config = "keep_versions: 10"});
  ASSERT_TRUE(server.running());
  ASSERT_TRUE(server.WaitForVersion(1));
  uint64_t num_calls = 0;
  const auto serves = [&](int64_t version) {
    const uint64_t user = num_calls++ % kModel.num_users;
    v1::RecommendResponse response;
    const grpc::Status status =
        server.Recommend(UserRequest(absl::StrCat("user-", user), ExpectedAnswers::kNumItems), &response);
    if (!status.ok()) return status.error_message();
    if (response.snapshot_version() != version) {
      return absl::StrCat("version ", response.snapshot_version(), " serves, not ", version);
    }
    return expected.Compare(user, response);
  };

  size_t num_refused = 0, num_same = 0;
  int64_t descriptors = 0, resident_kb = 0;
  for (size_t i = 0; i < mutations.size(); i += kEvery) {
    const Mutation& mutation = mutations[i];
    SCOPED_TRACE(mutation.name);
    fs::remove_all(bad);
    fs::create_directory(bad);
    for (const auto& file : fs::directory_iterator(good)) {
      fs::copy_file(file.path(), bad + "/" + file.path().filename().string());
      fs::permissions(bad + "/" + file.path().filename().string(), fs::perms::owner_write,
                      fs::perm_options::add);
    }
    mutation.apply(bad);
    v1::LoadSnapshotResponse response;
    const grpc::Status status = server.LoadSnapshot(2, &response);
    if (status.ok() && mutation.may_mean_the_same) {
      // Then it has to mean the same.
      for (uint64_t user = 0; user < kModel.num_users; ++user) ASSERT_EQ(serves(2), "");
      EXPECT_EQ(response.snapshot().num_items(), kModel.num_items);
      EXPECT_EQ(response.snapshot().num_users(), static_cast<int64_t>(kModel.num_users));
      EXPECT_EQ(response.snapshot().metrics().at("ndcg@10"), 0.125);
      ++num_same;
      ASSERT_TRUE(server.LoadSnapshot(1, &response).ok());
      ASSERT_EQ(serves(1), "");
      continue;
    }
    ASSERT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << status.error_message();
    ++num_refused;
    // "snapshot 2 was refused: <file>: <what is wrong>".
    const std::string& message = status.error_message();
    const size_t file = message.find(bad + "/");
    ASSERT_NE(file, std::string::npos) << message;
    const size_t colon = message.find(": ", file);
    ASSERT_NE(colon, std::string::npos) << message;
    EXPECT_GE(message.size() - colon, 12u) << message;
    EXPECT_TRUE(mutation.reasons.empty() ||
                std::any_of(mutation.reasons.begin(), mutation.reasons.end(),
                            [&](const std::string& r) { return message.find(r) != std::string::npos; }))
        << message << "\nexpected one of " << ::testing::PrintToString(mutation.reasons);
    ASSERT_EQ(serves(1), "");
    // Once every part of the loading, the refusing and the few swaps has been at work.
    if (num_refused == kWarm / kEvery) {
      descriptors = CountIn(absl::StrCat("/proc/", server.pid(), "/fd"));
      resident_kb = ResidentKb(server.pid());
    }
  }
  std::printf("%zu refused, %zu mean the same; resident after %zu %ld kB, after all %ld kB\n", num_refused,
              num_same, kWarm / kEvery, resident_kb, ResidentKb(server.pid()));
  if (kEvery == 1) {
    EXPECT_GE(num_refused, 1000u);
    EXPECT_LE(ResidentKb(server.pid()), resident_kb + resident_kb / 20);
  }
  EXPECT_LE(CountIn(absl::StrCat("/proc/", server.pid(), "/fd")), descriptors);
  EXPECT_EQ(server.Metric("swiftlet_snapshots_resident"), 1);
  EXPECT_EQ(server.Metric("swiftlet_snapshot_loads_total{result=\"failed\"}"),
            static_cast<double>(num_refused));
  EXPECT_EQ(server.GetStatus().serving().version(), 1);
  // No mapping and no link of a refused file is left.
  std::ifstream maps(absl::StrCat("/proc/", server.pid(), "/maps"));
  for (std::string line; std::getline(maps, line);) {
    EXPECT_EQ(line.find(bad + "/"), std::string::npos) << line;
  }
  for (const auto& file : fs::directory_iterator(server.data_dir())) {
    if (file.path().extension() != ".sst") continue;
    EXPECT_LE(fs::hard_link_count(file.path()), 2u) << file.path();
  }
  // A good one is loaded as ever.
  fs::remove_all(bad);
  fs::copy(good, bad);
  v1::LoadSnapshotResponse response;
  ASSERT_OK(server.LoadSnapshot(2, &response));
  EXPECT_EQ(serves(2), "");
  EXPECT_EQ(server.Terminate(), 0) << server.Log();
}

}  // namespace
}  // namespace swiftlet::testing

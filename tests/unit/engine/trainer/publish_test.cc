#include "engine/trainer/publish.h"

#include <filesystem>
#include <utility>

#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/interrupt.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

absl::Status WriteRandom(const std::string& directory, int64_t version) {
  return WriteSnapshot(directory, testing::RandomSnapshot({.version = version}));
}

std::vector<std::string> Entries(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(PublishTest, PublishesTheNextVersion) {
  testing::TempDir dir;
  const Destination destination{.models_dir = dir.File("models"), .output_dir = ""};
  EXPECT_EQ(WriteAndPublish(destination, WriteRandom)->version, 1);
  EXPECT_EQ(WriteAndPublish(destination, WriteRandom)->version, 2);
  EXPECT_EQ(ModelDirectory(dir.File("models")).ReadCurrent()->value(), 2);
  EXPECT_THAT(Entries(dir.File("models")), ::testing::ElementsAre("1", "2", "CURRENT"));
}

TEST(PublishTest, AVersionThatAnotherTrainerTookIsWrittenAgainAsTheNext) {
  testing::TempDir dir;
  const Destination destination{.models_dir = dir.File("models"), .output_dir = ""};
  bool raced = false;
  const auto published = WriteAndPublish(destination, [&](const std::string& directory, int64_t version) {
    if (!std::exchange(raced, true)) {
      EXPECT_EQ(WriteAndPublish(destination, WriteRandom)->version, version);
    }
    return WriteRandom(directory, version);
  });
  ASSERT_TRUE(published.ok()) << published.status();
  EXPECT_EQ(published->version, 2);
  EXPECT_THAT(Entries(dir.File("models")), ::testing::ElementsAre("1", "2", "CURRENT"));
}

TEST(PublishTest, APlaceThatCannotBePublishedToIsAnErrorBeforeAnyWork) {
  testing::TempDir dir;
  EXPECT_FALSE(CheckDestination({.models_dir = "/proc/models", .output_dir = ""}).ok());
  std::filesystem::create_directory(dir.File("models"));
  trainer_testing::WriteFile(dir.File("models/CURRENT"), "garbage");
  const absl::Status status = CheckDestination({.models_dir = dir.File("models"), .output_dir = ""});
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("garbage"));
  // Where there are models, a publication is what mends it.
  ASSERT_TRUE(testing::WriteRandomSnapshot(dir.File("models/6"), {.version = 6}).ok());
  const Destination destination{.models_dir = dir.File("models"), .output_dir = ""};
  EXPECT_EQ(WriteAndPublish(destination, WriteRandom)->version, 7);
  EXPECT_EQ(*ModelDirectory(dir.File("models")).ReadCurrent(), 7);
}

TEST(PublishTest, NothingIsLeftOrPublishedAfterAnErrorAnInterruptOrABadSnapshot) {
  testing::TempDir dir;
  const Destination destination{.models_dir = dir.File("models"), .output_dir = ""};
  EXPECT_FALSE(WriteAndPublish(destination, [](const std::string& directory, int64_t) {
                 trainer_testing::WriteFile(directory + "/model.safetensors", "half");
                 return absl::InternalError("no");
               }).ok());
  EXPECT_FALSE(WriteAndPublish(destination, [](const std::string& directory, int64_t version) {
                 const absl::Status status = WriteRandom(directory, version);
                 std::filesystem::resize_file(directory + "/model.safetensors", 1000);
                 return status;
               }).ok());
  const absl::Status interrupted =
      WriteAndPublish(destination, [](const std::string& directory, int64_t version) {
        SetInterrupted(true);
        return WriteRandom(directory, version);
      }).status();
  SetInterrupted(false);
  EXPECT_TRUE(absl::IsCancelled(interrupted)) << interrupted;
  EXPECT_THAT(Entries(dir.File("models")), ::testing::IsEmpty());
}

TEST(PublishTest, OutputIsANewDirectory) {
  testing::TempDir dir;
  const Destination destination{.models_dir = "", .output_dir = dir.File("out/")};
  ASSERT_TRUE(WriteAndPublish(destination, WriteRandom).ok());
  EXPECT_THAT(Entries(dir.path()), ::testing::ElementsAre("out"));
  EXPECT_TRUE(ModelSnapshot::Load(dir.File("out"), {}).ok());
  EXPECT_EQ(CheckDestination(destination).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(CheckDestination({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckDestination({.models_dir = "a", .output_dir = "b"}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace swiftlet

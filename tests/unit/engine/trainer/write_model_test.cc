#include "engine/trainer/write_model.h"

#include <filesystem>

#include "engine/trainer/evaluate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using trainer_testing::CyclicData;

TEST(WriteModelTest, WritesUserVectorsButForZeroRows) {
  testing::TempDir dir;
  MatrixF vectors = MatrixF::Constant(3, 2, 0.5f);
  vectors.row(1).setZero();
  DatasetBuilder builder(EventTypeTable::Default());
  for (const char* user : {"a", "b", "c"}) builder.AddEvent(user, "item", 1, 0, 1);
  const Dataset data = *builder.Build();
  SnapshotContents contents = DescribeItems(data, 1, 1000);
  contents.dim = 2;
  contents.item_vectors = {1, 2};
  SetUniformAttention(10, &contents);
  std::filesystem::create_directory(dir.File("model"));
  ASSERT_TRUE(WriteModel(dir.File("model"), contents, data.user_ids, vectors).ok());
  const auto snapshot = ModelSnapshot::Load(dir.File("model"), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->manifest().num_users, 2u);
  const UserVectors users = *LoadUserVectors(**snapshot);
  EXPECT_EQ(users.size(), 2u);
  EXPECT_THAT(users.at("c"), ElementsAre(0.5f, 0.5f));
  EXPECT_FALSE(users.contains("b"));
}

TEST(WriteModelTest, MeanOfHistoryKeepsVectorsAndDropsTheEncoder) {
  testing::TempDir dir;
  const auto snapshot =
      testing::WriteAndLoad(dir.File("model"), testing::RandomSnapshot({.num_items = 20, .dim = 5}));
  const auto mean = testing::WriteAndLoad(dir.File("mean"), MeanOfHistoryContents(*snapshot, 1000));
  ASSERT_EQ(mean->num_items(), 20u);
  for (uint32_t row = 0; row < 20; ++row) {
    EXPECT_EQ(mean->ItemId(row), snapshot->ItemId(row));
    for (uint32_t d = 0; d < 5; ++d) {
      EXPECT_EQ(mean->ItemVector(row)[d], snapshot->ItemVector(row)[d]);
      EXPECT_EQ(mean->InputVector(row)[d], snapshot->ItemVector(row)[d]);
    }
    EXPECT_EQ(mean->Bias(row), 0);
    EXPECT_EQ(mean->AttentionLogit(row), 0);
  }
}

TEST(WriteModelTest, ATemporaryDirectoryGoesAwayUnlessReleased) {
  std::string path;
  {
    const auto directory = *MakeTemporaryDirectory();
    path = directory->path();
    trainer_testing::WriteFile(path + "/file", "x");
    EXPECT_TRUE(std::filesystem::exists(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace swiftlet

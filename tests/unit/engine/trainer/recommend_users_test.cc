#include "engine/trainer/recommend_users.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/trainer/write_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using trainer_testing::kView;

// Four items under the plain mean of the history: user "u" has seen a, then b, user "other" all of them.
class RecommendUsersTest : public ::testing::Test {
 protected:
  RecommendUsersTest() {
    DatasetBuilder builder(EventTypeTable::Default());
    for (const char* item : {"a", "b", "c", "d"}) builder.AddEvent("other", item, kView, 0, 1);
    builder.AddEvent("u", "a", kView, 0, 10);
    builder.AddEvent("u", "b", kView, 0, 20);
    data_ = *builder.Build();
    SnapshotContents contents = DescribeItems(data_, 1, 1000);
    contents.dim = 2;
    contents.item_vectors = {1, 0, 0, 1, 0.5f, 0.25f, 0.125f, 0.25f};
    SetUniformAttention(10, &contents);
    snapshot_ = testing::WriteAndLoad(dir_.File("model"), contents);
  }
  absl::Status Run(const RecommendUsersOptions& options, std::span<const CatalogItem> catalog = {},
                   ThreadPool* pool = nullptr) {
    lines_.clear();
    return RecommendUsers(*snapshot_, users_, data_, catalog, options, pool, [&](const std::string& lines) {
      lines_ += lines;
      return absl::OkStatus();
    });
  }

  testing::TempDir dir_;
  Dataset data_;
  std::shared_ptr<const ModelSnapshot> snapshot_;
  UserVectors users_;
  std::string lines_;
};

TEST_F(RecommendUsersTest, ListsWhatTheUserHasNotSeen) {
  ASSERT_TRUE(Run({}).ok());
  EXPECT_EQ(lines_, "u\t1\tc\t0.375\nu\t2\td\t0.1875\n");  // q = (1/2, 1/2); "other" has seen everything
}

TEST_F(RecommendUsersTest, OnlyTheNewestEventsCountEvenAsSeen) {
  ASSERT_TRUE(Run({.k = 2, .max_history = 1}).ok());
  EXPECT_THAT(lines_, HasSubstr("u\t1\tc\t0.25\nu\t2\td\t0.25\n"));  // q = b; a, seen before it, has score 0
  ASSERT_TRUE(Run({.k = 3, .max_history = 1}).ok());
  EXPECT_THAT(lines_, HasSubstr("u\t3\ta\t0\n"));
  ASSERT_TRUE(Run({.max_history = 0}).ok());
  EXPECT_THAT(lines_, Not(HasSubstr("\ta\t")));
}

TEST_F(RecommendUsersTest, TheLongTermVectorAndTheCatalogueCount) {
  users_["u"] = {0, 2};
  const CatalogItem deleted{.item_id = "c", .deleted = true};
  ASSERT_TRUE(Run({}, {&deleted, 1}).ok());
  EXPECT_THAT(lines_, HasSubstr("u\t1\td\t0.2916666"));  // q = (1/3, 1)
  EXPECT_THAT(lines_, Not(HasSubstr("\tc\t")));
}

TEST_F(RecommendUsersTest, ManyUsersComeInOrderWithAnyNumberOfThreads) {
  DatasetBuilder builder(EventTypeTable::Default());
  std::mt19937 random(1);
  for (int u = 0; u < 300; ++u) {
    builder.AddEvent(absl::StrCat("user", u), std::string(1, static_cast<char>('a' + random() % 4)), kView, 0,
                     1);
  }
  data_ = *builder.Build();
  ASSERT_TRUE(Run({}).ok());
  const std::string one = lines_;
  EXPECT_EQ(std::count(one.begin(), one.end(), '\n'), 900);
  ThreadPool pool(3);
  ASSERT_TRUE(Run({}, {}, &pool).ok());
  EXPECT_EQ(lines_, one);
}

TEST_F(RecommendUsersTest, RefusesWhatNoLineCanHold) {
  EXPECT_EQ(Run({.k = 0}).code(), absl::StatusCode::kInvalidArgument);
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("user\twith a tab", "a", kView, 0, 1);
  data_ = *builder.Build();
  const absl::Status status = Run({});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("with a tab"));
}

}  // namespace
}  // namespace swiftlet

#include "engine/snapshot/snapshot_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>

#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using testing::RandomSnapshot;
using testing::TempDir;

TEST(WriteSnapshotTest, RefusesInconsistentContentsByName) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  using C = SnapshotContents;
  const std::vector<std::pair<std::function<void(C&)>, std::string>> cases = {
      {[](C& c) { c.dim = 0; }, "dim"},
      {[](C& c) { c.dim = 5000; }, "dim"},
      {[](C& c) { c.item_ids.clear(); }, "item_ids"},
      {[](C& c) { c.item_ids.emplace_back("one-more"); }, "item_vectors"},
      {[](C& c) { c.item_input_vectors.pop_back(); }, "item_input_vectors"},
      {[](C& c) { c.item_bias.pop_back(); }, "item_bias"},
      {[](C& c) { c.item_attention_logits.pop_back(); }, "item_attention_logits"},
      {[](C& c) { c.item_popularity.clear(); }, "item_popularity"},
      {[](C& c) { c.item_titles.pop_back(); }, "item_titles"},
      {[](C& c) { c.item_categories.pop_back(); }, "item_categories"},
      {[](C& c) { c.input_map.pop_back(); }, "input_map"},
      {[](C& c) { c.class_logits.pop_back(); }, "class_logits"},
      {[](C& c) { c.recency_logits.pop_back(); }, "recency_logits"},
      {[](C& c) { c.position_logits.clear(); }, "position_logits"},
      {[](C& c) { c.rating->items.pop_back(); }, "rating.items: expected"},
      {[](C& c) { c.rating->item_variances.pop_back(); }, "rating.item_variances: expected"},
      {[](C& c) { c.rating->implicit.pop_back(); }, "rating.implicit: expected"},
      {[](C& c) { c.rating->ridge.pop_back(); }, "rating.ridge: expected"},
      {[](C& c) { c.rating->counts.pop_back(); }, "rating.counts: expected"},
      {[&](C& c) { c.rating->items[3 * 8 + 7] = kNan; }, "rating.items: item \"item-3\" (row 3)"},
      {[](C& c) { c.rating->item_variances[3 * 8] = -1; }, "rating.item_variances: item \"item-3\""},
      {[&](C& c) { c.rating->implicit[3 * 8] = kNan; }, "rating.implicit: item \"item-3\""},
      {[](C& c) { c.rating->ridge[2] = 0; }, "rating.ridge[2]"},
      {[](C& c) { c.rating->parameters.event_type = 99; }, "manifest: rating.event_type"},
      {[](C& c) { c.rating->parameters.max = 1; }, "manifest: rating.max"},
      {[](C& c) { c.rating->parameters.mean = 9; }, "manifest: rating.mean"},
      {[&](C& c) { c.rating->parameters.mean = kNan; }, "manifest: rating.mean"},
      {[](C& c) { c.item_ids[3] = ""; }, "row 3"},
      {[](C& c) { c.item_ids[3] = std::string(257, 'x'); }, "257 bytes"},
      {[](C& c) { c.item_ids[3] = "\xFF"; }, "row 3"},
      {[](C& c) { c.item_ids[3] = c.item_ids[1]; }, "item \"item-1\" (row 1) and item \"item-1\" (row 3)"},
      {[&](C& c) { c.item_vectors[3 * 16] = kNan; }, "item_vectors: item \"item-3\" (row 3)"},
      {[&](C& c) { c.item_input_vectors[3 * 16] = kNan; }, "item_input_vectors: item \"item-3\""},
      {[](C& c) { c.item_vectors[3 * 16] = 3.4e38f, c.manifest.row_type = RowType::kBf16; },
       "item_vectors: item \"item-3\" (row 3): expected a number in the range of bf16"},
      {[](C& c) { c.item_input_vectors[3 * 16] = -3.4e38f, c.manifest.row_type = RowType::kBf16; },
       "item_input_vectors: item \"item-3\" (row 3): expected a number in the range of bf16"},
      {[&](C& c) { c.item_bias[4] = kNan; }, "item_bias: item \"item-4\""},
      {[&](C& c) { c.item_attention_logits[4] = kNan; }, "item_attention_logits: item \"item-4\""},
      {[](C& c) { c.item_popularity[4] = -1; }, "item_popularity: item \"item-4\""},
      {[](C& c) { c.item_titles[4] = "\xFF"; }, "item_titles: item \"item-4\""},
      {[](C& c) { c.item_categories[4] = {""}; }, "item_categories: item \"item-4\""},
      {[&](C& c) { c.input_map[2] = kNan; }, "input_map[2]"},
      {[&](C& c) { c.class_logits[1] = kNan; }, "class_logits[1]"},
      {[&](C& c) { c.position_logits[1] = kNan; }, "position_logits[1]"},
      {[&](C& c) { c.recency_logits[1] = kNan; }, "recency_logits[1]"},
      {[&](C& c) { c.context_logit = kNan; }, "context_logit"},
      {[&](C& c) { c.manifest.metrics["x"] = kNan; }, "metrics.x"},
      {[](C& c) { c.manifest.version = 0; }, "version"},
      {[](C& c) { c.manifest.model_kind = "gru"; }, "model_kind"},
      {[](C& c) { c.manifest.embedding_space = ""; }, "embedding_space"},
      {[](C& c) { c.manifest.num_users = 5; }, "num_users"},
      {[](C& c) { c.manifest.event_types.clear(); }, "event_types"},
  };
  for (const auto& [change, reason] : cases) {
    TempDir dir;
    SnapshotContents c = RandomSnapshot({.num_items = 8, .with_rating_model = true});
    change(c);
    const absl::Status status = WriteSnapshot(dir.path(), c);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << reason << ": " << status;
    EXPECT_THAT(status.ToString(), HasSubstr(reason));
    EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << reason;
  }
}

TEST(WriteSnapshotTest, MissingDirectoryIsAnErrorWithItsPath) {
  TempDir dir;
  const absl::Status status = WriteSnapshot(dir.File("none"), RandomSnapshot({}));
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr(dir.File("none")));
}

TEST(WriteSnapshotTest, CoversTheUserVectorFileWithAChecksum) {
  TempDir dir;
  const auto write_users = [](const std::string& path, uint32_t dim) {
    std::ofstream(path) << "any bytes: the snapshot does not look inside";
    return absl::OkStatus();
  };
  ASSERT_TRUE(
      testing::WriteRandomSnapshot(dir.path(), {.num_users = 3, .write_user_vectors = write_users}).ok());
  const auto snapshot = ModelSnapshot::Load(dir.path(), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->user_vectors_path(), dir.File(kUserVectorsFile));
  EXPECT_EQ((*snapshot)->manifest().num_users, 3u);
  std::ofstream(dir.File(kUserVectorsFile)) << "any BYTES: the snapshot does not look inside";
  const absl::Status status = ModelSnapshot::Load(dir.path(), {}).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_THAT(status.ToString(), HasSubstr("user_vectors.sst: corrupt"));
}

TEST(WriteSnapshotTest, ZeroAndTinyAndHugeVectorsRoundTrip) {
  TempDir dir;
  SnapshotContents c = RandomSnapshot({.num_items = 4, .dim = 2});
  c.item_vectors = {0, 0, 1e-42f, 0, 3e38f, 3e38f, 1e-20f, 1e-20f};
  const auto snapshot = testing::WriteAndLoad(dir.path(), c);
  EXPECT_EQ(snapshot->inverse_norms()[0], 0);
  EXPECT_EQ(snapshot->inverse_norms()[1], 0);  // 1e42 is no float
  EXPECT_GT(snapshot->inverse_norms()[2], 0);
}

TEST(UpdateManifestMetricsTest, ReplacesMetricsAndNothingElse) {
  TempDir dir;
  ASSERT_TRUE(testing::WriteRandomSnapshot(dir.path(), {}).ok());
  const Manifest before = (*ModelSnapshot::Load(dir.path(), {}))->manifest();
  ASSERT_TRUE(UpdateManifestMetrics(dir.path(), {{"hr@10", 0.5}}).ok());
  Manifest after = (*ModelSnapshot::Load(dir.path(), {}))->manifest();
  EXPECT_EQ(after.metrics, (std::map<std::string, double>{{"hr@10", 0.5}}));
  after.metrics = before.metrics;
  EXPECT_EQ(FormatManifest(after), FormatManifest(before));
  EXPECT_TRUE(absl::IsInvalidArgument(
      UpdateManifestMetrics(dir.path(), {{"x", std::numeric_limits<double>::infinity()}})));
  EXPECT_TRUE(absl::IsNotFound(UpdateManifestMetrics(dir.File("none"), {})));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 2);
}

}  // namespace
}  // namespace swiftlet

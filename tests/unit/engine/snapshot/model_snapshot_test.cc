#include "engine/snapshot/model_snapshot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using testing::RandomSnapshot;
using testing::RandomSnapshotOptions;
using testing::TempDir;
using testing::WriteAndLoad;

// Everything that was put in comes out.
void ExpectSame(const ModelSnapshot& s, const SnapshotContents& c) {
  ASSERT_EQ(s.num_items(), c.item_ids.size());
  ASSERT_EQ(s.dim(), c.dim);
  ASSERT_EQ(s.stride(), RowStride(c.dim));
  ASSERT_EQ(s.row_type(), c.manifest.row_type);
  const auto stored = [&](float x) { return c.manifest.row_type == RowType::kBf16 ? ToFloat(ToBf16(x)) : x; };
  for (uint32_t r = 0; r < s.num_items(); ++r) {
    EXPECT_EQ(s.ItemId(r), c.item_ids[r]);
    EXPECT_EQ(s.Key(r), ItemKeyOf(c.item_ids[r]));
    EXPECT_EQ(s.FindRow(s.Key(r)), r);
    EXPECT_EQ(s.Title(r), c.item_titles.empty() ? "" : c.item_titles[r]);
    EXPECT_EQ(s.Bias(r), c.item_bias.empty() ? 0.0f : c.item_bias[r]);
    EXPECT_EQ(s.AttentionLogit(r), c.item_attention_logits.empty() ? 0.0f : c.item_attention_logits[r]);
    EXPECT_EQ(s.Popularity(r), c.item_popularity[r]);
    std::set<std::string> categories, expected_categories;
    for (const uint32_t id : s.CategoryIds(r)) categories.emplace(s.CategoryName(id));
    if (!c.item_categories.empty()) {
      expected_categories.insert(c.item_categories[r].begin(), c.item_categories[r].end());
    }
    EXPECT_EQ(categories, expected_categories);
    if (c.manifest.row_type == RowType::kFloat32) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(s.ItemVector(r).Floats(nullptr)) % 64, 0u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(s.InputVector(r).Floats(nullptr)) % 64, 0u);
    }
    const std::vector<float>& input = c.item_input_vectors.empty() ? c.item_vectors : c.item_input_vectors;
    double squares = 0;
    for (uint32_t j = 0; j < s.dim(); ++j) {
      EXPECT_EQ(s.ItemVector(r)[j], stored(c.item_vectors[r * c.dim + j]));
      EXPECT_EQ(s.InputVector(r)[j], stored(input[r * c.dim + j]));
      squares += double{s.ItemVector(r)[j]} * s.ItemVector(r)[j];
    }
    EXPECT_NEAR(s.inverse_norms()[r] * std::sqrt(squares), 1.0, 1e-6);
    if (r > 0) {
      EXPECT_GE(s.Popularity(s.popularity_order()[r - 1]), s.Popularity(s.popularity_order()[r]));
    }
  }
  for (int i = 0; i < 1000; ++i) {
    const std::string id = absl::StrCat("nobody-", i);
    EXPECT_EQ(s.FindRow(ItemKeyOf(id)), std::nullopt);
  }
}

TEST(ModelSnapshotTest, TheRatingModelComesOutAsItWasPutIn) {
  TempDir dir;
  const SnapshotContents contents = RandomSnapshot({.num_items = 40, .with_rating_model = true});
  const auto snapshot = WriteAndLoad(dir.path(), contents);
  ASSERT_NE(snapshot->rating_model(), nullptr);
  EXPECT_EQ(snapshot->manifest().rating, contents.rating->parameters);
  const RatingTables& t = snapshot->rating_model()->tables();
  EXPECT_EQ(t.dim, 7u);
  EXPECT_EQ(t.mean, 3.5f);
  EXPECT_EQ(t.min, 1.0f);
  EXPECT_EQ(t.max, 5.0f);
  for (size_t row = 0; row < 40; ++row) {
    EXPECT_EQ(t.counts[row], contents.rating->counts[row]);
    for (size_t j = 0; j < 16; ++j) {
      const auto expected = [&](const std::vector<float>& rows) { return j < 8 ? rows[row * 8 + j] : 0.0f; };
      EXPECT_EQ(t.items[row * 16 + j], expected(contents.rating->items));
      EXPECT_EQ(t.item_variances[row * 16 + j], expected(contents.rating->item_variances));
      EXPECT_EQ(t.implicit[row * 16 + j], expected(contents.rating->implicit));
    }
  }
  for (size_t j = 0; j < 16; ++j) EXPECT_EQ(t.ridge[j], j < 8 ? contents.rating->ridge[j] : 0.0f);
}

TEST(ModelSnapshotTest, AnIndexChangesNoAnswer) {
  TempDir dir;
  for (const auto& [with_bias, row_type] :
       {std::pair(false, RowType::kFloat32), std::pair(true, RowType::kFloat32),
        std::pair(true, RowType::kBf16)}) {
    SnapshotContents contents =
        RandomSnapshot({.num_items = 3000, .dim = 24, .with_bias = with_bias, .row_type = row_type});
    contents.index = IndexMode::kNever;
    const auto without = WriteAndLoad(dir.File("without"), contents);
    contents.index = IndexMode::kAlways;
    const auto with = WriteAndLoad(dir.File("with"), contents);
    ASSERT_FALSE(without->manifest().index.has_value());
    ASSERT_TRUE(with->manifest().index.has_value());
    EXPECT_EQ(with->manifest().index->sample_recall, 1.0);
    EXPECT_GT(with->size_bytes(), without->size_bytes());
    RetrievalScratch scratch;
    std::vector<ScoredRow> got, want;
    for (const Similarity similarity : {Similarity::kDot, Similarity::kCosine}) {
      for (uint32_t row = 0; row < 50; ++row) {
        const std::vector<float> vector = with->ItemVector(row * 60).Values();
        const RetrievalQuery query{.vector = vector, .k = 20, .similarity = similarity};
        EXPECT_TRUE(with->retriever().Search(query, scratch, got).proven_exact);
        without->retriever().Search(query, scratch, want);
        ASSERT_EQ(got, want);
      }
    }
  }
}

TEST(ModelSnapshotTest, EachSimilarityHasTheCalibrationOfItsOwn) {
  TempDir dir;
  SnapshotContents contents = RandomSnapshot({.num_items = 3000});
  contents.index = IndexMode::kAlways;
  ASSERT_TRUE(WriteAndLoad(dir.path(), contents)->approximate_scale(Similarity::kDot).box <= 1);
  Manifest manifest = *ReadManifest(dir.path());
  manifest.index->dot = {.box_scale = 0.5, .code_scale = 0.25, .recall = 1, .rows_scanned = 0};
  manifest.index->cosine = {.box_scale = 0.75, .code_scale = 0.625, .recall = 1, .rows_scanned = 0};
  std::ofstream(dir.path() + "/" + kManifestFile, std::ios::trunc) << FormatManifest(manifest);
  const auto snapshot = ModelSnapshot::Load(dir.path(), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->approximate_scale(Similarity::kDot), (BoundScale{.box = 0.5f, .code = 0.25f}));
  EXPECT_EQ((*snapshot)->approximate_scale(Similarity::kCosine), (BoundScale{.box = 0.75f, .code = 0.625f}));
}

TEST(ModelSnapshotTest, SmallCataloguesAndShapelessVectorsGetNoIndex) {
  TempDir dir;
  EXPECT_FALSE(
      WriteAndLoad(dir.File("small"), RandomSnapshot({.num_items = 2000}))->manifest().index.has_value());
  // Independent normal coordinates of one length: every bound is too wide to leave anything out.
  SnapshotContents contents = RandomSnapshot({.num_items = 10'000, .dim = 128, .with_input_vectors = false});
  for (size_t i = 0; i < contents.item_vectors.size(); i += 128) {
    double square = 0;
    for (size_t j = i; j < i + 128; ++j)
      square += double{contents.item_vectors[j]} * double{contents.item_vectors[j]};
    for (size_t j = i; j < i + 128; ++j) contents.item_vectors[j] /= static_cast<float>(std::sqrt(square));
  }
  EXPECT_FALSE(WriteAndLoad(dir.File("shapeless"), contents)->manifest().index.has_value());
}

TEST(ModelSnapshotTest, HoldsWhatWasWritten) {
  for (const uint32_t dim : {1u, 15u, 16u, 17u, 64u}) {
    TempDir dir;
    const SnapshotContents c = RandomSnapshot({.num_items = 257, .dim = dim});
    const auto snapshot = WriteAndLoad(dir.path(), c);
    ExpectSame(*snapshot, c);
    EXPECT_EQ(snapshot->num_categories(), 5u);
    EXPECT_EQ(snapshot->encoder().max_events(), 50u);
    EXPECT_EQ(snapshot->user_vectors_path(), "");
    snapshot->Prefault();
  }
}

TEST(ModelSnapshotTest, ACopyOnHugePagesHoldsTheSameAndOutlivesTheFile) {
  TempDir dir;
  const SnapshotContents c = RandomSnapshot({.num_items = 257, .dim = 17});
  ASSERT_TRUE(WriteSnapshot(dir.path(), c).ok());
  const std::string model = dir.path() + "/" + kModelFile;
  for (const bool verify : {true, false}) {
    const auto snapshot = ModelSnapshot::Load(
        dir.path(),
        {.verify_checksums = verify, .verify_contents = verify, .prefault = true, .huge_pages = true});
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ExpectSame(**snapshot, c);
    EXPECT_EQ((*snapshot)->size_bytes(), std::filesystem::file_size(model));
    if (verify) continue;
    // Where it is mapped instead, to touch it now would be the end.
    if (!HugePagesAvailable()) GTEST_SKIP() << "no huge pages here";
    std::filesystem::permissions(model, std::filesystem::perms::owner_all);
    std::filesystem::resize_file(model, 0);
    ExpectSame(**snapshot, c);
  }
}

TEST(ModelSnapshotTest, HoldsRowsOfBf16Rounded) {
  for (const uint32_t dim : {1u, 16u, 17u, 64u}) {
    TempDir dir;
    SnapshotContents c = RandomSnapshot({.num_items = 257, .dim = dim, .row_type = RowType::kBf16});
    const auto snapshot = WriteAndLoad(dir.File("bf16"), c);
    ExpectSame(*snapshot, c);
    EXPECT_EQ(snapshot->items().vectors, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(snapshot->items().bf16_vectors) % 64, 0u);
    c.manifest.row_type = RowType::kFloat32;
    const uint64_t floats = WriteAndLoad(dir.File("floats"), c)->size_bytes();
    const uint64_t saved = uint64_t{2} * 257 * RowStride(dim) * 2;  // two tables, two bytes a number
    EXPECT_NEAR(static_cast<double>(floats - snapshot->size_bytes()), static_cast<double>(saved), 256);
  }
  TempDir dir;
  const SnapshotContents c =
      RandomSnapshot({.num_items = 20, .dim = 5, .with_input_vectors = false, .row_type = RowType::kBf16});
  ExpectSame(*WriteAndLoad(dir.path(), c), c);
}

TEST(ModelSnapshotTest, AManifestWithoutARowTypeMeansFloat32) {
  TempDir dir;
  const SnapshotContents c = RandomSnapshot({.num_items = 20});
  WriteAndLoad(dir.path(), c);
  nlohmann::json manifest = nlohmann::json::parse(std::ifstream(dir.File(kManifestFile)));
  ASSERT_EQ(manifest.erase("row_type"), 1u);
  manifest.erase("checksum");
  std::ofstream(dir.File(kManifestFile)) << manifest;
  const auto snapshot = ModelSnapshot::Load(dir.path(), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  ExpectSame(**snapshot, c);
}

TEST(ModelSnapshotTest, OptionalPartsMayBeAbsent) {
  TempDir dir;
  const SnapshotContents c = RandomSnapshot({.num_items = 1,
                                             .dim = 3,
                                             .num_categories = 0,
                                             .with_bias = false,
                                             .with_input_vectors = false,
                                             .with_attention_logits = false,
                                             .with_titles = false});
  const auto snapshot = WriteAndLoad(dir.path(), c);
  ExpectSame(*snapshot, c);
  const float v[] = {1, 2, 3};
  float x[3] = {};
  snapshot->MapToInput(v, x);
  EXPECT_EQ(std::vector<float>(x, x + 3), std::vector<float>(v, v + 3));
}

TEST(ModelSnapshotTest, MapsVectorsToTheInputTable) {
  TempDir dir;
  const SnapshotContents c = RandomSnapshot({.num_items = 5, .dim = 19});
  const auto snapshot = WriteAndLoad(dir.path(), c);
  std::vector<float> x(19);
  snapshot->MapToInput(snapshot->ItemVector(2).Values(), x);
  for (size_t a = 0; a < 19; ++a) {
    double expected = 0;
    for (size_t b = 0; b < 19; ++b) expected += double{c.input_map[a * 19 + b]} * c.item_vectors[2 * 19 + b];
    EXPECT_NEAR(x[a], expected, 1e-5) << a;
  }
}

TEST(ModelSnapshotTest, FindsTheClassOfAnEvent) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  TempDir dir;
  const auto snapshot = WriteAndLoad(
      dir.path(),
      RandomSnapshot({.event_classes = {
                          {6, -kInfinity, -1.0f}, {1, -kInfinity, 1.0f}, {6, 2.5f, 1.0f}, {6, 4.0f, 1.0f}}}));
  EXPECT_EQ(snapshot->ClassOf(6, -1e30f), 0u);
  EXPECT_EQ(snapshot->ClassOf(6, 2.4f), 0u);
  EXPECT_EQ(snapshot->ClassOf(6, 2.5f), 2u);
  EXPECT_EQ(snapshot->ClassOf(6, 4.0f), 3u);
  EXPECT_EQ(snapshot->ClassOf(6, 1e30f), 3u);
  EXPECT_EQ(snapshot->ClassOf(1, 0), 1u);
  EXPECT_EQ(snapshot->ClassOf(2, 0), std::nullopt);
  EXPECT_EQ(snapshot->ClassOf(0, 0), std::nullopt);
}

TEST(ModelSnapshotTest, EncodesWithTheParametersThatWereWritten) {
  TempDir dir;
  SnapshotContents c = RandomSnapshot({.num_items = 4, .dim = 8});
  const auto snapshot = WriteAndLoad(dir.path(), c);
  const EncoderSlot slots[] = {
      {.kind = SlotKind::kLongTerm, .vector = snapshot->InputVector(0).Floats(nullptr)},
      {.kind = SlotKind::kContext, .vector = snapshot->InputVector(1).Floats(nullptr)},
      {.kind = SlotKind::kEvent,
       .event_class = 1,
       .position = 2,
       .vector = snapshot->InputVector(2).Floats(nullptr)}};
  std::vector<float> user(8), weights(3), signs(3);
  EncoderScratch scratch;
  snapshot->encoder().Encode(slots, scratch, user, weights, signs);
  const double logits[] = {c.long_term_logit, c.context_logit,
                           double{c.class_logits[1]} + c.position_logits[2] + c.recency_logits[0]};
  double total = 0;
  for (const double l : logits) total += std::exp(l);
  for (int j = 0; j < 3; ++j) EXPECT_NEAR(weights[j], std::exp(logits[j]) / total, 1e-5) << j;
}

TEST(ModelSnapshotTest, MissingDirectoryIsNotFound) {
  TempDir dir;
  EXPECT_TRUE(absl::IsNotFound(ModelSnapshot::Load(dir.File("9"), {}).status()));
  EXPECT_TRUE(absl::IsNotFound(ModelSnapshot::Load(dir.path(), {}).status()));
}

TEST(ModelSnapshotTest, RefusesADirectoryNamedForAnotherVersion) {
  TempDir dir;
  ASSERT_TRUE(testing::WriteRandomSnapshot(dir.File("7"), {.version = 8}).ok());
  const auto snapshot = ModelSnapshot::Load(dir.File("7"), {});
  EXPECT_TRUE(absl::IsDataLoss(snapshot.status()));
  EXPECT_NE(snapshot.status().ToString().find("version: expected 7"), std::string::npos) << snapshot.status();
}

}  // namespace
}  // namespace swiftlet

// Snapshots with a content tower: what is written is read, and damage is refused with its name.
#include "engine/snapshot/content_binding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
constexpr uint32_t kDim = 10;

ContentTowerData SmallTower() {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  ContentTowerData tower;
  tower.hash_bits = 12;
  tower.unknown_idf = 3;
  ExtractContentFeatures({.title = "a small tower"}, tower.hash_bits, &tower.buckets);
  tower.idf.assign(tower.buckets.size(), 1.5f);
  tower.externals = {{"text", 4}, {"image", 2}};
  const size_t rows = tower.buckets.size() + 1 + 5 + 3, stride = RowStride(kDim);
  tower.output_weights.assign(rows * stride, 0);
  tower.input_weights.assign(rows * stride, 0);
  for (size_t i = 0; i < rows * stride; ++i) {
    if (i % stride >= kDim) continue;
    tower.output_weights[i] = normal(random);
    tower.input_weights[i] = normal(random);
  }
  tower.fact_weights.assign(rows * 2, 0.25f);
  return tower;
}

class ContentBindingTest : public ::testing::Test {
 protected:
  ContentBindingTest() {
    contents_ = testing::RandomSnapshot({.num_items = 20, .dim = kDim});
    contents_.content = SmallTower();
  }
  std::string model_path() const { return dir_.File("model.safetensors"); }

  // Loads what is left after `change` of the tensor's bytes (or shape), with a right checksum.
  absl::Status LoadChanged(const std::string& tensor, const std::function<void(NamedTensor&)>& change,
                           bool verify_contents = true) {
    EXPECT_TRUE(WriteSnapshot(dir_.path(), contents_).ok());
    {
      const auto file = SafetensorsFile::Open(model_path());
      std::vector<NamedTensor> tensors;
      bool found = false;
      for (const auto& [name, t] : (*file)->tensors()) {
        if (name.starts_with("__pad__")) continue;
        tensors.push_back({name, t});
        if (name != tensor) continue;
        found = true;
        change(tensors.back());
        if (tensors.back().name.empty()) tensors.pop_back();
      }
      EXPECT_TRUE(found) << tensor;
      EXPECT_TRUE(WriteSafetensors(dir_.File("changed"), tensors, {}).ok());
    }
    std::filesystem::rename(dir_.File("changed"), model_path());
    Manifest manifest = *ReadManifest(dir_.path());
    manifest.files[kModelFile] = {std::filesystem::file_size(model_path()), *ChecksumFile(model_path())};
    std::ofstream(dir_.File(kManifestFile), std::ios::trunc) << FormatManifest(manifest);
    return ModelSnapshot::Load(dir_.path(), {.verify_contents = verify_contents}).status();
  }
  // The same with element i of a tensor of numbers set.
  template <typename T>
  absl::Status LoadWith(const std::string& tensor, size_t i, T value, bool verify_contents = true) {
    return LoadChanged(
        tensor,
        [&](NamedTensor& t) {
          bytes_.assign(t.tensor.data.begin(), t.tensor.data.end());
          std::memcpy(bytes_.data() + i * sizeof(T), &value, sizeof(T));
          t.tensor.data = bytes_;
        },
        verify_contents);
  }

  testing::TempDir dir_;
  SnapshotContents contents_;
  std::vector<std::byte> bytes_;
};

TEST_F(ContentBindingTest, WhatIsWrittenIsRead) {
  const auto snapshot = testing::WriteAndLoad(dir_.path(), contents_);
  ASSERT_NE(snapshot->content_tower(), nullptr);
  const ContentTower& tower = *snapshot->content_tower();
  EXPECT_EQ(tower.table.hash_bits, 12u);
  EXPECT_EQ(tower.table.unknown_idf, 3);
  ASSERT_EQ(tower.externals.size(), 2u);
  EXPECT_EQ(tower.externals[1].name, "image");
  EXPECT_EQ(tower.externals[1].dim, 2u);
  const std::vector<float> image = {1, 2}, text = {4, 3, 2, 1};
  const ExternalVector vectors[] = {{"text", text}, {"image", image}};
  ContentScratch scratch;
  ContentPlace a, b;
  ASSERT_TRUE(tower.Place({.title = "Small towers"}, vectors, scratch, &a));
  const ContentTowerData data = SmallTower();
  ASSERT_TRUE(data.View(kDim).Place({.title = "Small towers"}, vectors, scratch, &b));
  EXPECT_EQ(a.vector, b.vector);
  EXPECT_EQ(a.input_vector, b.input_vector);
  EXPECT_EQ(a.bias, b.bias);

  // Through the catalogue.
  const CatalogItem item{.item_id = "new",
                         .has_metadata = true,
                         .title = "Small towers",
                         .content_vectors = {{"text", text}, {"image", image}}};
  const auto view = CatalogView::Build(*snapshot, {{item}});
  const uint32_t row = view->FindRow(ItemKeyOf("new")).value();
  EXPECT_EQ(view->ItemVector(row).Values(), a.vector);
  EXPECT_EQ(view->InputVector(row).Values(), a.input_vector);
  EXPECT_EQ(view->Bias(row), a.bias);

  contents_.content->input_weights.clear();
  EXPECT_TRUE(
      testing::WriteAndLoad(dir_.File("no-inputs"), contents_)->content_tower()->input_weights.empty());
  contents_.content.reset();
  EXPECT_EQ(testing::WriteAndLoad(dir_.File("none"), contents_)->content_tower(), nullptr);
}

TEST_F(ContentBindingTest, DamageIsRefusedByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const struct {
    const char* what;
    absl::Status status;
  } cases[] = {
      {"content.numbers", LoadWith("content.numbers", 0, 3.0f)},
      {"content.numbers", LoadWith("content.numbers", 0, 25.0f)},
      {"content.numbers", LoadWith("content.numbers", 0, 12.5f)},
      {"content.numbers", LoadWith("content.numbers", 0, nan)},
      {"content.numbers", LoadWith("content.numbers", 1, -1.0f)},
      {"content.numbers", LoadWith("content.numbers", 1, nan)},
      {"content.buckets", LoadWith("content.buckets", 0, 0xFFFFFFFFu)},
      {"content.buckets", LoadWith("content.buckets", 1, 0u)},
      {"content.idf", LoadWith("content.idf", 0, 0.0f)},
      {"content.idf", LoadWith("content.idf", 0, nan)},
      {"content.output_weights", LoadWith("content.output_weights", 3, nan)},
      {"content.output_weights", LoadWith("content.output_weights", kDim, 1.0f)},
      {"content.input_weights", LoadWith("content.input_weights", 3, nan)},
      {"content.fact_weights", LoadWith("content.fact_weights", 3, nan)},
      {"content.external_dims", LoadWith("content.external_dims", 0, 0u)},
      {"content.external_dims", LoadWith("content.external_dims", 0, 0xFFFFFFFFu)},
      {"content.output_weights", LoadWith("content.external_dims", 0, 7u)},
      {"content.external_name_offsets", LoadWith("content.external_name_offsets", 1, uint64_t{1} << 60)},
      {"content.external_name_offsets", LoadWith("content.external_name_offsets", 0, uint64_t{1} << 60)},
      {"content.external_name_bytes", LoadWith("content.external_name_bytes", 0, uint8_t{0xFF})},
      {"content.external_name_bytes", LoadWith("content.external_name_offsets", 1, uint64_t{0})},
      {"content.idf", LoadChanged("content.idf", [](NamedTensor& t) { t.name.clear(); })},
      {"content.fact_weights", LoadChanged("content.fact_weights", [](NamedTensor& t) { t.name.clear(); })},
      {"content.buckets", LoadChanged("content.numbers", [](NamedTensor& t) { t.name.clear(); })},
      {"content.mistyped",
       LoadChanged("content.input_weights", [](NamedTensor& t) { t.name = "content.mistyped"; })},
  };
  for (const auto& [what, status] : cases) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
}

TEST_F(ContentBindingTest, UncheckedValuesAreSafeAllTheSame) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& change : std::vector<std::function<absl::Status()>>{
           [&] { return LoadWith("content.numbers", 1, nan, false); },
           [&] { return LoadWith("content.buckets", 0, 0xFFFFFFFFu, false); },
           [&] { return LoadWith("content.idf", 0, nan, false); },
           [&] { return LoadWith("content.output_weights", 0, nan, false); },
       }) {
    ASSERT_TRUE(change().ok());
    const auto snapshot = ModelSnapshot::Load(dir_.path(), {.verify_contents = false});
    const CatalogItem item{.item_id = "new", .has_metadata = true, .title = "a small tower"};
    const auto view = CatalogView::Build(**snapshot, {{item}});
    if (const auto row = view->FindRow(ItemKeyOf("new")); row.has_value()) view->ItemVector(*row).Values();
  }
}

TEST_F(ContentBindingTest, TheWriterRefusesATowerThatDoesNotFit) {
  const auto refused = [&](const std::function<void(ContentTowerData&)>& change) {
    contents_.content = SmallTower();
    change(*contents_.content);
    return WriteSnapshot(dir_.path(), contents_).code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.idf.pop_back(); }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.output_weights.pop_back(); }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.input_weights.resize(16); }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.fact_weights.clear(); }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.hash_bits = 60; }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.externals[0].dim = 0; }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.externals[0].name = "image"; }));
  EXPECT_TRUE(refused([](ContentTowerData& t) { t.fact_weights[0] = NAN; }));
  EXPECT_FALSE(refused([](ContentTowerData&) {}));
}

}  // namespace
}  // namespace swiftlet

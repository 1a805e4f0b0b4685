// What a damaged or hostile snapshot gets: a refusal that names the damage, never a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using testing::RandomSnapshot;
using testing::TempDir;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A tensor that can be changed.
struct Tensor {
  DType dtype;
  std::vector<uint64_t> shape;
  std::vector<std::byte> data;

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data.data());
  }
};
using Tensors = std::map<std::string, Tensor>;

class CorruptionTest : public ::testing::Test {
 protected:
  CorruptionTest() {
    EXPECT_TRUE(testing::WriteRandomSnapshot(dir_.path(), {.num_items = 50, .dim = 10}).ok());
    manifest_ = ReadFile(manifest_path());
    model_ = ReadFile(model_path());
  }
  std::string manifest_path() const { return dir_.File(kManifestFile); }
  std::string model_path() const { return dir_.File(kModelFile); }

  // Loads what is left of the snapshot after `change`, with sizes and checksums of the manifest made right.
  absl::Status LoadChanged(const std::function<void(Tensors&)>& change, bool verify_contents = true) {
    WriteFile(model_path(), model_);
    Tensors tensors;
    {
      const auto file = SafetensorsFile::Open(model_path());
      for (const auto& [name, t] : (*file)->tensors()) {
        tensors[name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
      }
    }
    change(tensors);
    std::vector<NamedTensor> named;
    for (const auto& [name, t] : tensors) named.push_back({name, {t.dtype, t.shape, t.data}});
    EXPECT_TRUE(WriteSafetensors(model_path(), named, {}).ok());
    Manifest manifest = *ParseManifest(manifest_);
    manifest.files[kModelFile] = {std::filesystem::file_size(model_path()), *ChecksumFile(model_path())};
    WriteFile(manifest_path(), FormatManifest(manifest));
    return ModelSnapshot::Load(dir_.path(), {.verify_contents = verify_contents}).status();
  }

  TempDir dir_;
  std::string manifest_, model_;
};

// The same, of a snapshot whose rows are bf16.
class Bf16CorruptionTest : public CorruptionTest {
 protected:
  Bf16CorruptionTest() {
    SnapshotContents contents = RandomSnapshot({.num_items = 200, .dim = 20, .row_type = RowType::kBf16});
    contents.index = IndexMode::kAlways;
    EXPECT_TRUE(WriteSnapshot(dir_.path(), contents).ok());
    manifest_ = ReadFile(manifest_path());
    model_ = ReadFile(model_path());
  }
};

// The same, of a snapshot with an index.
class IndexCorruptionTest : public CorruptionTest {
 protected:
  IndexCorruptionTest() {
    SnapshotContents contents = RandomSnapshot({.num_items = 200, .dim = 20});
    contents.index = IndexMode::kAlways;
    EXPECT_TRUE(WriteSnapshot(dir_.path(), contents).ok());
    manifest_ = ReadFile(manifest_path());
    model_ = ReadFile(model_path());
  }
};

// The same, of a snapshot with a rating model of 7 factors, so that there is padding: rows of 8 in 16 floats.
class RatingCorruptionTest : public CorruptionTest {
 protected:
  RatingCorruptionTest() {
    EXPECT_TRUE(
        WriteSnapshot(dir_.path(), RandomSnapshot({.num_items = 50, .with_rating_model = true})).ok());
    manifest_ = ReadFile(manifest_path());
    model_ = ReadFile(model_path());
  }
};

// The same, of a snapshot with neighbours that are users: 7 of 5 items each.
class UsersCorruptionTest : public CorruptionTest {
 protected:
  UsersCorruptionTest() {
    constexpr uint32_t kUsers = 7;
    SnapshotContents contents = RandomSnapshot({.num_items = 35, .dim = 10});
    NeighbourContents& n = contents.neighbours.emplace();
    n.neighbours = {.kind = "user-knn", .scale = 1, .users = {{.nearest = 3, .shrinkage = 1}}};
    n.user_offsets = {0};
    for (uint32_t user = 0; user < kUsers; ++user) {
      for (uint32_t i = 0; i < 5; ++i) n.user_items.push_back(user + i * kUsers);
      n.user_offsets.push_back(n.user_items.size());
    }
    for (uint32_t row = 0; row < 35; ++row) {
      for (uint32_t user = row % 3; user < kUsers; user += 3) {
        n.rows.push_back(user);
        n.weights.push_back(0.5f);
      }
      n.offsets.push_back(n.rows.size());
    }
    EXPECT_TRUE(WriteSnapshot(dir_.path(), contents).ok());
    manifest_ = ReadFile(manifest_path());
    model_ = ReadFile(model_path());
  }
};

TEST_F(UsersCorruptionTest, ComesOutAsItWasPutIn) {
  ASSERT_TRUE(LoadChanged([](Tensors&) {}).ok());
  const auto snapshot = ModelSnapshot::Load(dir_.path(), {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const NeighbourUsers* const users = (*snapshot)->neighbour_users();
  ASSERT_NE(users, nullptr);
  EXPECT_EQ(users->nearest, 3u);
  EXPECT_EQ(users->shrinkage, 1);
  EXPECT_EQ(users->num_users(), 7u);
  EXPECT_THAT(users->ItemsOf(2), ::testing::ElementsAre(2, 9, 16, 23, 30));
  EXPECT_THAT((*snapshot)->neighbours()->RowsOf(4), ::testing::ElementsAre(1, 4));
}

TEST_F(UsersCorruptionTest, EveryTensorsPresenceTypeAndShapeAreChecked) {
  for (const std::string name : {"neighbours.offsets", "neighbours.rows", "neighbours.weights",
                                 "neighbours.user_offsets", "neighbours.user_items"}) {
    const std::vector<std::function<void(Tensor&)>> changes = {
        [](Tensor& t) {
          t = {DType::kI32, {t.data.size() / 4}, std::vector<std::byte>(t.data.size() / 4 * 4)};
        },
        [](Tensor& t) { t.shape.push_back(1); },
        [](Tensor& t) {
          t.shape[0] -= 1;
          t.data.resize(t.data.size() / (t.shape[0] + 1) * t.shape[0]);
        },
        [](Tensor& t) {
          t = {t.dtype, {0}, {}};
        }};
    EXPECT_THAT(LoadChanged([&](Tensors& t) { t.erase(name); }).ToString(),
                HasSubstr(absl::StrCat("\"", name, "\": missing")));
    for (size_t i = 0; i < changes.size(); ++i) {
      for (const bool verify_contents : {true, false}) {
        const absl::Status status = LoadChanged([&](Tensors& t) { changes[i](t[name]); }, verify_contents);
        EXPECT_TRUE(absl::IsDataLoss(status)) << name << " change " << i << ": " << status;
        EXPECT_THAT(status.ToString(), HasSubstr("\"neighbours.")) << "change " << i;
      }
    }
  }
  const absl::Status status =
      LoadChanged([](Tensors& t) { t["neighbours.user"] = t["neighbours.user_items"]; });
  EXPECT_THAT(status.ToString(), HasSubstr("\"neighbours.user\": not known"));
}

TEST_F(UsersCorruptionTest, WhatMemorySafetyRestsOnIsAlwaysChecked) {
  const std::vector<std::pair<std::string, std::function<void(Tensors&)>>> changes = {
      {"neighbours.user_offsets", [](Tensors& t) { t["neighbours.user_offsets"].as<uint64_t>()[0] = 1; }},
      {"neighbours.user_offsets", [](Tensors& t) { t["neighbours.user_offsets"].as<uint64_t>()[3] = 9; }},
      {"neighbours.user_offsets", [](Tensors& t) { t["neighbours.user_offsets"].as<uint64_t>()[7] = 36; }},
      {"neighbours.user_items", [](Tensors& t) { t["neighbours.user_items"].as<uint32_t>()[4] = 35; }},
      {"neighbours.user_items", [](Tensors& t) { t["neighbours.user_items"].as<uint32_t>()[1] = 0; }},
      {"neighbours.rows", [](Tensors& t) { t["neighbours.rows"].as<uint32_t>()[2] = 7; }},
      {"neighbours.rows", [](Tensors& t) { t["neighbours.rows"].as<uint32_t>()[1] = 0; }},
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    for (const bool verify_contents : {true, false}) {
      const absl::Status status = LoadChanged(changes[i].second, verify_contents);
      EXPECT_TRUE(absl::IsDataLoss(status)) << i << ": " << status;
      EXPECT_THAT(status.ToString(), HasSubstr(absl::StrCat("\"", changes[i].first, "\""))) << i;
    }
  }
  const absl::Status status = LoadChanged(
      [](Tensors& t) { t["neighbours.weights"].as<float>()[1] = std::numeric_limits<float>::infinity(); });
  EXPECT_THAT(status.ToString(), HasSubstr("\"neighbours.weights\""));
}

// Users' tensors without the manifest's word would be rows of items.
TEST_F(UsersCorruptionTest, TheManifestSaysWhatRowsAre) {
  Manifest manifest = *ParseManifest(manifest_);
  manifest.neighbours->users.reset();
  manifest_ = FormatManifest(manifest);
  const absl::Status status = LoadChanged([](Tensors&) {});
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("\"neighbours.user_items\": not known"));
}

TEST_F(CorruptionTest, TheUnchangedSnapshotLoads) {
  EXPECT_TRUE(LoadChanged([](Tensors&) {}).ok());
  EXPECT_TRUE(LoadChanged([](Tensors&) {}, /*verify_contents=*/false).ok());
}

TEST_F(CorruptionTest, EveryTensorsPresenceTypeAndShapeAreChecked) {
  std::vector<std::string> names;
  ASSERT_TRUE(LoadChanged([&](Tensors& tensors) {
                for (const auto& [name, t] : tensors) names.push_back(name);
              }).ok());
  ASSERT_EQ(names.size(), 22u);
  const std::vector<std::string> optional = {"item.input_vectors", "item.bias", "item.attention_logits",
                                             "encoder.input_map"};
  for (const std::string& name : names) {
    const bool is_optional = std::find(optional.begin(), optional.end(), name) != optional.end();
    const absl::Status missing = LoadChanged([&](Tensors& t) { t.erase(name); });
    EXPECT_EQ(missing.ok(), is_optional) << name << missing;
    if (!is_optional) {
      EXPECT_THAT(missing.ToString(), HasSubstr(absl::StrCat("\"", name, "\": missing")));
    }
    const std::vector<std::function<void(Tensor&)>> changes = {
        [](Tensor& t) {
          t = {DType::kI32, {t.data.size() / 4}, std::vector<std::byte>(t.data.size() / 4 * 4)};
        },
        [](Tensor& t) { t.shape.push_back(1); },
        [](Tensor& t) {
          t.shape = {1, t.data.size() / DTypeBytes(t.dtype)};
        },
        // One element more; where any length fits a type and rank, it does not fit what points into it.
        [](Tensor& t) {
          t.shape = {t.data.size() / DTypeBytes(t.dtype) + 1};
          t.data.resize(t.data.size() + DTypeBytes(t.dtype));
        },
        [](Tensor& t) {
          t = {t.dtype, {0}, {}};
        }};
    for (size_t i = 0; i < changes.size(); ++i) {
      if (name == "attention.position_logits" && i == 3) continue;  // has any length of at least 1
      for (const bool verify_contents : {true, false}) {
        const absl::Status status = LoadChanged([&](Tensors& t) { changes[i](t[name]); }, verify_contents);
        EXPECT_TRUE(absl::IsDataLoss(status)) << name << " change " << i << ": " << status;
        const std::string owner = name.substr(0, name.find("_bytes"));
        const bool named = status.ToString().find(owner) != std::string::npos ||
                           (name == "item.category_ids" &&
                            status.ToString().find("item.category_offsets") != std::string::npos);
        EXPECT_TRUE(named) << name << " change " << i << ": " << status;
        EXPECT_THAT(status.ToString(), HasSubstr(model_path()));
      }
    }
  }
}

TEST_F(RatingCorruptionTest, EveryTensorsPresenceTypeAndShapeAreChecked) {
  ASSERT_TRUE(LoadChanged([](Tensors&) {}).ok());
  for (const std::string name :
       {"rating.items", "rating.item_variances", "rating.implicit", "rating.ridge", "rating.counts"}) {
    const bool is_optional = name == "rating.item_variances" || name == "rating.implicit";
    EXPECT_EQ(LoadChanged([&](Tensors& t) { t.erase(name); }).ok(), is_optional) << name;
    const std::vector<std::function<void(Tensor&)>> changes = {
        [](Tensor& t) { t.dtype = DType::kI32; }, [](Tensor& t) { t.shape.push_back(1); },
        [](Tensor& t) {
          t.shape[0] -= 1;
          t.data.resize(t.data.size() / (t.shape[0] + 1) * t.shape[0]);
        },
        [](Tensor& t) {
          t = {t.dtype, {0}, {}};
        }};
    for (size_t i = 0; i < changes.size(); ++i) {
      for (const bool verify_contents : {true, false}) {
        const absl::Status status = LoadChanged([&](Tensors& t) { changes[i](t[name]); }, verify_contents);
        EXPECT_TRUE(absl::IsDataLoss(status)) << name << " change " << i << ": " << status;
        EXPECT_THAT(status.ToString(), HasSubstr(absl::StrCat("\"", name, "\""))) << "change " << i;
      }
    }
  }
  const absl::Status status = LoadChanged([](Tensors& t) { t["rating.item"] = t["rating.items"]; });
  EXPECT_THAT(status.ToString(), HasSubstr("\"rating.item\": not known"));
}

TEST_F(RatingCorruptionTest, NumbersThatCannotBeAreRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::pair<std::string, std::function<void(float*)>>> changes = {
      {"rating.items", [&](float* x) { x[7] = nan; }},
      {"rating.items", [&](float* x) { x[8] = 1; }},  // padding
      {"rating.item_variances", [&](float* x) { x[49 * 16 + 3] = -1e-6f; }},
      {"rating.implicit", [&](float* x) { x[3] = std::numeric_limits<float>::infinity(); }},
      {"rating.ridge", [&](float* x) { x[0] = 0; }},
      {"rating.ridge", [&](float* x) { x[1] = nan; }},
      {"rating.ridge", [&](float* x) { x[15] = 1; }},  // padding
  };
  for (const auto& [name, change] : changes) {
    const absl::Status status =
        LoadChanged([&, &name = name, &change = change](Tensors& t) { change(t[name].as<float>()); });
    EXPECT_TRUE(absl::IsDataLoss(status)) << name << ": " << status;
    EXPECT_THAT(status.ToString(), HasSubstr(name));
  }
}

const char* const kIndexTensors[] = {"index.rotation", "index.centres", "index.cluster_groups",
                                     "index.rows",     "index.coarse",  "index.fine",
                                     "index.boxes",    "index.groups"};

TEST_F(IndexCorruptionTest, TheUnchangedSnapshotLoads) {
  EXPECT_TRUE(LoadChanged([](Tensors&) {}).ok());
  EXPECT_TRUE(LoadChanged([](Tensors&) {}, /*verify_contents=*/false).ok());
}

TEST_F(IndexCorruptionTest, EveryTensorsPresenceTypeAndShapeAreChecked) {
  for (const std::string name : kIndexTensors) {
    const std::vector<std::function<void(Tensors&)>> changes = {
        [&](Tensors& t) { t.erase(name); },
        [&](Tensors& t) {
          t[name] = {DType::kI32, {t[name].data.size() / 4}, std::vector<std::byte>(t[name].data.size())};
        },
        [&](Tensors& t) { t[name].shape.push_back(1); },
        [&](Tensors& t) {
          t[name].shape = {t[name].data.size() / DTypeBytes(t[name].dtype)};
          t[name].shape.insert(t[name].shape.begin(), 1);
        },
        [&](Tensors& t) {
          t[name] = {t[name].dtype, {0}, {}};
        }};
    for (size_t i = 0; i < changes.size(); ++i) {
      for (const bool verify_contents : {true, false}) {
        const absl::Status status = LoadChanged(changes[i], verify_contents);
        EXPECT_TRUE(absl::IsDataLoss(status)) << name << " change " << i << ": " << status;
        EXPECT_THAT(status.ToString(), HasSubstr(name)) << "change " << i;
      }
    }
  }
}

TEST_F(IndexCorruptionTest, WhatMemorySafetyRestsOnIsAlwaysChecked) {
  const std::vector<std::pair<std::string, std::function<void(Tensor&)>>> changes = {
      {"index.rows", [](Tensor& t) { t.as<uint32_t>()[0] = 200; }},
      {"index.rows", [](Tensor& t) { t.as<uint32_t>()[0] = t.as<uint32_t>()[1]; }},
      {"index.rows", [](Tensor& t) { t.as<uint32_t>()[0] = ~0u; }},
      {"index.cluster_groups", [](Tensor& t) { t.as<uint32_t>()[1] = ~0u; }},
      {"index.cluster_groups", [](Tensor& t) { t.as<uint32_t>()[0] = 1; }},
      {"index.boxes", [](Tensor& t) { t.as<float>()[0] = std::numeric_limits<float>::quiet_NaN(); }},
      {"index.groups", [](Tensor& t) { t.as<float>()[0] = 0; }},
  };
  for (const auto& [name, change] : changes) {
    for (const bool verify_contents : {true, false}) {
      const absl::Status status =
          LoadChanged([&, &name = name, &change = change](Tensors& t) { change(t[name]); }, verify_contents);
      EXPECT_TRUE(absl::IsDataLoss(status)) << name << ": " << status;
      EXPECT_THAT(status.ToString(), HasSubstr(name));
    }
  }
}

// A bound that is too small would hide items without a trace.
TEST_F(IndexCorruptionTest, BoundsThatDoNotHoldAreRefused) {
  const std::vector<std::pair<std::string, std::function<void(Tensor&)>>> changes = {
      {"index.rotation", [](Tensor& t) { t.as<float>()[3] += 0.5f; }},
      {"index.centres", [](Tensor& t) { t.as<float>()[3] += 0.5f; }},
      {"index.boxes", [](Tensor& t) { t.as<float>()[0] *= 0.5f; }},
      {"index.groups", [](Tensor& t) { t.as<float>()[1] *= 0.5f; }},
      {"index.coarse", [](Tensor& t) { t.as<uint8_t>()[0] ^= 0x40; }},
      {"index.fine", [](Tensor& t) { t.as<uint8_t>()[0] ^= 0x40; }},
      {"item.vectors", [](Tensor& t) { std::swap(t.as<float>()[0], t.as<float>()[1]); }},
  };
  for (const auto& [name, change] : changes) {
    const absl::Status status =
        LoadChanged([&, &name = name, &change = change](Tensors& t) { change(t[name]); });
    EXPECT_TRUE(absl::IsDataLoss(status)) << name << ": " << status;
    EXPECT_THAT(status.ToString(), HasSubstr("index."));
  }
}

TEST_F(IndexCorruptionTest, WithoutTheManifestsWordTheTensorsAreNotLookedAt) {
  Manifest manifest = *ParseManifest(manifest_);
  ASSERT_TRUE(manifest.index.has_value());
  manifest.index.reset();
  manifest_ = FormatManifest(manifest);
  EXPECT_TRUE(LoadChanged([](Tensors& t) { t.erase("index.rows"); }).ok());
  manifest.index = {.kind = "of the future", .num_clusters = 1};
  manifest_ = FormatManifest(manifest);
  EXPECT_TRUE(LoadChanged([](Tensors& t) { t.erase("index.rows"); }).ok());
}

struct ValueChange {
  std::string name;
  std::function<void(Tensor&)> change;
  std::string reason;
  bool structural;  // refused without verify_contents too
};

template <typename T>
ValueChange Set(std::string name, size_t index, T value, std::string reason, bool structural) {
  const auto set = [index, value](Tensor& t) { t.as<T>()[index] = value; };
  return {std::move(name), set, std::move(reason), structural};
}

TEST_F(CorruptionTest, ValuesAreRefusedByTensorAndElement) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<ValueChange> changes = {
      Set("item.vectors", 16 * 3 + 9, kNan, "\"item.vectors\"[57]: expected a finite number", false),
      Set("item.vectors", 16 * 3 + 10, 1.0f, "\"item.vectors\"[58]: expected 0 as padding", false),
      Set("item.vectors", 16 * 3 + 15, kNan, "\"item.vectors\"[63]", false),
      Set("item.input_vectors", 1, -kInfinity, "\"item.input_vectors\"[1]", false),
      Set("item.input_vectors", 10, 1.0f, "as padding", false),
      Set("encoder.input_map", 0, kNan, "\"encoder.input_map\"[0]", false),
      Set("encoder.input_map", 15, 2.0f, "as padding", false),
      Set("item.inverse_norms", 4, 0.0f, "\"item.inverse_norms\"[4]", false),
      Set("item.inverse_norms", 4, kNan, "\"item.inverse_norms\"[4]", false),
      Set("item.bias", 2, kNan, "\"item.bias\"[2]", false),
      Set("item.attention_logits", 49, kInfinity, "\"item.attention_logits\"[49]", false),
      Set("item.popularity", 7, -1.0f, "\"item.popularity\"[7]: expected at least 0", false),
      Set("item.popularity", 7, kNan, "\"item.popularity\"[7]", false),
      Set("item.popularity", 7, 1e9f, "\"item.popularity_order\"", false),
      Set("attention.class_logits", 0, kNan, "\"attention.class_logits\"[0]", false),
      Set("attention.position_logits", 0, kNan, "\"attention.position_logits\"[0]", false),
      Set("attention.recency_logits", 31, kNan, "\"attention.recency_logits\"[31]", false),
      Set("attention.slot_logits", 1, kNan, "\"attention.slot_logits\"[1]", false),
      Set("item.id_bytes", 0, uint8_t{0xFF}, "the id of row 0", false),
      Set("item.id_bytes", 0, uint8_t{0}, "the id of row 0", false),
      Set("item.id_bytes", 0, uint8_t{'j'}, "\"item.keys\"[0]", false),
      Set("item.title_bytes", 0, uint8_t{0xFF}, "the title of row 0", false),
      Set("category.name_bytes", 0, uint8_t{0xC0}, "the name of category 0", false),
      Set("item.popularity_order", 3, uint32_t{50}, "\"item.popularity_order\"[3]", true),
      Set("item.category_ids", 1, uint32_t{5}, "\"item.category_ids\"[1]: expected below 5, found 5", true),
      Set("item.keys", 3, uint64_t{12345}, "row 3", true),
      {"item.keys", [](Tensor& t) { t.as<uint64_t>()[3] = t.as<uint64_t>()[2]; }, "row", true},
      {"item.popularity_order", [](Tensor& t) { t.as<uint32_t>()[3] = t.as<uint32_t>()[2]; },
       "\"item.popularity_order\"[3]", true},
      {"item.key_slots", [](Tensor& t) { std::memset(t.data.data(), 0, t.data.size()); }, "found 0", true},
      {"item.key_slots", [](Tensor& t) { std::fill_n(t.as<uint32_t>(), t.data.size() / 4, uint32_t{1}); },
       "slots in use", true},
      {"item.key_slots", [](Tensor& t) { t.as<uint32_t>()[0] = 51; }, "\"item.key_slots\"[0]", true},
      {"item.key_slots",
       [](Tensor& t) { std::rotate(t.as<uint32_t>(), t.as<uint32_t>() + 60, t.as<uint32_t>() + 128); },
       "\"item.key_slots\"", true},
      {"item.key_slots",  // not a power of two, and too few
       [](Tensor& t) {
         t = {t.dtype, {127}, {t.data.begin(), t.data.begin() + 127 * 4}};
       },
       "power of two", true},
      {"item.key_slots",
       [](Tensor& t) {
         t = {t.dtype, {64}, {t.data.begin(), t.data.begin() + 64 * 4}};
       },
       "power of two", true},
  };
  for (const std::string name :
       {"item.id_offsets", "item.title_offsets", "item.category_offsets", "category.name_offsets"}) {
    changes.push_back(Set(name, 0, uint64_t{1}, absl::StrCat("\"", name, "\"[0]: expected 0"), true));
    changes.push_back(Set(name, 2, ~uint64_t{0}, absl::StrCat("\"", name, "\"[3]"), true));
    changes.push_back(Set(name, 3, uint64_t{0}, absl::StrCat("\"", name, "\"[3]"), true));
    changes.push_back(
        {name, [](Tensor& t) { ++t.as<uint64_t>()[t.shape[0] - 1]; }, absl::StrCat("\"", name, "\"["), true});
  }
  for (const ValueChange& c : changes) {
    const absl::Status status = LoadChanged([&](Tensors& t) { c.change(t.at(c.name)); });
    EXPECT_TRUE(absl::IsDataLoss(status)) << c.name << ": " << c.reason;
    EXPECT_THAT(status.ToString(), HasSubstr(c.reason));
    const absl::Status unverified = LoadChanged([&](Tensors& t) { c.change(t.at(c.name)); }, false);
    EXPECT_EQ(unverified.ok(), !c.structural) << c.name << ": " << c.reason << ": " << unverified;
  }
}

TEST_F(Bf16CorruptionTest, NumbersAndPaddingAreChecked) {
  EXPECT_TRUE(LoadChanged([](Tensors&) {}).ok());
  EXPECT_TRUE(LoadChanged([](Tensors&) {}, /*verify_contents=*/false).ok());
  constexpr uint16_t kOne = 0x3F80, kMinusZero = 0x8000, kNan = 0x7FC0, kMinusInfinity = 0xFF80;
  const std::vector<ValueChange> changes = {
      Set("item.vectors", 32 * 3 + 19, kNan, "\"item.vectors\"[115]: expected a finite number", false),
      Set("item.vectors", 0, kMinusInfinity, "\"item.vectors\"[0]: expected a finite number", false),
      Set("item.vectors", 32 * 3 + 20, kOne, "\"item.vectors\"[116]: expected 0 as padding", false),
      Set("item.vectors", 32 * 3, uint16_t{0x4280}, "\"item.inverse_norms\"[3]", false),
      Set("item.input_vectors", 1, kNan, "\"item.input_vectors\"[1]", false),
      Set("item.input_vectors", 31, kOne, "as padding", false),
      {"item.vectors", [](Tensor& t) { std::swap(t.as<uint16_t>()[0], t.as<uint16_t>()[1]); }, "index.",
       false},
  };
  for (const ValueChange& c : changes) {
    const absl::Status status = LoadChanged([&](Tensors& t) { c.change(t.at(c.name)); });
    EXPECT_TRUE(absl::IsDataLoss(status)) << c.name << ": " << c.reason;
    EXPECT_THAT(status.ToString(), HasSubstr(c.reason));
    EXPECT_TRUE(LoadChanged([&](Tensors& t) { c.change(t.at(c.name)); }, false).ok());
  }
  EXPECT_TRUE(LoadChanged([&](Tensors& t) { t["item.vectors"].as<uint16_t>()[20] = kMinusZero; }).ok());
}

TEST_F(Bf16CorruptionTest, TheTensorsMustBeOfTheManifestsRowType) {
  const auto widen = [](Tensor& t) {
    Tensor floats{DType::kF32, t.shape, std::vector<std::byte>(t.data.size() * 2)};
    for (size_t i = 0; i < t.data.size() / 2; ++i) {
      floats.as<float>()[i] = ToFloat(Bf16{t.as<uint16_t>()[i]});
    }
    t = floats;
  };
  for (const std::string name : {"item.vectors", "item.input_vectors"}) {
    const absl::Status status = LoadChanged([&](Tensors& t) { widen(t[name]); });
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(status.ToString(), HasSubstr("expected BF16 [200, 32], found F32"));
    for (const DType dtype : {DType::kF16, DType::kU8}) {
      EXPECT_TRUE(absl::IsDataLoss(LoadChanged([&](Tensors& t) {
        t[name].dtype = dtype;
        if (dtype == DType::kU8) t[name].shape = {t[name].data.size()};
      })));
    }
  }
  Manifest manifest = *ParseManifest(manifest_);
  manifest.row_type = RowType::kFloat32;
  manifest_ = FormatManifest(manifest);
  EXPECT_THAT(LoadChanged([](Tensors&) {}).ToString(), HasSubstr("expected F32 [200, 32], found BF16"));
  EXPECT_TRUE(LoadChanged([&](Tensors& t) {
                widen(t["item.vectors"]);
                widen(t["item.input_vectors"]);
              }).ok())
      << "the same numbers, norms and bounds";
}

TEST_F(CorruptionTest, FilesOfAnotherSizeOrMissingAreRefused) {
  const auto refused = [&](const std::string& reason) {
    for (const bool verify : {true, false}) {
      const absl::Status status =
          ModelSnapshot::Load(dir_.path(), {.verify_checksums = verify, .verify_contents = verify}).status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
      EXPECT_THAT(status.ToString(), HasSubstr(reason));
    }
  };
  WriteFile(model_path(), model_ + "x");
  refused(absl::StrCat("expected ", model_.size(), " bytes (manifest), found ", model_.size() + 1));
  std::filesystem::remove(model_path());
  refused(model_path());
  std::filesystem::create_directory(model_path());
  refused("not a regular file");
  std::filesystem::remove(model_path());
  WriteFile(model_path(), model_);
  Manifest manifest = *ParseManifest(manifest_);
  manifest.model_kind = "gru";
  WriteFile(manifest_path(), FormatManifest(manifest));
  refused("model_kind: expected \"attention\", found \"gru\"");
}

TEST_F(CorruptionTest, FactsOfTheManifestMustFitTheTensors) {
  const std::vector<std::pair<std::function<void(Manifest&)>, std::string>> changes = {
      {[](Manifest& m) { m.dim = 17, m.row_stride = 32; }, "\"item.vectors\": expected F32 [50, 32]"},
      {[](Manifest& m) { ++m.num_items; }, "\"item.vectors\""},
      {[](Manifest& m) { ++m.num_categories; }, "\"category.name_offsets\""},
      {[](Manifest& m) { m.event_classes.pop_back(); }, "\"attention.class_logits\""},
      // Still one padded row a vector: the last column is no padding then.
      {[](Manifest& m) { m.dim = 9; }, "\"encoder.input_map\""},
  };
  for (const auto& [change, reason] : changes) {
    Manifest manifest = *ParseManifest(manifest_);
    change(manifest);
    WriteFile(manifest_path(), FormatManifest(manifest));
    const absl::Status status = ModelSnapshot::Load(dir_.path(), {}).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << reason;
    EXPECT_THAT(status.ToString(), HasSubstr(reason));
  }
}

// Uses everything that a loaded snapshot offers, so that a sanitizer sees what is out of bounds.
size_t Touch(const ModelSnapshot& s) {
  size_t sum = 0;
  for (uint32_t r = 0; r < s.num_items(); ++r) {
    sum += s.ItemId(r).size() + s.Title(r).size() + s.FindRow(s.Key(r) + 1).has_value();
    for (const char c : s.ItemId(r)) sum += static_cast<unsigned char>(c);
    for (const char c : s.Title(r)) sum += static_cast<unsigned char>(c);
    for (const uint32_t id : s.CategoryIds(r)) {
      for (const char c : s.CategoryName(id)) sum += static_cast<unsigned char>(c);
    }
    sum += s.ItemVector(r)[s.dim() - 1] > 0;
    sum += s.InputVector(r)[s.dim() - 1] > 0;
    sum += s.Bias(r) > s.AttentionLogit(r);
    sum += s.Popularity(s.popularity_order()[r]) > s.inverse_norms()[r];
  }
  std::vector<float> x(s.dim());
  s.MapToInput(s.ItemVector(0).Values(), x);
  s.Prefault();
  return sum + (x[0] > 0) + s.ClassOf(6, 1.0f).value_or(0);
}

TEST_F(CorruptionTest, RandomDamageIsRefusedByChecksumsAndNeverCrashesWithoutThem) {
  std::mt19937_64 random(20240601);
  int num_loaded_unchecked = 0;
  for (int i = 0; i < 3000; ++i) {
    const bool in_manifest = i % 3 == 0;
    std::string bytes = in_manifest ? manifest_ : model_;
    const size_t header_end = std::min<size_t>(bytes.size(), 2500);
    if (i % 7 == 0) {
      bytes.resize(random() % bytes.size());
    } else {
      // Half the damage goes to the header, where it hurts most.
      const size_t at = random() % (i % 2 == 0 ? header_end : bytes.size());
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    }
    WriteFile(manifest_path(), in_manifest ? bytes : manifest_);
    WriteFile(model_path(), in_manifest ? model_ : bytes);
    if (!in_manifest) {
      const absl::Status status = ModelSnapshot::Load(dir_.path(), {.huge_pages = i % 2 == 0}).status();
      ASSERT_TRUE(absl::IsDataLoss(status)) << i << ": " << status;
      // As a liar would: the manifest knows the size of the damaged file.
      Manifest manifest = *ParseManifest(manifest_);
      manifest.files[kModelFile].bytes = bytes.size();
      WriteFile(manifest_path(), FormatManifest(manifest));
    }
    for (const bool verify_contents : {true, false}) {
      const auto snapshot = ModelSnapshot::Load(
          dir_.path(),
          {.verify_checksums = in_manifest, .verify_contents = verify_contents, .huge_pages = i % 2 == 0});
      if (snapshot.ok()) {
        EXPECT_GT(Touch(**snapshot), 0u);
        num_loaded_unchecked += !in_manifest;
      } else {
        EXPECT_TRUE(absl::IsDataLoss(snapshot.status())) << i << ": " << snapshot.status();
      }
    }
  }
  // Flips within numbers are other numbers: without checksums some load, so Touch has seen damaged files.
  EXPECT_GT(num_loaded_unchecked, 100);
}

}  // namespace
}  // namespace swiftlet

#include "engine/trainer/import_model.h"

#include "engine/trainer/evaluate.h"
#include "engine/trainer/inspect_model.h"
#include "engine/trainer/publish.h"
#include "engine/trainer/write_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::WriteFile;

template <typename T>
NamedTensor Tensor(const std::string& name, DType dtype, std::vector<uint64_t> shape,
                   const std::vector<T>& values) {
  return {name, {dtype, std::move(shape), std::as_bytes(std::span(values))}};
}

class ImportModelTest : public ::testing::Test {
 protected:
  // Two items of dimension 3, and two users out of order.
  void WriteVectors() {
    const std::vector<NamedTensor> tensors = {Tensor("items", DType::kF32, {2, 3}, items_),
                                              Tensor("users", DType::kF32, {2, 3}, users_),
                                              Tensor("item.id_bytes", DType::kU8, {5}, id_bytes_),
                                              Tensor("item.id_offsets", DType::kU64, {3}, id_offsets_)};
    ASSERT_TRUE(WriteSafetensors(dir_.File("v.safetensors"), tensors, {}).ok());
    options_.vectors_path = dir_.File("v.safetensors");
  }
  std::string Error() { return std::string(ImportModel(options_, 1, 1000).status().message()); }

  testing::TempDir dir_;
  ImportOptions options_;
  std::vector<float> items_ = {1, 2, 3, 4, 5, 6}, users_ = {7, 8, 9, -1, -2, -3};
  std::vector<uint8_t> id_bytes_ = {'x', 'x', 'y', 0xC3, 0xA4};
  std::vector<uint64_t> id_offsets_ = {0, 2, 5};
};

TEST_F(ImportModelTest, ImportedVectorsComeBackFromTheSnapshotAndInspectShowsThem) {
  WriteVectors();
  WriteFile(dir_.File("users.txt"), "zoe\nada\n");
  WriteFile(dir_.File("i.csv"), "item,title,categories\ny\xC3\xA4,Title Y,c1|c2\nother,O,\n");
  options_.user_tensor = "users";
  options_.user_ids_path = dir_.File("users.txt");
  options_.space = "mine-1";
  options_.items.path = dir_.File("i.csv");
  const auto published = WriteAndPublish({.models_dir = dir_.File("models"), .output_dir = ""},
                                         [&](const std::string& directory, int64_t version) {
                                           ImportedModel model = *ImportModel(options_, version, 1000);
                                           EXPECT_EQ(model.num_described, 1u);
                                           return WriteModel(directory, std::move(model.contents),
                                                             model.user_ids, model.user_vectors);
                                         });
  ASSERT_TRUE(published.ok()) << published.status();
  const auto snapshot = *ModelSnapshot::Load(published->path, {});
  const uint32_t row = *snapshot->FindRow(ItemKeyOf("y\xC3\xA4"));
  EXPECT_THAT(snapshot->ItemVector(row).Values(), ElementsAre(4, 5, 6));
  EXPECT_EQ(snapshot->Title(row), "Title Y");
  EXPECT_EQ(snapshot->manifest().embedding_space, "mine-1");
  EXPECT_EQ(snapshot->manifest().num_users, 2u);
  const UserVectors users = *LoadUserVectors(*snapshot);
  EXPECT_THAT(users.at("ada"), ElementsAre(-1, -2, -3));
  EXPECT_THAT(users.at("zoe"), ElementsAre(7, 8, 9));

  const std::string text = *InspectModel({.path = dir_.File("models"), .item_id = "xx"});
  EXPECT_THAT(text, HasSubstr("versions 1; current 1"));
  EXPECT_THAT(text, HasSubstr("mine-1"));
  EXPECT_THAT(text, HasSubstr("checks passed"));
  EXPECT_THAT(text, HasSubstr("nearest to xx"));
  EXPECT_THAT(text, HasSubstr("0.9746  y\xC3\xA4  Title Y  [c1, c2]"));  // 32 / sqrt(14 * 77)
}

TEST_F(ImportModelTest, EventsOfEveryTypeCountAsInAPlainMean) {
  WriteVectors();
  const ImportedModel model = *ImportModel(options_, 1, 1000);
  const EventTypeTable types = EventTypeTable::Default();
  ASSERT_EQ(model.contents.manifest.event_classes.size(), types.types().size());
  for (const EventClass& c : model.contents.manifest.event_classes) {
    EXPECT_EQ(c.sign, types.FindById(c.type)->weight < 0 ? -1 : 1) << int{c.type};
  }
  EXPECT_THAT(model.contents.class_logits, Each(0.0f));
}

TEST_F(ImportModelTest, IdsMayComeFromAFile) {
  WriteVectors();
  WriteFile(dir_.File("ids.txt"), "first id\r\nsecond id");
  options_.item_ids_path = dir_.File("ids.txt");
  EXPECT_THAT(ImportModel(options_, 1, 1000)->contents.item_ids, ElementsAre("first id", "second id"));
  WriteFile(dir_.File("ids.txt"), "one\n");
  EXPECT_THAT(Error(), HasSubstr("has 2 rows"));
  EXPECT_THAT(Error(), HasSubstr("ids.txt has 1 ids"));
  WriteFile(dir_.File("ids.txt"), "one\n\n");
  EXPECT_THAT(Error(), HasSubstr("ids.txt:2: expected an id"));
}

TEST_F(ImportModelTest, ErrorsNameFileAndTensor) {
  WriteVectors();
  options_.item_tensor = "nothing";
  EXPECT_THAT(Error(),
              HasSubstr("no tensor \"nothing\"; the file has: item.id_bytes, item.id_offsets, items, users"));
  options_.item_tensor = "item.id_offsets";
  EXPECT_THAT(Error(), HasSubstr("is U64, expected F32, F16, BF16 or F64"));
  options_.item_tensor = "items";
  options_.bias_tensor = "users";
  EXPECT_THAT(Error(), HasSubstr("tensor \"users\" is [2, 3], expected [2, 1]"));
  options_.bias_tensor = "";
  id_offsets_ = {0, 9, 5};
  WriteVectors();
  EXPECT_THAT(Error(), HasSubstr("\"item.id_offsets\": entry 1 is 9 after 0, of 5 bytes"));
  id_offsets_ = {0, 4, 5};
  WriteVectors();
  EXPECT_THAT(Error(), HasSubstr("id 1 (4 bytes) is not 1 to 256 bytes of UTF-8"));
  options_.vectors_path = dir_.File("none");
  EXPECT_EQ(ImportModel(options_, 1, 1000).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ImportModelTest, NotANumberIsRefusedByTheWriterWithTheItem) {
  items_[4] = NAN;
  WriteVectors();
  ImportedModel model = *ImportModel(options_, 1, 1000);
  const absl::Status status = WriteSnapshot(dir_.path(), model.contents);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("y\xC3\xA4"));
}

TEST_F(ImportModelTest, ConvertsEveryFloatType) {
  const std::vector<double> f64 = {1.5, -2};
  const std::vector<uint16_t> f16 = {0x3E00, 0xC000}, bf16 = {0x3FC0, 0xC000};
  const NamedTensor tensors[] = {Tensor("a", DType::kF64, {2, 1}, f64), Tensor("a", DType::kF16, {1, 2}, f16),
                                 Tensor("a", DType::kBF16, {2}, bf16)};
  for (const NamedTensor& t : tensors) {
    const MatrixF matrix = *TensorToMatrix(t.tensor, "a");
    ASSERT_EQ(matrix.size(), 2);
    EXPECT_EQ(matrix.data()[0], 1.5f);
    EXPECT_EQ(matrix.data()[1], -2.0f);
  }
  EXPECT_FALSE(TensorToMatrix(Tensor("a", DType::kF64, {1, 2, 1}, f64).tensor, "a").ok());
}

TEST(InspectModelTest, SaysWhatIsWrong) {
  testing::TempDir dir;
  EXPECT_EQ(InspectModel({.path = dir.File("none"), .item_id = ""}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(InspectModel({.path = dir.path(), .item_id = ""}).status().message()),
              HasSubstr("neither a snapshot"));
  ASSERT_TRUE(testing::WriteRandomSnapshot(dir.File("s"), {}).ok());
  EXPECT_TRUE(InspectModel({.path = dir.File("s"), .item_id = ""}).ok());
  EXPECT_THAT(std::string(InspectModel({.path = dir.File("s"), .item_id = "zzz"}).status().message()),
              HasSubstr("item \"zzz\" is not in snapshot 1"));
  std::string bytes = trainer_testing::ReadFile(dir.File("s") + "/model.safetensors");
  bytes[bytes.size() - 10] ^= 1;
  WriteFile(dir.File("s") + "/model.safetensors", bytes);
  EXPECT_EQ(InspectModel({.path = dir.File("s"), .item_id = ""}).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace swiftlet

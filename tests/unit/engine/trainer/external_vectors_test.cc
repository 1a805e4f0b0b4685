#include "engine/trainer/external_vectors.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using trainer_testing::WriteFile;

class ExternalVectorsTest : public ::testing::Test {
 protected:
  void WriteNpy(const std::string& name, const std::vector<float>& values, size_t columns) {
    const std::string header = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (",
                                            values.size() / columns, ", ", columns, "), }\n");
    std::string text("\x93NUMPY\x01\0", 8);
    text.push_back(static_cast<char>(header.size()));
    text.push_back('\0');
    WriteFile(dir_.File(name),
              text + header +
                  std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  }
  void WriteTensors(const std::string& name, const std::vector<std::string>& tensors,
                    const std::vector<float>& values, size_t columns) {
    std::vector<NamedTensor> named;
    for (const std::string& tensor : tensors) {
      named.push_back({tensor,
                       {.dtype = DType::kF32,
                        .shape = {values.size() / columns, columns},
                        .data = std::as_bytes(std::span(values))}});
    }
    ASSERT_TRUE(WriteSafetensors(dir_.File(name), named, {}).ok());
  }
  absl::StatusOr<LoadedExternalVectors> Load(const std::string& file, const std::string& ids,
                                             const std::string& tensor = "") {
    WriteFile(dir_.File("ids.txt"), ids);
    return LoadExternalVectors(
        {.name = "text", .path = dir_.File(file), .tensor = tensor, .ids_path = dir_.File("ids.txt")});
  }
  std::string Error(const std::string& file, const std::string& ids, const std::string& tensor = "") {
    return std::string(Load(file, ids, tensor).status().message());
  }

  testing::TempDir dir_;
};

TEST_F(ExternalVectorsTest, ReadsBothFormatsByIds) {
  WriteNpy("a.npy", {1, 2, 3, 4, 5, 6}, 2);
  ASSERT_NO_FATAL_FAILURE(WriteTensors("a.safetensors", {"x"}, {1, 2, 3, 4, 5, 6}, 2));
  for (const char* file : {"a.npy", "a.safetensors"}) {
    const auto loaded = Load(file, "one\r\ntwo words\n\xC3\xA9t\xC3\xA9\n");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->num_not_finite, 0u);
    EXPECT_EQ(loaded->vectors.name, "text");
    EXPECT_EQ(loaded->vectors.vectors.cols(), 2);
    EXPECT_EQ(loaded->vectors.rows.at("two words"), 1u);
    EXPECT_EQ(loaded->vectors.vectors(2, 1), 6);
    EXPECT_TRUE(loaded->vectors.rows.contains("one"));
  }
}

TEST_F(ExternalVectorsTest, RowsThatAreNotFiniteAreLeftOutAndCounted) {
  WriteNpy("a.npy", {1, 2, NAN, 4, 5, std::numeric_limits<float>::infinity(), 7, 8}, 2);
  const auto loaded = Load("a.npy", "a\nb\nc\nd\n");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->num_not_finite, 2u);
  EXPECT_EQ(loaded->vectors.rows.size(), 2u);
  EXPECT_FALSE(loaded->vectors.rows.contains("b"));
  EXPECT_TRUE(loaded->vectors.vectors.allFinite());
}

TEST_F(ExternalVectorsTest, SaysWhatIsWrongWithAFileAndWhere) {
  WriteNpy("a.npy", {1, 2, 3, 4}, 2);
  EXPECT_THAT(Error("a.npy", "a\nb\nc\n"), HasSubstr("2 rows"));
  EXPECT_THAT(Error("a.npy", "a\nb\nc\n"), HasSubstr("3 ids"));
  EXPECT_THAT(Error("a.npy", "a\n"), HasSubstr("1 ids"));
  EXPECT_THAT(Error("a.npy", "a\na\n"), HasSubstr("ids.txt:2: the id \"a\" is there twice"));
  EXPECT_THAT(Error("a.npy", "a\n\n"), HasSubstr("ids.txt:2: expected an id"));
  EXPECT_THAT(Error("none.npy", "a\n"), HasSubstr("none.npy"));
  EXPECT_EQ(LoadExternalVectors(
                {.name = "text", .path = dir_.File("a.npy"), .tensor = "", .ids_path = dir_.File("none.txt")})
                .status()
                .code(),
            absl::StatusCode::kNotFound);
  ASSERT_NO_FATAL_FAILURE(WriteTensors("two.safetensors", {"x", "y"}, {1, 2, 3, 4}, 2));
  EXPECT_THAT(Error("two.safetensors", "a\nb\n"), HasSubstr("2 tensors of two dimensions"));
  EXPECT_THAT(Error("two.safetensors", "a\nb\n", "z"), HasSubstr("no tensor \"z\""));
  EXPECT_TRUE(Load("two.safetensors", "a\nb\n", "y").ok());
  WriteFile(dir_.File("empty.safetensors"), "");
  EXPECT_THAT(Error("empty.safetensors", "a\n"), HasSubstr("empty.safetensors"));
}

TEST_F(ExternalVectorsTest, ParsesFlagsAndRefusesTwoOfOneName) {
  const auto file = ParseExternalVectorsFlag("text=dir/a.safetensors#items:dir/ids.txt");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->name, "text");
  EXPECT_EQ(file->path, "dir/a.safetensors");
  EXPECT_EQ(file->tensor, "items");
  EXPECT_EQ(file->ids_path, "dir/ids.txt");
  for (const char* bad : {"", "text", "text=a.npy", "=a.npy:ids", "text=:ids", "text=a.npy:", "a:b=c"}) {
    EXPECT_THAT(std::string(ParseExternalVectorsFlag(bad).status().message()), HasSubstr("NAME=FILE:IDS"))
        << bad;
  }
  WriteNpy("a.npy", {1, 2}, 1);
  WriteFile(dir_.File("ids.txt"), "i1\nother\n");
  DatasetBuilder builder(EventTypeTable::Default());
  builder.AddEvent("u", "i1", 1, 0, 0);
  const Dataset data = *builder.Build();
  Progress quiet(nullptr);
  const std::string flag = absl::StrCat("text=", dir_.File("a.npy"), ":", dir_.File("ids.txt"));
  const auto one = LoadAllExternalVectors({flag}, data, &quiet);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->size(), 1u);
  EXPECT_THAT(std::string(LoadAllExternalVectors({flag, flag}, data, &quiet).status().message()),
              HasSubstr("\"text\" is there twice"));
}

}  // namespace
}  // namespace swiftlet

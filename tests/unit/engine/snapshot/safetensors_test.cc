#include "engine/snapshot/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using ::testing::HasSubstr;
using testing::TempDir;

AlignedVector<std::byte> FileOf(std::string_view header, size_t data_bytes) {
  const uint64_t length = header.size();
  AlignedVector<std::byte> bytes(8 + header.size() + data_bytes);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

absl::Status StatusOf(std::span<const std::byte> bytes) {
  return SafetensorsFile::Parse(bytes, "test-file").status();
}

TEST(SafetensorsTest, ReadsWhatItWrote) {
  TempDir dir;
  const std::vector<float> floats = {1.5f, -2.0f, 3.0f};
  const std::vector<uint64_t> longs = {1, ~uint64_t{0}};
  const std::string text = "hello, \xC3\xA9";
  const std::vector<NamedTensor> tensors = {
      {"a.floats", {DType::kF32, {3, 1}, std::as_bytes(std::span(floats))}},
      {"nothing", {DType::kF32, {0, 4}, {}}},
      {"b.longs", {DType::kU64, {2}, std::as_bytes(std::span(longs))}},
      {"scalar", {DType::kF32, {}, std::as_bytes(std::span(floats)).first(4)}},
      {"c.text \"quoted\"", {DType::kU8, {text.size()}, std::as_bytes(std::span(text))}}};
  ASSERT_TRUE(WriteSafetensors(dir.File("x"), tensors, {{"who", "me"}}).ok());
  const auto file = SafetensorsFile::Open(dir.File("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), tensors.size());
  EXPECT_EQ((*file)->metadata(), (std::map<std::string, std::string>{{"who", "me"}}));
  EXPECT_EQ((*file)->bytes().size(), std::filesystem::file_size(dir.File("x")));
  for (const NamedTensor& named : tensors) {
    const TensorView* t = (*file)->Find(named.name);
    ASSERT_NE(t, nullptr) << named.name;
    EXPECT_EQ(t->dtype, named.tensor.dtype);
    EXPECT_EQ(t->shape, named.tensor.shape);
    EXPECT_EQ(t->num_elements(), named.tensor.num_elements());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t->data.data()) % 64, 0u) << named.name;
    EXPECT_TRUE(
        std::equal(t->data.begin(), t->data.end(), named.tensor.data.begin(), named.tensor.data.end()));
  }
  EXPECT_EQ((*file)->Find("a.floats")->as<float>()[1], -2.0f);
  EXPECT_EQ((*file)->Find("b.longs")->as<uint64_t>()[1], ~uint64_t{0});
  EXPECT_EQ((*file)->Find("absent"), nullptr);
  EXPECT_EQ((*file)->Find("__pad__.0"), nullptr);
  EXPECT_DEATH((*file)->Find("a.floats")->as<uint64_t>(), "F32");
}

TEST(SafetensorsTest, RefusesToWriteNonsense) {
  TempDir dir;
  const float x[2] = {};
  const TensorView two{DType::kF32, {2}, std::as_bytes(std::span(x))};
  const TensorView three{DType::kF32, {3}, std::as_bytes(std::span(x))};
  EXPECT_TRUE(absl::IsInvalidArgument(
      WriteSafetensors(dir.File("x"), std::vector<NamedTensor>{{"a", two}, {"a", two}}, {})));
  EXPECT_TRUE(
      absl::IsInvalidArgument(WriteSafetensors(dir.File("x"), std::vector<NamedTensor>{{"a", three}}, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      WriteSafetensors(dir.File("x"), std::vector<NamedTensor>{{"__metadata__", two}}, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(
      WriteSafetensors(dir.File("x"), std::vector<NamedTensor>{{"__pad__.0", two}}, {})));
  const absl::Status status = WriteSafetensors(dir.File("none/x"), std::vector<NamedTensor>{{"a", two}}, {});
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(status.ToString(), HasSubstr("none/x"));
}

TEST(SafetensorsTest, MissingFileIsNotFound) {
  TempDir dir;
  const auto file = SafetensorsFile::Open(dir.File("x"));
  EXPECT_TRUE(absl::IsNotFound(file.status()));
  EXPECT_THAT(file.status().ToString(), HasSubstr(dir.File("x")));
  EXPECT_TRUE(absl::IsDataLoss(SafetensorsFile::Open(dir.path()).status()));
}

TEST(SafetensorsTest, AcceptsFilesOfOthers) {
  EXPECT_TRUE(StatusOf(FileOf("{}", 0)).ok());
  EXPECT_TRUE(StatusOf(FileOf("{}     ", 0)).ok());
  // Any order in the header, no padding, unknown fields in entries.
  const auto bytes = FileOf(
      R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5],"extra":1},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      5);
  const auto file = SafetensorsFile::Parse(bytes, "test-file");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE((*file)->Find("b")->is_aligned());
  EXPECT_TRUE((*file)->Find("a")->is_aligned());
}

struct Malformed {
  std::string header;
  size_t data_bytes;
  std::string reason;
};

TEST(SafetensorsTest, RefusesMalformedHeadersWithAReason) {
  const std::string deep = std::string(5'000'000, '[');
  std::string deep_objects;
  for (int i = 0; i < 100'000; ++i) deep_objects += "{\"a\":";
  const std::vector<Malformed> cases = {
      {"", 0, "does not start with '{'"},
      {" {}", 0, "does not start with '{'"},
      {"[]", 0, "does not start with '{'"},
      {"{", 0, "invalid JSON"},
      {"{}x", 0, "invalid JSON"},
      {std::string("{}\0", 3), 0, "invalid JSON"},
      {"{\"\xFF\":1}", 0, "invalid JSON"},
      {"{\"a\":" + deep, 0, "nested deeper"},
      {deep_objects, 0, "nested deeper"},
      {R"({"a":1})", 0, "\"a\": is not an object"},
      {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
      {R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4, "dtype"},
      {R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4, "F99"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "dimensions"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "needs 8 bytes"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "2^64"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", 4, "2^64"},
      {R"({"a":{"dtype":"F32","shape":[36893488147419103232],"data_offsets":[0,4]}})", 4, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "not within"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "not within"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551616]}})", 4,
       "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 5, "1 bytes after the last tensor"},
      {"{}", 1, "1 bytes after the last tensor"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "overlapping"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "overlapping"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "\"a\" occurs twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "occurs twice"},
      {R"({"__metadata__":1})", 0, "__metadata__"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__"},
  };
  for (const Malformed& c : cases) {
    const absl::Status status = StatusOf(FileOf(c.header, c.data_bytes));
    EXPECT_TRUE(absl::IsDataLoss(status)) << c.header.substr(0, 100) << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.reason)) << c.header.substr(0, 100);
    EXPECT_THAT(std::string(status.message()), HasSubstr("test-file: "));
  }
}

TEST(SafetensorsTest, RefusesHeaderLengthsThatLie) {
  for (size_t size = 0; size < 8; ++size) {
    EXPECT_TRUE(absl::IsDataLoss(StatusOf(AlignedVector<std::byte>(size))));
  }
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{100'000'001}, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{7}}) {
    AlignedVector<std::byte> bytes = FileOf("{}", 0);
    std::memcpy(bytes.data(), &length, 8);
    const absl::Status status = StatusOf(bytes);
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("header length ", length)));
  }
}

}  // namespace
}  // namespace swiftlet

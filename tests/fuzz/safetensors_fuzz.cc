// The header of safetensors files. Input: the file.
#include <algorithm>
#include <cstddef>
#include <span>

#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/item_key.h"
#include "engine/snapshot/safetensors.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

std::string File(std::string_view header, size_t data_bytes) {
  std::string file;
  Put<uint64_t>(header.size(), &file);
  file.append(header);
  file.append(data_bytes, '\x01');
  return file;
}

const std::string& Directory() {
  static const testing::TempDir dir;
  return dir.path();
}

// Everything inside the file, sizes that follow from shape and dtype, nothing twice.
void CheckTensors(const SafetensorsFile& file) {
  const auto* begin = file.bytes().data();
  const auto* end = begin + file.bytes().size();
  size_t total = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    FUZZ_CHECK(tensor.data.empty() ||
                   (tensor.data.data() >= begin && tensor.data.data() + tensor.data.size() <= end),
               name);
    uint64_t elements = 1;
    for (const uint64_t n : tensor.shape) elements *= n;
    FUZZ_CHECK(elements * DTypeBytes(tensor.dtype) == tensor.data.size(), name);
    FUZZ_CHECK(tensor.num_elements() == elements, name);
    FUZZ_CHECK(file.Find(name) == &tensor, name);
    total += tensor.data.size();
  }
  FUZZ_CHECK(total <= file.bytes().size(), "tensors overlap");
}

// What was read can be written, and is read back as it was.
void CheckRoundTrip(const SafetensorsFile& file) {
  std::vector<NamedTensor> named;
  for (const auto& [name, tensor] : file.tensors()) named.push_back({name, tensor});
  const std::string path = Directory() + "/again.safetensors";
  const absl::Status written = WriteSafetensors(path, named, file.metadata());
  FUZZ_CHECK(written.ok(), written.ToString());
  const absl::StatusOr<std::unique_ptr<SafetensorsFile>> again = SafetensorsFile::Open(path);
  FUZZ_CHECK(again.ok(), again.status().ToString());
  CheckTensors(**again);
  FUZZ_CHECK((*again)->metadata() == file.metadata(), "metadata");
  FUZZ_CHECK((*again)->tensors().size() == file.tensors().size(), "number of tensors");
  for (const auto& [name, tensor] : file.tensors()) {
    const TensorView* other = (*again)->Find(name);
    FUZZ_CHECK(other != nullptr && other->dtype == tensor.dtype && other->shape == tensor.shape, name);
    FUZZ_CHECK(std::equal(other->data.begin(), other->data.end(), tensor.data.begin(), tensor.data.end()),
               name);
    FUZZ_CHECK(other->is_aligned(), name);
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {
      File("{}", 0), File(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      File(R"({"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
           R"("b":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}   )",
           2),
      File(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"__pad__.0":{"dtype":"U8","shape":[3],)"
           R"("data_offsets":[8,11]},"b":{"dtype":"BF16","shape":[1,1,1,1,1,1,1,1],"data_offsets":[11,13]}})",
           13)};
  const AlignedVector<float> floats(12, 0.5f);
  const auto bytes = std::as_bytes(std::span(floats));
  const std::vector<NamedTensor> tensors = {{"vectors", {DType::kF32, {3, 4}, bytes}},
                                            {"keys", {DType::kU64, {6}, bytes}},
                                            {"text \"\xC3\xA4\"", {DType::kU8, {5}, bytes.first(5)}},
                                            {"doubles", {DType::kF64, {2, 1}, bytes.first(16)}}};
  const std::string path = Directory() + "/seed.safetensors";
  const absl::Status written = WriteSafetensors(path, tensors, {{"format", "1"}});
  FUZZ_CHECK(written.ok(), written.ToString());
  const auto file = SafetensorsFile::Open(path);
  FUZZ_CHECK(file.ok(), file.status().ToString());
  seeds.emplace_back(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size());
  return seeds;
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;  // NOLINT(google-build-using-namespace): an extern "C" function
  AlignedVector<std::byte> bytes(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes.begin());
  const absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Parse(bytes, "a file");
  if (!file.ok()) {
    FUZZ_CHECK(absl::IsDataLoss(file.status()), file.status().ToString());
    const std::string message(file.status().message());
    FUZZ_CHECK(message.size() > 8 && message.substr(0, 8) == "a file: ", message);
    FUZZ_CHECK(fuzz::IsShortLine(message), message);
    FUZZ_CHECK(IsValidUtf8(message), message);
    return 0;
  }
  fuzz::CheckTensors(**file);
  // The writer gives every tensor a name.
  if ((*file)->Find("") == nullptr) fuzz::CheckRoundTrip(**file);
  return 0;
}

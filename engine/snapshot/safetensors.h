// safetensors (https://github.com/huggingface/safetensors, "Format"): 8 bytes little-endian header length N,
// N bytes of JSON {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, "__metadata__":
// {...}}, then the tensors' bytes without holes. The writer pads the header with spaces and puts explicit
// "__pad__.<n>" U8 tensors between others so that every tensor starts on a 64-byte boundary of the file.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_SAFETENSORS_H_
#define SWIFTLET_ENGINE_SNAPSHOT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/bf16.h"

namespace swiftlet {

enum class DType : uint8_t { kF32, kU64, kU32, kU8, kI64, kI32, kF16, kBF16, kF64 };

size_t DTypeBytes(DType dtype);
std::string_view DTypeName(DType dtype);  // "F32", ...

// A borrowed tensor: row-major, little-endian.
struct TensorView {
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  std::span<const std::byte> data;  // exactly product(shape) * DTypeBytes(dtype)

  uint64_t num_elements() const;
  // True when the data starts at a multiple of the element's size. Always so in files that WriteSafetensors
  // wrote; the format itself does not promise it.
  bool is_aligned() const;
  // Requires an element type of dtype's size and kind, and is_aligned(): checked, ends the process. F16 and
  // BF16 are seen as uint16_t, BF16 also as Bf16, U8 also as char.
  template <typename T>
  std::span<const T> as() const {
    CheckAccess(DTypeMatches<T>(dtype));
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }

 private:
  template <typename T>
  static constexpr bool DTypeMatches(DType dtype) {
    if constexpr (std::is_same_v<T, float>) return dtype == DType::kF32;
    if constexpr (std::is_same_v<T, double>) return dtype == DType::kF64;
    if constexpr (std::is_same_v<T, uint64_t>) return dtype == DType::kU64;
    if constexpr (std::is_same_v<T, uint32_t>) return dtype == DType::kU32;
    if constexpr (std::is_same_v<T, int64_t>) return dtype == DType::kI64;
    if constexpr (std::is_same_v<T, int32_t>) return dtype == DType::kI32;
    if constexpr (std::is_same_v<T, uint16_t>) return dtype == DType::kF16 || dtype == DType::kBF16;
    if constexpr (std::is_same_v<T, Bf16>) return dtype == DType::kBF16;
    if constexpr (sizeof(T) == 1) return dtype == DType::kU8;
    return false;
  }
  void CheckAccess(bool dtype_matches) const;
};

// A read-only memory-mapped file. Immutable and thread-safe; unmapped on destruction.
class SafetensorsFile {
 public:
  // Maps and validates the file: header length, JSON, dtypes, shapes whose product overflows, offsets out of
  // bounds, overlapping or with holes, duplicate names. NOT_FOUND when there is no such file; DATA_LOSS with
  // path, tensor and reason for anything malformed. Never reads outside the file, whatever the header says.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  // The same over bytes in memory, which must outlive the result. For tests and fuzzing. Start must be
  // 64-byte aligned.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(std::span<const std::byte> bytes,
                                                                std::string_view name_for_errors);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  // Null when absent.
  const TensorView* Find(std::string_view name) const;
  // Without pad tensors.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  SafetensorsFile() = default;
  absl::Status ParseHeader(std::string_view name_for_errors);

  std::span<const std::byte> bytes_;
  bool mapped_ = false;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes tensors in the order given, then fsyncs the file. The views are borrowed for the call.
struct NamedTensor {
  std::string name;
  TensorView tensor;
};
absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_SAFETENSORS_H_

// Looks tensors up by name and checks dtype and shape. Private to this folder.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_TENSOR_BINDER_H_
#define SWIFTLET_ENGINE_SNAPSHOT_TENSOR_BINDER_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quoted.h"
#include "engine/snapshot/safetensors.h"

namespace swiftlet {

// Keeps the first error; later calls then do nothing. Thread-compatible.
class TensorBinder {
 public:
  // In a shape of one dimension: any length.
  static constexpr uint64_t kAnyLength = ~uint64_t{0};

  // `file` must outlive this and what is bound.
  TensorBinder(const SafetensorsFile& file, std::string path) : file_(file), path_(std::move(path)) {}

  template <typename T>
  void Required(std::string_view name, std::initializer_list<uint64_t> shape, std::span<const T>* out) {
    if (status_.ok() && file_.Find(name) == nullptr) {
      status_ = absl::DataLossError(absl::StrCat(path_, ": tensor \"", std::string(name), "\": missing"));
    }
    Optional(name, shape, out);
  }
  // Leaves `out` alone when there is no such tensor.
  template <typename T>
  void Optional(std::string_view name, std::initializer_list<uint64_t> shape, std::span<const T>* out) {
    asked_.emplace(name);
    const TensorView* tensor = file_.Find(name);
    if (!status_.ok() || tensor == nullptr) return;
    status_ = Check(name, *tensor, ExpectedDType<T>(), shape);
    if (status_.ok()) *out = tensor->as<T>();
  }
  // Refuses tensors of these families that were not asked for by name: a misspelt optional tensor would
  // silently not count. Others are somebody's own, and are passed over.
  void RefuseOthers(std::initializer_list<std::string_view> prefixes) {
    for (const auto& [name, tensor] : file_.tensors()) {
      const std::string& tensor_name = name;  // clang 14 captures no structured bindings
      const bool ours = std::any_of(prefixes.begin(), prefixes.end(),
                                    [&](std::string_view prefix) { return tensor_name.starts_with(prefix); });
      if (status_.ok() && ours && !asked_.contains(name)) {
        status_ = absl::DataLossError(absl::StrCat(path_, ": tensor ", Quoted(name), ": not known"));
      }
    }
  }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  static constexpr DType ExpectedDType() {
    if constexpr (std::is_same_v<T, float>) return DType::kF32;
    if constexpr (std::is_same_v<T, Bf16>) return DType::kBF16;
    if constexpr (std::is_same_v<T, uint64_t>) return DType::kU64;
    if constexpr (std::is_same_v<T, uint32_t>) return DType::kU32;
    return DType::kU8;
  }

  absl::Status Check(std::string_view name, const TensorView& tensor, DType dtype,
                     std::span<const uint64_t> shape) const {
    const bool any_length = shape.size() == 1 && shape[0] == kAnyLength;
    const bool shape_fits =
        any_length ? tensor.shape.size() == 1
                   : std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end());
    if (tensor.dtype != dtype || !shape_fits) {
      return absl::DataLossError(absl::StrCat(
          path_, ": tensor \"", std::string(name), "\": expected ", std::string(DTypeName(dtype)), " [",
          any_length ? "any length" : absl::StrJoin(shape, ", "), "], found ",
          std::string(DTypeName(tensor.dtype)), " [", absl::StrJoin(tensor.shape, ", "), "]"));
    }
    // Rows are read with aligned loads.
    if (reinterpret_cast<uintptr_t>(tensor.data.data()) % 64 != 0) {
      return absl::DataLossError(absl::StrCat(path_, ": tensor \"", std::string(name),
                                              "\": does not start at a multiple of 64 bytes of the file"));
    }
    return absl::OkStatus();
  }

  const SafetensorsFile& file_;
  const std::string path_;
  std::set<std::string, std::less<>> asked_;
  absl::Status status_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_TENSOR_BINDER_H_

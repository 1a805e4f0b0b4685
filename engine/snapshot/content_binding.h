// The content tower's tensors (see model_snapshot.h): from a file to a ContentTower, and the other way round.
// Private to this folder, but for the tests.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_CONTENT_BINDING_H_
#define SWIFTLET_ENGINE_SNAPSHOT_CONTENT_BINDING_H_

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/encoders/content_tower.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/safetensors.h"
#include "engine/snapshot/tensor_binder.h"

namespace swiftlet {

inline constexpr uint32_t kMaxContentExternals = 64;
inline constexpr uint32_t kMaxContentExternalDim = 1 << 16;

// The tower of a file, if it has one: *tower borrows from the file. The binder keeps what is wrong with
// dtypes and shapes; DATA_LOSS for numbers that memory safety rests on.
absl::Status BindContentTower(const Manifest& manifest, TensorBinder* binder,
                              std::optional<ContentTower>* tower);

// Every other value: buckets in order, finite numbers, zero padding, names. DATA_LOSS names tensor and
// element.
absl::Status CheckContentTower(const ContentTower& tower);

// What is written beside the tower's own tables.
struct ContentTensors {
  explicit ContentTensors(const ContentTowerData& tower);

  std::vector<float> numbers;
  std::vector<uint64_t> name_offsets = {0};
  std::string name_bytes;
  std::vector<uint32_t> dims;
};
// Both are borrowed by the result.
std::vector<NamedTensor> NameContentTensors(const ContentTowerData& tower, const ContentTensors& tensors,
                                            uint32_t dim);

// INVALID_ARGUMENT where the tower cannot be one of a model of this dim.
absl::Status CheckContentTower(const ContentTowerData& tower, uint32_t dim);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_CONTENT_BINDING_H_

// A snapshot out of vectors that were trained elsewhere, in a safetensors file or in .npy files.
#ifndef SWIFTLET_ENGINE_TRAINER_IMPORT_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_IMPORT_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/safetensors.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/load_events.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// vectors_path may be a .npy file of the item vectors: item_ids_path is needed then, and item_tensor is not
// looked at. The other tensors may name .npy files in either case.
struct ImportOptions {
  std::string vectors_path;
  std::string item_tensor = "items";  // [N, d], F32, F16, BF16 or F64
  std::string item_ids_path;  // a text file, one id a line; empty: tensors <item_id_tensor>_bytes (U8, all
                              // ids one after the other) and <item_id_tensor>_offsets (U64 or I64, [N + 1])
  std::string item_id_tensor = "item.id";
  std::string input_tensor, bias_tensor, popularity_tensor;  // optional: [N, d], [N], [N]
  std::string user_tensor;                                   // optional: [U, d]
  std::string user_ids_path, user_id_tensor = "user.id";     // as for items
  std::string space;                                         // embedding space; empty: a new one
  uint32_t max_events = 50;
  RowType row_type = RowType::kFloat32;  // of the snapshot
  ItemFileOptions items;                 // path empty: no metadata
};

struct ImportedModel {
  SnapshotContents contents;
  std::vector<std::string> user_ids;  // in byte order
  MatrixF user_vectors;               // [users, dim]
  uint64_t num_described = 0;         // items that the items file describes
};

// INVALID_ARGUMENT, naming file, tensor or line, for a missing tensor, another shape or dtype, or ids that do
// not match; what SafetensorsFile::Open and LoadItemFile return.
absl::StatusOr<ImportedModel> ImportModel(const ImportOptions& options, int64_t version, int64_t now_ms);

// A [rows, columns] tensor as float32; a tensor of one dimension has one column.
absl::StatusOr<MatrixF> TensorToMatrix(const TensorView& tensor, const std::string& name);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_IMPORT_MODEL_H_

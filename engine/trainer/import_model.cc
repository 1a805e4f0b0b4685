#include "engine/trainer/import_model.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>

#include "Eigen/Core"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/npy.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

bool IsNpy(const std::string& path) { return path.ends_with(".npy"); }

absl::StatusOr<const TensorView*> FindTensor(const SafetensorsFile& file, const std::string& path,
                                             const std::string& name) {
  if (const TensorView* tensor = file.Find(name)) return tensor;
  std::vector<std::string> names;
  for (const auto& [n, tensor] : file.tensors()) names.push_back(n);
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": no tensor \"", name, "\"; the file has: ", absl::StrJoin(names, ", ")));
}

// The tensor of the safetensors file, or the array of a .npy file where the name is one's. file: null where
// the vectors are a .npy file.
absl::StatusOr<MatrixF> ReadMatrix(const SafetensorsFile* file, const std::string& path,
                                   const std::string& name) {
  if (IsNpy(name)) return ReadNpy(name);
  if (file == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a .npy file has no tensor \"", name, "\"; name another .npy file"));
  }
  SWIFTLET_ASSIGN_OR_RETURN(const TensorView* tensor, FindTensor(*file, path, name));
  return TensorToMatrix(*tensor, absl::StrCat(path, ": tensor \"", name, "\""));
}

absl::Status CheckIds(const std::vector<std::string>& ids, const std::string& where) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!IsValidId(ids[i])) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": id ", i + 1, " (", ids[i].size(),
                                                     " bytes) is not 1 to ", kMaxIdBytes, " bytes of UTF-8"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ReadIdFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::vector<std::string> ids;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!IsValidId(line)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", ids.size() + 1, ": expected an id of 1 to ",
                                                     kMaxIdBytes, " bytes of UTF-8"));
    }
    ids.push_back(std::move(line));
  }
  return ids;
}

absl::StatusOr<std::vector<std::string>> ReadIdTensors(const SafetensorsFile* safetensors,
                                                       const std::string& path, const std::string& prefix,
                                                       const std::string& flag) {
  if (safetensors == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a .npy file has no ids; name their file with ", flag));
  }
  const SafetensorsFile& file = *safetensors;
  SWIFTLET_ASSIGN_OR_RETURN(const TensorView* bytes, FindTensor(file, path, prefix + "_bytes"));
  SWIFTLET_ASSIGN_OR_RETURN(const TensorView* offsets, FindTensor(file, path, prefix + "_offsets"));
  if (bytes->dtype != DType::kU8) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", prefix, "_bytes\" is ",
                                                   std::string(DTypeName(bytes->dtype)), ", expected U8"));
  }
  if (offsets->dtype != DType::kU64 && offsets->dtype != DType::kI64) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", prefix, "_offsets\" is ",
                                                   std::string(DTypeName(offsets->dtype)),
                                                   ", expected U64 or I64"));
  }
  // Copied, because files from elsewhere need not be aligned.
  std::vector<uint64_t> begin(offsets->num_elements());
  std::memcpy(begin.data(), offsets->data.data(), begin.size() * sizeof(uint64_t));
  const char* text = reinterpret_cast<const char*>(bytes->data.data());
  std::vector<std::string> ids;
  for (size_t i = 0; i + 1 < begin.size(); ++i) {
    if (begin[i] > begin[i + 1] || begin[i + 1] > bytes->data.size()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", prefix, "_offsets\": entry ", i + 1,
                                                     " is ", begin[i + 1], " after ", begin[i], ", of ",
                                                     bytes->data.size(), " bytes"));
    }
    ids.emplace_back(text + begin[i], begin[i + 1] - begin[i]);
  }
  SWIFTLET_RETURN_IF_ERROR(CheckIds(ids, absl::StrCat(path, ": tensor \"", prefix, "_bytes\"")));
  return ids;
}

absl::Status CheckRows(const std::string& path, const std::string& name, const MatrixF& matrix, size_t rows,
                       Eigen::Index columns) {
  if (matrix.rows() == static_cast<Eigen::Index>(rows) && matrix.cols() == columns) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", name, "\" is [", matrix.rows(), ", ",
                                                 matrix.cols(), "], expected [", rows, ", ", columns, "]"));
}

std::vector<float> Values(const MatrixF& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }

}  // namespace

absl::StatusOr<MatrixF> TensorToMatrix(const TensorView& tensor, const std::string& name) {
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", tensor.shape.size(), " dimensions, expected [rows, dim]"));
  }
  const uint64_t columns = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
  MatrixF matrix(static_cast<Eigen::Index>(tensor.shape[0]), static_cast<Eigen::Index>(columns));
  const std::byte* data = tensor.data.data();
  const auto convert = [&](auto value, auto to_float) {
    for (Eigen::Index i = 0; i < matrix.size(); ++i) {
      std::memcpy(&value, data + static_cast<size_t>(i) * sizeof(value), sizeof(value));
      matrix.data()[i] = to_float(value);
    }
  };
  switch (tensor.dtype) {
    case DType::kF32:
      convert(float{}, [](float v) { return v; });
      return matrix;
    case DType::kF64:
      convert(double{}, [](double v) { return static_cast<float>(v); });
      return matrix;
    case DType::kF16:
      convert(uint16_t{},
              [](uint16_t v) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(v)); });
      return matrix;
    case DType::kBF16:
      convert(uint16_t{}, [](uint16_t v) { return std::bit_cast<float>(static_cast<uint32_t>(v) << 16); });
      return matrix;
    default:
      return absl::InvalidArgumentError(absl::StrCat(name, " is ", std::string(DTypeName(tensor.dtype)),
                                                     ", expected F32, F16, BF16 or F64"));
  }
}

absl::StatusOr<ImportedModel> ImportModel(const ImportOptions& options, int64_t version, int64_t now_ms) {
  const std::string& path = options.vectors_path;
  std::unique_ptr<SafetensorsFile> safetensors;
  if (!IsNpy(path)) {
    SWIFTLET_ASSIGN_OR_RETURN(safetensors, SafetensorsFile::Open(path));
  }
  const SafetensorsFile* file = safetensors.get();
  ImportedModel model;
  SnapshotContents& contents = model.contents;
  SWIFTLET_ASSIGN_OR_RETURN(const MatrixF items,
                            ReadMatrix(file, path, IsNpy(path) ? path : options.item_tensor));
  if (items.rows() == 0 || items.cols() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", options.item_tensor, "\" is [",
                                                   items.rows(), ", ", items.cols(),
                                                   "], expected at least one row and column"));
  }
  const bool item_file = !options.item_ids_path.empty();
  SWIFTLET_ASSIGN_OR_RETURN(contents.item_ids,
                            item_file ? ReadIdFile(options.item_ids_path)
                                      : ReadIdTensors(file, path, options.item_id_tensor, "--ids"));
  const size_t num_items = contents.item_ids.size();
  if (static_cast<size_t>(items.rows()) != num_items) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": tensor \"", options.item_tensor, "\" has ", items.rows(), " rows, ",
                     item_file ? options.item_ids_path : "its id tensor", " has ", num_items, " ids"));
  }
  contents.dim = static_cast<uint32_t>(items.cols());
  contents.item_vectors = Values(items);
  contents.item_popularity.assign(num_items, 0.0f);
  if (!options.input_tensor.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const MatrixF inputs, ReadMatrix(file, path, options.input_tensor));
    SWIFTLET_RETURN_IF_ERROR(CheckRows(path, options.input_tensor, inputs, num_items, items.cols()));
    contents.item_input_vectors = Values(inputs);
  }
  if (!options.bias_tensor.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const MatrixF bias, ReadMatrix(file, path, options.bias_tensor));
    SWIFTLET_RETURN_IF_ERROR(CheckRows(path, options.bias_tensor, bias, num_items, 1));
    contents.item_bias = Values(bias);
  }
  if (!options.popularity_tensor.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const MatrixF popularity, ReadMatrix(file, path, options.popularity_tensor));
    SWIFTLET_RETURN_IF_ERROR(CheckRows(path, options.popularity_tensor, popularity, num_items, 1));
    contents.item_popularity = Values(popularity);
  }
  if (!options.items.path.empty()) {
    std::vector<ItemRecord> records;
    SWIFTLET_RETURN_IF_ERROR(LoadItemFile(options.items, &records).status());
    absl::flat_hash_map<std::string, size_t> row_of;
    for (size_t i = 0; i < num_items; ++i) row_of.emplace(contents.item_ids[i], i);
    contents.item_titles.resize(num_items);
    contents.item_categories.resize(num_items);
    for (ItemRecord& record : records) {
      const auto it = row_of.find(record.item_id);
      if (it == row_of.end()) continue;
      ++model.num_described;
      contents.item_titles[it->second] = std::move(record.title);
      contents.item_categories[it->second] = std::move(record.categories);
    }
  }
  if (!options.user_tensor.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const MatrixF users, ReadMatrix(file, path, options.user_tensor));
    SWIFTLET_ASSIGN_OR_RETURN(std::vector<std::string> ids,
                              options.user_ids_path.empty()
                                  ? ReadIdTensors(file, path, options.user_id_tensor, "--user-ids")
                                  : ReadIdFile(options.user_ids_path));
    SWIFTLET_RETURN_IF_ERROR(CheckRows(path, options.user_tensor, users, ids.size(), items.cols()));
    std::vector<size_t> order(ids.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ids[a] < ids[b]; });
    model.user_vectors.resize(users.rows(), users.cols());
    for (size_t u = 0; u < order.size(); ++u) {
      if (u > 0 && ids[order[u]] == ids[order[u - 1]]) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": user id \"", ids[order[u]], "\" appears twice"));
      }
      model.user_ids.push_back(ids[order[u]]);
      model.user_vectors.row(static_cast<Eigen::Index>(u)) = users.row(static_cast<Eigen::Index>(order[u]));
    }
  }
  Manifest& manifest = contents.manifest;
  manifest.version = version;
  manifest.created_ms = manifest.trained_through_ms = now_ms;
  manifest.model_kind = "attention";
  manifest.row_type = options.row_type;
  const EventTypeTable types = EventTypeTable::Default();
  manifest.event_types.assign(types.types().begin(), types.types().end());
  SWIFTLET_ASSIGN_OR_RETURN(manifest.training_fingerprint, ChecksumFile(path));
  manifest.embedding_space = options.space.empty()
                                 ? NewEmbeddingSpace("import", version, manifest.training_fingerprint, now_ms)
                                 : options.space;
  manifest.training_parameters["imported_tensor"] = options.item_tensor;
  SetUniformAttention(options.max_events, &contents);
  return model;
}

}  // namespace swiftlet

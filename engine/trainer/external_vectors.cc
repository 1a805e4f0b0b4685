#include "engine/trainer/external_vectors.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/safetensors.h"
#include "engine/trainer/import_model.h"
#include "engine/trainer/npy.h"

namespace swiftlet {
namespace {

absl::StatusOr<MatrixF> ReadSafetensors(const ExternalVectorsFile& file) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> tensors, SafetensorsFile::Open(file.path));
  const TensorView* found = nullptr;
  std::string found_name;
  size_t num_candidates = 0;
  for (const auto& [name, tensor] : tensors->tensors()) {
    if (file.tensor.empty() ? tensor.shape.size() != 2 : name != file.tensor) continue;
    found = &tensor;
    found_name = name;
    ++num_candidates;
  }
  if (num_candidates != 1) {
    return absl::InvalidArgumentError(file.tensor.empty()
                                          ? absl::StrCat(file.path, ": ", num_candidates,
                                                         " tensors of two dimensions; name one: ", file.name,
                                                         "=", file.path, "#TENSOR:IDS")
                                          : absl::StrCat(file.path, ": no tensor \"", file.tensor, "\""));
  }
  return TensorToMatrix(*found, absl::StrCat(file.path, ": tensor \"", found_name, "\""));
}

}  // namespace

absl::StatusOr<ExternalVectorsFile> ParseExternalVectorsFlag(std::string_view text) {
  const size_t equals = text.find('='), colon = text.rfind(':');
  ExternalVectorsFile file;
  if (equals != std::string_view::npos && colon != std::string_view::npos && equals < colon) {
    file.name = std::string(text.substr(0, equals));
    file.path = std::string(text.substr(equals + 1, colon - equals - 1));
    file.ids_path = std::string(text.substr(colon + 1));
    if (const size_t hash = file.path.rfind('#'); hash != std::string::npos) {
      file.tensor = file.path.substr(hash + 1);
      file.path.resize(hash);
    }
  }
  if (!IsValidId(file.name) || file.path.empty() || file.ids_path.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--content-vectors: \"", std::string(text),
                     "\"; expected NAME=FILE:IDS or NAME=FILE#TENSOR:IDS, such as text=texts.npy:ids.txt"));
  }
  return file;
}

absl::StatusOr<LoadedExternalVectors> LoadExternalVectors(const ExternalVectorsFile& file) {
  LoadedExternalVectors result;
  ExternalVectors& external = result.vectors;
  external.name = file.name;
  if (file.path.ends_with(".npy")) {
    SWIFTLET_ASSIGN_OR_RETURN(external.vectors, ReadNpy(file.path));
  } else {
    SWIFTLET_ASSIGN_OR_RETURN(external.vectors, ReadSafetensors(file));
  }
  const Eigen::Index dim = external.vectors.cols();
  if (external.vectors.rows() == 0 || dim == 0) {
    return absl::InvalidArgumentError(absl::StrCat(file.path, ": [", external.vectors.rows(), ", ", dim,
                                                   "], expected at least one row and column"));
  }
  std::ifstream ids(file.ids_path, std::ios::binary);
  if (!ids) return absl::NotFoundError(absl::StrCat(file.ids_path, ": ", std::strerror(errno)));
  size_t row = 0;
  for (std::string id; std::getline(ids, id); ++row) {
    if (id.ends_with('\r')) id.pop_back();
    if (!IsValidId(id)) {
      return absl::InvalidArgumentError(absl::StrCat(file.ids_path, ":", row + 1, ": expected an id of 1 to ",
                                                     kMaxIdBytes, " bytes of UTF-8"));
    }
    if (row >= static_cast<size_t>(external.vectors.rows())) continue;  // counted, for the message
    if (!external.vectors.row(static_cast<Eigen::Index>(row)).allFinite()) {
      external.vectors.row(static_cast<Eigen::Index>(row)).setZero();
      ++result.num_not_finite;
      continue;
    }
    if (!external.rows.emplace(id, row).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.ids_path, ":", row + 1, ": the id \"", id, "\" is there twice"));
    }
  }
  if (row != static_cast<size_t>(external.vectors.rows())) {
    return absl::InvalidArgumentError(absl::StrCat(file.path, ": ", external.vectors.rows(), " rows; ",
                                                   file.ids_path, " has ", row, " ids"));
  }
  return result;
}

absl::StatusOr<std::vector<ExternalVectors>> LoadAllExternalVectors(const std::vector<std::string>& flags,
                                                                    const Dataset& data, Progress* progress) {
  std::vector<ExternalVectors> result;
  for (const std::string& flag : flags) {
    SWIFTLET_ASSIGN_OR_RETURN(const ExternalVectorsFile file, ParseExternalVectorsFlag(flag));
    SWIFTLET_ASSIGN_OR_RETURN(LoadedExternalVectors loaded, LoadExternalVectors(file));
    const auto& rows = loaded.vectors.rows;
    const auto missing = std::count_if(data.item_ids.begin(), data.item_ids.end(),
                                       [&](const std::string& id) { return !rows.contains(id); });
    uint64_t unknown = rows.size() - (data.num_items() - static_cast<uint64_t>(missing));
    for (const ItemDescription& item : data.unseen_items) unknown -= rows.contains(item.item_id) ? 1 : 0;
    progress->Say(absl::StrCat(
        "read ", WithCommas(rows.size()), " vectors \"", file.name, "\" of ", loaded.vectors.vectors.cols(),
        " numbers; ", WithCommas(static_cast<uint64_t>(missing)), " of ", WithCommas(data.num_items()),
        " items have none, ", WithCommas(unknown), " are of items that the data does not have, ",
        WithCommas(loaded.num_not_finite), " rows that are not finite were left out"));
    for (const ExternalVectors& other : result) {
      if (other.name == file.name) {
        return absl::InvalidArgumentError(
            absl::StrCat("--content-vectors: \"", file.name, "\" is there twice"));
      }
    }
    result.push_back(std::move(loaded.vectors));
  }
  return result;
}

}  // namespace swiftlet

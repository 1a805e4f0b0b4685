// Vectors of items from elsewhere, such as embeddings of texts, images or sound, for a content tower.
#ifndef SWIFTLET_ENGINE_TRAINER_EXTERNAL_VECTORS_H_
#define SWIFTLET_ENGINE_TRAINER_EXTERNAL_VECTORS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/content_design.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/progress.h"

namespace swiftlet {

struct ExternalVectorsFile {
  std::string name;      // of the source
  std::string path;      // .npy (npy.h), or safetensors
  std::string tensor;    // of a safetensors file; empty: its only tensor of two dimensions
  std::string ids_path;  // a text file, one item id a line
};

// "NAME=FILE:IDS" or "NAME=FILE#TENSOR:IDS".
absl::StatusOr<ExternalVectorsFile> ParseExternalVectorsFlag(std::string_view text);

struct LoadedExternalVectors {
  ExternalVectors vectors;
  uint64_t num_not_finite = 0;  // rows with a number that is not finite: left out, as if they were not there
};

// Errors name file and line or what was expected: no such file, another format, dtype or shape, ids that are
// no ids, occur twice or are not as many as the rows.
absl::StatusOr<LoadedExternalVectors> LoadExternalVectors(const ExternalVectorsFile& file);

// Those of each flag, in that order; says what was read, and how many items of `data` have none.
// INVALID_ARGUMENT where two have one name.
absl::StatusOr<std::vector<ExternalVectors>> LoadAllExternalVectors(const std::vector<std::string>& flags,
                                                                    const Dataset& data, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_EXTERNAL_VECTORS_H_

// Reads arrays that NumPy saved (numpy.save):
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#ifndef SWIFTLET_ENGINE_TRAINER_NPY_H_
#define SWIFTLET_ENGINE_TRAINER_NPY_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// A [rows, columns] array as float32; an array of one dimension has one column. Format versions 1 to 3,
// elements
// '<f4', '<f2' or '<f8', C or Fortran order. NOT_FOUND or UNAVAILABLE for a file that cannot be read;
// INVALID_ARGUMENT with the path for another format, element type or number of dimensions, and for a size
// that is not that of the file: nothing is allocated before that is known.
absl::StatusOr<MatrixF> ReadNpy(const std::string& path);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_NPY_H_

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/bound_math.h"

namespace swiftlet {
namespace {

absl::Status Bad(std::string_view array, uint64_t index, std::string_view expected, std::string_view found) {
  return absl::DataLossError(absl::StrCat("tensor \"index.", std::string(array), "\"[", index, "]: expected ",
                                          std::string(expected), ", found ", std::string(found)));
}

absl::Status CheckSize(std::string_view array, uint64_t expected, uint64_t found) {
  if (expected == found) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("tensor \"index.", std::string(array), "\": expected ", expected,
                                          " elements, found ", found));
}

absl::Status CheckFinite(std::string_view array, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return Bad(array, i, "a finite number", absl::StrCat(values[i]));
  }
  return absl::OkStatus();
}

absl::Status CheckFacts(const BoundIndexView& index) {
  for (size_t g = 0; g < index.num_groups(); ++g) {
    const GroupFacts& f = index.groups[g];
    for (const float scale : {f.coarse_scale, f.fine_scale}) {
      if (!(scale > 0)) return Bad("groups", g, "a scale above 0", absl::StrCat(scale));
    }
    for (const float x : {f.coarse_scale, f.fine_scale, f.coarse_error, f.fine_error, f.max_norm,
                          f.min_inverse_norm, f.max_inverse_norm}) {
      if (!(x >= 0 && std::isfinite(x)))
        return Bad("groups", g, "finite numbers of at least 0", absl::StrCat(x));
    }
    if (!std::isfinite(f.max_bias)) return Bad("groups", g, "a finite bias", absl::StrCat(f.max_bias));
  }
  for (const BoxRow row : {kAlong, kAcross, kCosineAlong, kCosineAcross}) {
    for (size_t g = 0; g < index.num_groups(); ++g) {
      if (!(index.box(row)[g] >= 0)) {
        return Bad("boxes", row * index.num_groups() + g, "at least 0", absl::StrCat(index.box(row)[g]));
      }
    }
  }
  return absl::OkStatus();
}

// R R^T = 1 but for rounding.
absl::Status CheckRotation(const BoundIndexView& index) {
  const float* const rotation = index.rotation.data();
  double square = 0;
  for (size_t a = 0; a < index.dim; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      const double difference =
          DotDouble(rotation + a * index.stride, rotation + b * index.stride, 0, index.dim) -
          (a == b ? 1 : 0);
      square += (a == b ? 1 : 2) * difference * difference;
    }
  }
  if (std::sqrt(square) <= double{BoundSlack(index.dim)}) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "tensor \"index.rotation\": expected orthonormal rows, found them off by ", std::sqrt(square)));
}

// Recomputes the bounds of one row after another.
class RowChecker {
 public:
  RowChecker(const BoundIndexView& index, const ItemMatrix& items, std::span<const float> inverse_norms)
      : index_(index),
        items_(items),
        inverse_norms_(inverse_norms),
        buffer_(index.dim),
        rotated_(index.stride) {}

  // Returns the name of the array whose bound does not hold, or null.
  const char* FirstBroken(size_t cluster, size_t group, size_t slot) {
    const uint32_t row = index_.rows[group * kGroupRows + slot];
    const float* const vector = items_.Row(row).Floats(buffer_.data());
    const float* const centre = index_.centres.data() + cluster * index_.stride;
    const GroupFacts& facts = index_.groups[group];
    const double norm = std::sqrt(SumSquares(vector, 0, index_.dim));
    const double slack = norm * double{BoundSlack(index_.dim)} + 1e-37;
    const double inverse = double{inverse_norms_[row]};
    const float bias = items_.bias == nullptr ? 0.0f : items_.bias[row];
    DotRows(vector, index_.rotation.data(), index_.dim, index_.dim, index_.stride, rotated_.data());
    const AlongAcross place = Decompose(rotated_.data(), centre, 1.0, 0, index_.dim);
    const auto box = [&](BoxRow r) { return double{index_.box(r)[group]}; };
    if (!(double{place.along} >= -slack && box(kAlong) >= double{place.along} - slack &&
          box(kAcross) >= double{place.across} - slack && index_.box(kMaxBias)[group] >= bias &&
          box(kCosineAlong) >= (double{place.along} - slack) * inverse &&
          box(kCosineAcross) >= (double{place.across} - slack) * inverse)) {
      return "boxes";
    }
    if (!(double{facts.max_norm} >= norm - slack && facts.max_bias >= bias &&
          facts.min_inverse_norm <= inverse_norms_[row] && facts.max_inverse_norm >= inverse_norms_[row])) {
      return "groups";
    }
    const auto missed = [](float value, float scale, uint8_t code) {
      const double difference = double{value} - double{scale} * (int{code} - 128);
      return difference * difference;
    };
    const size_t coarse_axes = std::min(kCoarseAxes, index_.dim);
    const auto coarse = [&](size_t j) { return index_.coarse[CoarsePosition(group, slot, j)]; };
    const AlongAcross tail =
        Decompose(rotated_.data(), centre, double{InverseTailNorm(centre, coarse_axes, index_.dim)},
                  coarse_axes, index_.dim);
    double lost = missed(tail.along, facts.coarse_scale, coarse(kCoarseAxes));
    for (size_t j = 0; j < coarse_axes; ++j) lost += missed(rotated_[j], facts.coarse_scale, coarse(j));
    if (!(std::sqrt(lost) <= double{facts.coarse_error} + slack &&
          double{facts.coarse_scale} * coarse(kCoarseAxes + 1) >= double{tail.across} - slack)) {
      return "coarse";
    }
    const uint8_t* const fine = index_.fine.data() + FinePosition(group, slot, index_.dim);
    lost = 0;
    for (size_t j = 0; j < index_.dim; ++j) lost += missed(rotated_[j], facts.fine_scale, fine[j]);
    if (!(std::sqrt(lost) <= double{facts.fine_error} + slack)) return "fine";
    // The query has zeros there, but a code that should be zero and is not is damage.
    for (size_t j = index_.dim; j < FineBytes(index_.dim); ++j) {
      if (fine[j] != 128) return "fine";
    }
    return nullptr;
  }

 private:
  const BoundIndexView& index_;
  const ItemMatrix& items_;
  const std::span<const float> inverse_norms_;
  AlignedVector<float> buffer_, rotated_;
};

}  // namespace

absl::Status CheckBoundIndexStructure(const BoundIndexView& index, size_t num_items) {
  if (index.dim == 0 || index.dim > kMaxIndexedDim || index.stride < index.dim) {
    return absl::DataLossError(
        absl::StrCat("index: expected a dim of at most ", kMaxIndexedDim, ", found ", index.dim));
  }
  const size_t num_groups = index.num_groups();
  if (index.cluster_groups.size() < 2) return CheckSize("cluster_groups", 2, index.cluster_groups.size());
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rotation", index.dim * index.stride, index.rotation.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("centres", index.num_clusters() * index.stride, index.centres.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("rows", num_groups * kGroupRows, index.rows.size()));
  SWIFTLET_RETURN_IF_ERROR(
      CheckSize("coarse", num_groups * kGroupRows * kCoarseQuads * 4, index.coarse.size()));
  SWIFTLET_RETURN_IF_ERROR(
      CheckSize("fine", num_groups * kGroupRows * FineBytes(index.dim), index.fine.size()));
  SWIFTLET_RETURN_IF_ERROR(CheckSize("boxes", num_groups * kNumBoxRows, index.boxes.size()));

  if (index.cluster_groups.front() != 0) {
    return Bad("cluster_groups", 0, "0", absl::StrCat(index.cluster_groups.front()));
  }
  for (size_t c = 1; c < index.cluster_groups.size(); ++c) {
    if (index.cluster_groups[c] < index.cluster_groups[c - 1] || index.cluster_groups[c] > num_groups) {
      return Bad("cluster_groups", c,
                 absl::StrCat("in [", index.cluster_groups[c - 1], ", ", num_groups, "]"),
                 absl::StrCat(index.cluster_groups[c]));
    }
  }
  if (index.cluster_groups.back() != num_groups) {
    return Bad("cluster_groups", index.cluster_groups.size() - 1, absl::StrCat(num_groups),
               absl::StrCat(index.cluster_groups.back()));
  }
  std::vector<bool> seen(num_items);
  size_t num_rows = 0;
  for (size_t i = 0; i < index.rows.size(); ++i) {
    const uint32_t row = index.rows[i];
    if (row == kNoSlotRow) continue;
    if (row >= num_items || seen[row]) {
      return Bad("rows", i, absl::StrCat("a row below ", num_items, " that did not occur before"),
                 absl::StrCat(row));
    }
    seen[row] = true;
    ++num_rows;
  }
  if (num_rows != num_items) {
    return absl::DataLossError(
        absl::StrCat("tensor \"index.rows\": expected ", num_items, " rows, found ", num_rows));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("rotation", index.rotation));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("centres", index.centres));
  SWIFTLET_RETURN_IF_ERROR(CheckFinite("boxes", index.boxes));
  return CheckFacts(index);
}

absl::Status CheckBoundIndexValues(const BoundIndexView& index, const ItemMatrix& items,
                                   std::span<const float> inverse_norms) {
  SWIFTLET_RETURN_IF_ERROR(CheckRotation(index));
  RowChecker checker(index, items, inverse_norms);
  for (size_t c = 0; c < index.num_clusters(); ++c) {
    const double length = std::sqrt(SumSquares(index.centres.data() + c * index.stride, 0, index.dim));
    if (length != 0 && !(std::fabs(length - 1) <= double{BoundSlack(index.dim)})) {
      return Bad("centres", c, "a direction of length 1, or 0", absl::StrCat(length));
    }
    for (size_t g = index.cluster_groups[c]; g < index.cluster_groups[c + 1]; ++g) {
      for (size_t slot = 0; slot < kGroupRows; ++slot) {
        const uint32_t row = index.rows[g * kGroupRows + slot];
        if (row == kNoSlotRow) continue;
        if (const char* array = checker.FirstBroken(c, g, slot); array != nullptr) {
          return absl::DataLossError(absl::StrCat("tensor \"index.", array, "\": the bounds of group ", g,
                                                  " do not hold for item row ", row));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace swiftlet

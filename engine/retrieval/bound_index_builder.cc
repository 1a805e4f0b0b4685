#include "engine/retrieval/bound_index_builder.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "engine/base/thread_pool.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_math.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxAxesSample = 200'000;    // rows that the principal axes are found from
constexpr size_t kSampleRowsPerCluster = 48;  // rows that centres are found from
constexpr int kCentreIterations = 6;
constexpr size_t kMaxClusters = 4096;
constexpr size_t kNormSample = 20'000;  // rows that the spread of the norms is measured on
constexpr double kEqualNorms = 0.05, kDifferentNorms = 0.3;  // deviations of their logarithms
constexpr double kRoundUp = 1 + 4e-6;                        // of a double that is stored as a float bound

using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Random = std::mt19937_64;

// `count` of [0, n), ascending; all of them when count >= n.
std::vector<uint32_t> SampleRows(size_t n, size_t count, Random& random) {
  std::vector<uint32_t> rows(std::min(n, count));
  if (count >= n) {
    std::iota(rows.begin(), rows.end(), 0u);
  } else {
    for (uint32_t& row : rows) row = static_cast<uint32_t>(random() % n);
    std::sort(rows.begin(), rows.end());
  }
  return rows;
}

// Eigenvectors of the second moments, largest first, as rows [dim, stride].
AlignedVector<float> PrincipalAxes(const ItemMatrix& items, Random& random) {
  const size_t dim = items.dim, stride = RowStride(dim);
  const auto size = static_cast<Eigen::Index>(dim);
  MatrixD moments = MatrixD::Zero(size, size);
  constexpr size_t kBlock = 1024;
  const std::vector<uint32_t> sample = SampleRows(items.num_items, kMaxAxesSample, random);
  MatrixD block(static_cast<Eigen::Index>(kBlock), size);
  AlignedVector<float> buffer(dim);
  for (size_t begin = 0; begin < sample.size(); begin += kBlock) {
    const size_t n = std::min(kBlock, sample.size() - begin);
    for (size_t i = 0; i < n; ++i) {
      const float* row = items.Row(sample[begin + i]).Floats(buffer.data());
      for (size_t j = 0; j < dim; ++j) {
        block(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) = double{row[j]};
      }
    }
    const auto used = block.topRows(static_cast<Eigen::Index>(n));
    moments.selfadjointView<Eigen::Lower>().rankUpdate(used.transpose());
  }
  const Eigen::SelfAdjointEigenSolver<MatrixD> solver(moments);
  AlignedVector<float> rotation(dim * stride);
  for (size_t axis = 0; axis < dim; ++axis) {
    for (size_t j = 0; j < dim; ++j) {
      // Ascending eigenvalues: the last column comes first. Without convergence (never seen): no rotation.
      const double value =
          solver.info() == Eigen::Success
              ? solver.eigenvectors()(static_cast<Eigen::Index>(j), static_cast<Eigen::Index>(dim - 1 - axis))
              : (axis == j ? 1.0 : 0.0);
      rotation[axis * stride + j] = static_cast<float>(value);
    }
  }
  return rotation;
}

// Of the norms' logarithms, over a sample of the rows that are not zero.
double LogNormDeviation(const ItemMatrix& items, Random& random) {
  double count = 0, sum = 0, squares = 0;
  AlignedVector<float> buffer(items.dim);
  for (const uint32_t row : SampleRows(items.num_items, kNormSample, random)) {
    const double square = SumSquares(items.Row(row).Floats(buffer.data()), 0, items.dim);
    if (!(square > 0)) continue;
    const double log_norm = std::log(square) / 2;
    count += 1;
    sum += log_norm;
    squares += log_norm * log_norm;
  }
  return count > 0 ? std::sqrt(std::max(squares / count - sum / count * sum / count, 0.0)) : 0;
}

// Builds step by step; one object, one index.
class Builder {
 public:
  Builder(const ItemMatrix& items, std::span<const float> inverse_norms, const BoundIndexOptions& options)
      : items_(items),
        inverse_norms_(inverse_norms),
        dim_(items.dim),
        stride_(RowStride(items.dim)),
        pool_(options.num_threads),
        random_(options.seed) {
    num_directions_ = options.num_clusters;
    if (num_directions_ == 0) {
      // Every cluster costs a product and a look at its boxes, whatever is in it. Where norms differ, they
      // leave most rows out: measured at 100 k and 1 M rows of dim 64, sigma .35, half as many clusters to
      // twice as many differ little, four times as many halve the speed. Where norms are equal only
      // directions tell rows apart: of eight, twelve and sixteen times as many (1 M rows, sigma 0), an
      // approximate search of recall .99 is fastest with twelve, an exact one 7 % faster with eight.
      const double alike = std::clamp(
          (kDifferentNorms - LogNormDeviation(items, random_)) / (kDifferentNorms - kEqualNorms), 0.0, 1.0);
      const double count = std::sqrt(static_cast<double>(items.num_items)) / 4 * std::pow(12, alike);
      num_directions_ = std::min(kMaxClusters, static_cast<size_t>(std::lround(count)));
    }
    num_directions_ = std::clamp<size_t>(num_directions_, 1, items.num_items);
  }

  BoundIndexData Build() {
    data_.dim = dim_;
    data_.stride = stride_;
    data_.rotation = PrincipalAxes(items_, random_);
    FindCentres();
    Assign();
    Lay();
    Encode();
    return std::move(data_);
  }

 private:
  // rotated = R v for the vector v of a row, which is returned. buffer: [dim], where v may lie.
  const float* Rotate(size_t row, float* buffer, float* rotated) const {
    const float* const v = items_.Row(row).Floats(buffer);
    DotRows(v, data_.rotation.data(), dim_, dim_, stride_, rotated);
    return v;
  }
  // The direction that x has the largest product with, or num_directions_ (the cluster without a direction)
  // when none is positive.
  size_t Nearest(const float* x, AlignedVector<float>& scores) const {
    scores.resize(num_directions_);
    DotRows(x, data_.centres.data(), num_directions_, dim_, stride_, scores.data());
    const size_t best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    return scores[best] > 0 ? best : num_directions_;
  }

  // Spherical k-means on a sample.
  void FindCentres() {
    const std::vector<uint32_t> sample =
        SampleRows(items_.num_items, num_directions_ * kSampleRowsPerCluster, random_);
    AlignedVector<float> units(sample.size() * stride_);
    pool_.ParallelFor(sample.size(), 4096, [&](size_t begin, size_t end, size_t) {
      AlignedVector<float> buffer(dim_), rotated(stride_);
      for (size_t i = begin; i < end; ++i) {
        Rotate(sample[i], buffer.data(), rotated.data());
        SetUnit(rotated.data(), &units[i * stride_]);
      }
    });
    data_.centres.assign((num_directions_ + 1) * stride_, 0.0f);
    const auto take_random_unit = [&](size_t centre) {
      std::copy_n(&units[random_() % sample.size() * stride_], stride_, &data_.centres[centre * stride_]);
    };
    for (size_t c = 0; c < num_directions_; ++c) take_random_unit(c);
    std::vector<size_t> nearest(sample.size());
    std::vector<double> sums(num_directions_ * dim_);
    for (int iteration = 0; iteration < kCentreIterations; ++iteration) {
      pool_.ParallelFor(sample.size(), 4096, [&](size_t begin, size_t end, size_t) {
        AlignedVector<float> scores;
        for (size_t i = begin; i < end; ++i) nearest[i] = Nearest(&units[i * stride_], scores);
      });
      std::fill(sums.begin(), sums.end(), 0.0);
      for (size_t i = 0; i < sample.size(); ++i) {
        if (nearest[i] == num_directions_) continue;
        for (size_t j = 0; j < dim_; ++j) sums[nearest[i] * dim_ + j] += double{units[i * stride_ + j]};
      }
      for (size_t c = 0; c < num_directions_; ++c) {
        AlignedVector<float> sum(dim_);
        for (size_t j = 0; j < dim_; ++j) sum[j] = static_cast<float>(sums[c * dim_ + j]);
        if (!SetUnit(sum.data(), &data_.centres[c * stride_])) take_random_unit(c);
      }
    }
  }

  // unit = x / |x|; zero, and false, for a zero vector.
  bool SetUnit(const float* x, float* unit) const {
    const double norm = std::sqrt(SumSquares(x, 0, dim_));
    for (size_t j = 0; j < dim_; ++j) unit[j] = norm > 0 ? static_cast<float>(double{x[j]} / norm) : 0.0f;
    return norm > 0;
  }

  // Cluster, a and r of every row.
  void Assign() {
    cluster_of_.resize(items_.num_items);
    place_.resize(items_.num_items);
    pool_.ParallelFor(items_.num_items, 4096, [&](size_t begin, size_t end, size_t) {
      AlignedVector<float> buffer(dim_), rotated(stride_), scores;
      for (size_t row = begin; row < end; ++row) {
        Rotate(row, buffer.data(), rotated.data());
        size_t cluster = Nearest(rotated.data(), scores);
        place_[row] = Decompose(rotated.data(), &data_.centres[cluster * stride_], 1.0, 0, dim_);
        if (place_[row].along < 0) {  // by a rounding: boxes need a >= 0
          cluster = num_directions_;
          place_[row] = Decompose(rotated.data(), &data_.centres[cluster * stride_], 1.0, 0, dim_);
        }
        cluster_of_[row] = static_cast<uint32_t>(cluster);
      }
    });
  }

  // Order of rows: by cluster, and in each so that groups of sixteen are small boxes.
  void Lay() {
    const size_t num_clusters = num_directions_ + 1;
    std::vector<size_t> begin_of(num_clusters + 1);
    for (const uint32_t c : cluster_of_) ++begin_of[c + 1];
    std::partial_sum(begin_of.begin(), begin_of.end(), begin_of.begin());
    std::vector<uint32_t> order(items_.num_items);
    std::vector<size_t> next(begin_of.begin(), begin_of.end() - 1);
    for (size_t row = 0; row < items_.num_items; ++row)
      order[next[cluster_of_[row]]++] = static_cast<uint32_t>(row);

    double sum_of_norms = 0;
    for (const AlongAcross& p : place_) sum_of_norms += std::hypot(double{p.along}, double{p.across});
    bias_weight_ =
        sum_of_norms > 0 ? static_cast<float>(static_cast<double>(items_.num_items) / sum_of_norms) : 0;
    pool_.ParallelFor(num_clusters, 1, [&](size_t begin, size_t end, size_t) {
      for (size_t c = begin; c < end; ++c) Split(order.data() + begin_of[c], order.data() + begin_of[c + 1]);
    });

    data_.cluster_groups.assign(1, 0);
    for (size_t c = 0; c < num_clusters; ++c) {
      data_.rows.insert(data_.rows.end(), order.begin() + static_cast<ptrdiff_t>(begin_of[c]),
                        order.begin() + static_cast<ptrdiff_t>(begin_of[c + 1]));
      data_.rows.resize((data_.rows.size() + kGroupRows - 1) / kGroupRows * kGroupRows, kNoSlotRow);
      data_.cluster_groups.push_back(static_cast<uint32_t>(data_.rows.size() / kGroupRows));
    }
  }

  float Coordinate(uint32_t row, int which) const {
    if (which == 0) return place_[row].along;
    if (which == 1) return place_[row].across;
    return items_.bias == nullptr ? 0.0f : items_.bias[row] * bias_weight_;
  }

  // A k-d tree over (a, r, bias): halves the widest extent until sixteen rows are left, larger values first.
  void Split(uint32_t* begin, uint32_t* end) const {
    const auto num_groups = (static_cast<size_t>(end - begin) + kGroupRows - 1) / kGroupRows;
    if (num_groups <= 1) return;
    int widest = 0;
    float extent = -1;
    for (int which = 0; which < 3; ++which) {
      float low = std::numeric_limits<float>::infinity(), high = -low;
      for (const uint32_t* row = begin; row != end; ++row) {
        const float value = Coordinate(*row, which);
        low = std::min(low, value);
        high = std::max(high, value);
      }
      if (high - low > extent) {
        extent = high - low;
        widest = which;
      }
    }
    uint32_t* const middle = begin + (num_groups + 1) / 2 * kGroupRows;
    std::nth_element(begin, middle, end, [&](uint32_t x, uint32_t y) {
      const float cx = Coordinate(x, widest), cy = Coordinate(y, widest);
      return cx != cy ? cx > cy : x < y;
    });
    Split(begin, middle);
    Split(middle, end);
  }

  void Encode() {
    const size_t num_groups = data_.rows.size() / kGroupRows;
    data_.coarse.assign(num_groups * kGroupRows * kCoarseQuads * 4, 128);
    data_.fine.assign(num_groups * kGroupRows * FineBytes(dim_), 128);
    data_.boxes.assign(kNumBoxRows * num_groups, 0.0f);
    data_.groups.assign(num_groups, GroupFacts{});
    pool_.ParallelFor(num_directions_ + 1, 1, [&](size_t begin, size_t end, size_t) {
      AlignedVector<float> buffer(dim_), rotated(kGroupRows * stride_);
      for (size_t c = begin; c < end; ++c) {
        for (size_t g = data_.cluster_groups[c]; g < data_.cluster_groups[c + 1]; ++g) {
          EncodeGroup(c, g, buffer.data(), rotated.data());
        }
      }
    });
  }

  // buffer, rotated: room for one row and for sixteen.
  void EncodeGroup(size_t cluster, size_t group, float* buffer, float* rotated) {
    const float* const centre = &data_.centres[cluster * stride_];
    const uint32_t* const rows = &data_.rows[group * kGroupRows];
    const size_t n = static_cast<size_t>(std::find(rows, rows + kGroupRows, kNoSlotRow) - rows);
    GroupFacts& facts = data_.groups[group];
    float* const boxes = data_.boxes.data() + group;
    const size_t num_groups = data_.groups.size();
    facts.min_inverse_norm = std::numeric_limits<float>::infinity();
    facts.max_bias = -std::numeric_limits<float>::infinity();
    const auto raise = [](float& bound, double value) {
      bound = std::max(bound, static_cast<float>(value * kRoundUp));
    };
    for (size_t i = 0; i < n; ++i) {
      const uint32_t row = rows[i];
      const float* const vector = Rotate(row, buffer, rotated + i * stride_);
      const float bias = items_.bias == nullptr ? 0.0f : items_.bias[row];
      const float inverse_norm = inverse_norms_[row];
      raise(facts.max_norm, std::sqrt(SumSquares(vector, 0, dim_)));
      facts.max_bias = std::max(facts.max_bias, bias);
      facts.min_inverse_norm = std::min(facts.min_inverse_norm, inverse_norm);
      facts.max_inverse_norm = std::max(facts.max_inverse_norm, inverse_norm);
      raise(boxes[kAlong * num_groups], double{place_[row].along});
      raise(boxes[kAcross * num_groups], double{place_[row].across});
      raise(boxes[kCosineAlong * num_groups], double{place_[row].along} * double{inverse_norm});
      raise(boxes[kCosineAcross * num_groups], double{place_[row].across} * double{inverse_norm});
    }
    boxes[kMaxBias * num_groups] = facts.max_bias;

    // One scale for each code of the group: signed coordinates have 127 steps, the rest of a tail 255.
    const size_t coarse_axes = std::min(kCoarseAxes, dim_);
    const double tail_scale = InverseTailNorm(centre, coarse_axes, dim_);
    AlongAcross tails[kGroupRows];
    double coarse_scale = 0, fine_scale = 0;
    for (size_t i = 0; i < n; ++i) {
      const float* x = rotated + i * stride_;
      tails[i] = Decompose(x, centre, tail_scale, coarse_axes, dim_);
      coarse_scale = std::max(coarse_scale, std::fabs(double{tails[i].along}) / 127);
      coarse_scale = std::max(coarse_scale, double{tails[i].across} / 254);
      for (size_t j = 0; j < dim_; ++j) {
        const double steps = std::fabs(double{x[j]}) / 127;
        if (j < coarse_axes) coarse_scale = std::max(coarse_scale, steps);
        fine_scale = std::max(fine_scale, steps);
      }
    }
    const auto rounded_scale = [](double scale) {
      const auto rounded = static_cast<float>(scale * kRoundUp);
      return rounded >= std::numeric_limits<float>::min() ? rounded : std::numeric_limits<float>::min();
    };
    facts.coarse_scale = rounded_scale(coarse_scale);
    facts.fine_scale = rounded_scale(fine_scale);

    for (size_t i = 0; i < n; ++i) {
      const float* x = rotated + i * stride_;
      // Returns the square of what rounding loses.
      const auto put = [&](float scale, uint8_t& code, float value) {
        const double steps = std::clamp(std::nearbyint(double{value} / double{scale}), -127.0, 127.0);
        code = static_cast<uint8_t>(steps + 128);
        const double difference = double{value} - steps * double{scale};
        return difference * difference;
      };
      const auto coarse = [&](size_t coordinate) -> uint8_t& {
        return data_.coarse[CoarsePosition(group, i, coordinate)];
      };
      double lost = put(facts.coarse_scale, coarse(kCoarseAxes), tails[i].along);
      for (size_t j = 0; j < coarse_axes; ++j) lost += put(facts.coarse_scale, coarse(j), x[j]);
      raise(facts.coarse_error, std::sqrt(lost));
      coarse(kCoarseAxes + 1) = static_cast<uint8_t>(
          std::clamp(std::ceil(double{tails[i].across} * kRoundUp / double{facts.coarse_scale}), 0.0, 255.0));
      uint8_t* const fine = &data_.fine[FinePosition(group, i, dim_)];
      lost = 0;
      for (size_t j = 0; j < dim_; ++j) lost += put(facts.fine_scale, fine[j], x[j]);
      raise(facts.fine_error, std::sqrt(lost));
    }
  }

  const ItemMatrix& items_;
  const std::span<const float> inverse_norms_;
  const size_t dim_, stride_;
  ThreadPool pool_;
  Random random_;
  size_t num_directions_ = 0;  // clusters with a direction; one more has none
  float bias_weight_ = 0;
  std::vector<uint32_t> cluster_of_;
  std::vector<AlongAcross> place_;
  BoundIndexData data_;
};

bool CanBeIndexed(const ItemMatrix& items) {
  if (items.num_items == 0 || items.num_items > size_t{1} << 31 || items.dim > kMaxIndexedDim) return false;
  AlignedVector<float> buffer(items.dim);
  for (size_t row = 0; row < items.num_items; ++row) {
    const double square = SumSquares(items.Row(row).Floats(buffer.data()), 0, items.dim);
    if (!(square <= double{kMaxIndexedNorm} * double{kMaxIndexedNorm})) return false;
    if (items.bias != nullptr && !(std::fabs(items.bias[row]) <= kMaxIndexedNorm)) return false;
  }
  return true;
}

}  // namespace

BoundIndexView BoundIndexData::View() const {
  return {.dim = dim,
          .stride = stride,
          .rotation = rotation,
          .centres = centres,
          .cluster_groups = cluster_groups,
          .rows = rows,
          .coarse = coarse,
          .fine = fine,
          .boxes = boxes,
          .groups = groups};
}

std::optional<BoundIndexData> BuildBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                                              const BoundIndexOptions& options) {
  if (!CanBeIndexed(items)) return std::nullopt;
  return Builder(items, inverse_norms, options).Build();
}

}  // namespace swiftlet

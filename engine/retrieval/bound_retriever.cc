#include "engine/retrieval/bound_retriever.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/kernels/dot.h"
#include "engine/kernels/linear_bound.h"
#include "engine/retrieval/bound_math.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kNumSeeds = 8;          // clusters that are looked at first, for a good threshold
constexpr size_t kFirstGroups = 4;       // groups at a time until there is a threshold
constexpr size_t kGroupsAtATime = 32;    // afterwards
constexpr size_t kGroupsAhead = 32;      // prefetched
constexpr size_t kRowsAtATime = 32;      // scored before the threshold is raised
constexpr double kMinQueryNorm = 1e-15;  // below and above: float bounds mean nothing, all rows are scored
constexpr double kMaxQueryNorm = 1e15;
// Errors that bounds allow for, each at most BoundSlack: rotating the vectors, rotating the query, axes that
// are almost orthonormal, the float score itself, and twice what CheckBoundIndexValues lets pass.
constexpr float kSlacks = 6;
constexpr float kRoundingOfSums = 1e-6f;
// A filter that allows no more than kDirectRows sqrt(n) of n rows is searched row by row. Measured, dim 64,
// sigma .35, k 10: such a row costs 6 ns of 100,000 items and 10 ns of 1 M; the index 40 us with 5 % of
// 100,000 allowed, and 247 us with .9 % of 1 M.
constexpr double kDirectRows = 16;
// A scan is faster for many results that are a large share of all: measured for k 1000 of 10,000 items.
constexpr size_t kManyResults = 512, kMuchOfAll = 16;
constexpr size_t kMaxCodeBytes = kMaxQuads * 4;

}  // namespace

// One search.
class BoundSearch {
 public:
  BoundSearch(const BoundRetriever& retriever, const RetrievalQuery& query, RetrievalScratch& scratch)
      : retriever_(retriever),
        index_(retriever.index_),
        query_(query),
        by_cosine_(query.similarity == Similarity::kCosine),
        matrix_(MatrixFor(query.similarity, retriever.items_, retriever.inverse_norms_)),
        scratch_(scratch),
        k_(std::min(query.k, retriever.items_.num_items)),
        flush_at_(64 + k_ / 2),
        deadline_(query) {}

  RetrievalStats Run(double query_norm, std::vector<ScoredRow>& results) {
    Prepare(query_norm);
    BoundClusters();
    // First those with the highest expected scores, for a good threshold.
    const size_t num_clusters = retriever_.clusters_.size();
    ScoredRow* const clusters = scratch_.clusters.data();
    size_t n = CollectAtLeast(scratch_.expected.data(), num_clusters, -kInfinity, 0, clusters);
    n = SelectTopK(clusters, n, kNumSeeds);
    for (size_t i = 0; i < n && !is_over_; ++i) {
      Visit(clusters[i].row);
      scratch_.bounds[clusters[i].row] = std::numeric_limits<float>::quiet_NaN();  // not again
    }
    Flush();
    // Most clusters fall out here, and the boxes of those that are left can be asked for ahead.
    n = CollectAtLeast(scratch_.bounds.data(), num_clusters, Lowered(threshold_), 0, clusters);
    if (query_.max_rows != 0 || query_.max_us != 0)
      SelectTopK(clusters, n, n);  // the best while there is time
    for (size_t i = 0; i < n && !is_over_; ++i) {
      if (i + 1 < n) PrefetchBoxes(clusters[i + 1].row);
      Visit(clusters[i].row);
    }
    Flush();
    num_found_ = SelectTopK(scratch_.candidates.data(), num_found_, k_);
    results.assign(scratch_.candidates.begin(),
                   scratch_.candidates.begin() + static_cast<ptrdiff_t>(num_found_));
    stats_.proven_exact = !is_over_ && query_.bound_scale.IsExact();
    return stats_;
  }

 private:
  // A code's worth of the query: 8-bit coefficients and what they miss.
  struct Coefficients {
    alignas(64) int8_t axes[kMaxCodeBytes] = {};  // of the code's own section
    double lost = 0;                              // squares missed by the axes
    int32_t sum = 0;                              // of signed coordinates
    size_t first_axis = 0;                        // where the tail begins
    float tail_norm = 0;
  };

  void Prepare(double query_norm) {
    const size_t dim = index_.dim;
    norm_ = static_cast<float>(query_norm * (1 + 1e-6));
    slack_ = kSlacks * BoundSlack(dim);
    scratch_.rotated.resize(index_.stride);
    float* const rotated = scratch_.rotated.data();
    DotRows(query_.vector.data(), index_.rotation.data(), dim, dim, index_.stride, rotated);

    coarse_.first_axis = std::min(kCoarseAxes, dim);
    fine_.first_axis = std::min(FineAxes(dim), dim);
    for (Coefficients* code : {&coarse_, &fine_}) {
      code->tail_norm =
          static_cast<float>(std::sqrt(SumSquares(rotated, code->first_axis, dim)) * (1 + 1e-6));
    }
    float largest = coarse_.tail_norm;
    for (size_t j = 0; j < fine_.first_axis; ++j) largest = std::max(largest, std::fabs(rotated[j]));
    step_ = largest * (1 + 1e-5f) / 127;
    if (!(step_ >= std::numeric_limits<float>::min())) step_ = std::numeric_limits<float>::min();
    for (size_t j = 0; j < fine_.first_axis; ++j) {
      const int8_t steps = Quantise(rotated[j]);
      const double missed = double{rotated[j]} - double{step_} * steps;
      if (j < coarse_.first_axis) {
        coarse_.axes[j] = steps;
        coarse_.sum += steps;
        coarse_.lost += missed * missed;
      } else {
        fine_.axes[j - coarse_.first_axis] = steps;
      }
      fine_.sum += steps;
      fine_.lost += missed * missed;
    }
    // The fine code's sum takes the axes of the coarse section, not its tail.
    std::copy_n(coarse_.axes, kCoarseQuads * 4, head_);

    // All that a search may need, so that no later one has to allocate.
    const size_t max_rows = flush_at_ + kGroupsAtATime * kGroupRows;
    if (scratch_.candidates.size() < k_ + max_rows) scratch_.candidates.resize(k_ + max_rows);
    if (scratch_.groups.size() < retriever_.max_cluster_groups_) {
      scratch_.groups.resize(retriever_.max_cluster_groups_);
    }
    for (AlignedVector<float>* buffer : {&scratch_.scores, &scratch_.scale, &scratch_.bias}) {
      if (buffer->size() < max_rows) buffer->resize(max_rows);
    }
    scratch_.rows.resize(kRowsAtATime + k_ / 2);
    scratch_.pending.reserve(max_rows);
    scratch_.pending.clear();
    scratch_.sums.resize(kGroupsAtATime * kGroupRows);
    scratch_.limits.resize(kGroupsAtATime);
    scratch_.masks.resize(kGroupsAtATime);
    scratch_.kept_groups.resize(kGroupsAtATime);
  }

  int8_t Quantise(float value) const {
    const float steps = std::clamp(value / step_, -127.0f, 127.0f);
    return static_cast<int8_t>(steps + (steps < 0 ? -0.5f : 0.5f));
  }

  // <q', direction>, and the length of q' across it, for every cluster; which clusters to look at, in which
  // order.
  void BoundClusters() {
    const size_t n = retriever_.clusters_.size();
    for (AlignedVector<float>* buffer :
         {&scratch_.along, &scratch_.across, &scratch_.bounds, &scratch_.expected}) {
      buffer->resize(n);
    }
    scratch_.clusters.resize(n);
    DotRows(scratch_.rotated.data(), index_.centres.data(), n, index_.dim, index_.stride,
            scratch_.along.data());
    const DirectionBoxes boxes{
        .a = retriever_.cluster_boxes_[by_cosine_ ? kCosineAlong : kAlong].data(),
        .b = retriever_.cluster_boxes_[by_cosine_ ? kCosineAcross : kAcross].data(),
        .c = by_cosine_ || matrix_.bias == nullptr ? nullptr : retriever_.cluster_boxes_[kMaxBias].data()};
    const float square = norm_ * norm_;
    BoundDirections(boxes,
                    {.square = square,
                     .slack_square = slack_ * square,
                     .slack_length = slack_ * norm_,
                     .scale = query_.bound_scale.box},
                    scratch_.along.data(), n, scratch_.across.data(), scratch_.bounds.data(),
                    scratch_.expected.data());
    stats_.bytes_read += n * index_.dim * sizeof(float);
  }

  // Slack on a threshold for the rounding of the last sum.
  float Lowered(float threshold) const {
    return threshold - kRoundingOfSums * (std::fabs(threshold) + retriever_.max_abs_bias_) - 1e-35f;
  }

  // Upper end of <q', direction> >= 0.
  float Along(uint32_t c) const { return std::max(scratch_.along[c], 0.0f) + slack_ * norm_; }
  void PrefetchBoxes(uint32_t c) const {
    const size_t first = index_.cluster_groups[c], end = index_.cluster_groups[c + 1];
    for (const BoxRow row :
         {by_cosine_ ? kCosineAlong : kAlong, by_cosine_ ? kCosineAcross : kAcross, kMaxBias}) {
      if (row == kMaxBias && matrix_.bias == nullptr) continue;
      for (size_t g = first; g < std::min(end, first + 256); g += 16) __builtin_prefetch(index_.box(row) + g);
    }
  }

  void Visit(uint32_t c) {
    const float lowered = Lowered(threshold_);
    if (scratch_.bounds[c] < lowered) return;
    const BoundRetriever::Cluster& cluster = retriever_.clusters_[c];
    const float x = Along(c), y = scratch_.across[c];
    const uint32_t first = index_.cluster_groups[c];
    const size_t n = index_.cluster_groups[c + 1] - first;
    const float* const a = index_.box(by_cosine_ ? kCosineAlong : kAlong) + first;
    const float* const r = index_.box(by_cosine_ ? kCosineAcross : kAcross) + first;
    const float* const b = matrix_.bias == nullptr ? nullptr : index_.box(kMaxBias) + first;
    const size_t count = CollectBounds(a, r, b, n, x, y, lowered, first, scratch_.groups.data());
    stats_.bytes_read += n * (b == nullptr ? 2 : 3) * sizeof(float);
    if (count == 0) return;
    SetTail(c, cluster.coarse_inverse_tail, &coarse_);
    fine_is_of_cluster_ = false;
    cluster_ = c;
    for (size_t i = 0; i < count && !is_over_;) {
      const size_t step = std::min(count - i, threshold_ == -kInfinity ? kFirstGroups : kGroupsAtATime);
      for (size_t j = i; j < std::min(count, i + step + kGroupsAhead); ++j) {
        if (j < i + step && i > 0) continue;  // asked for by the step before
        PrefetchCoarse(scratch_.groups[j]);
      }
      ScanGroups(scratch_.groups.data() + i, step);
      i += step;
      is_over_ = deadline_.IsOver(stats_.rows_scanned);
    }
  }

  // The last two coefficients of a code, which depend on the cluster's direction.
  void SetTail(uint32_t c, float inverse_tail, Coefficients* code) {
    const float* const centre = index_.centres.data() + size_t{c} * index_.stride;
    float along = 0;
    if (inverse_tail > 0) {
      const size_t begin = code->first_axis;
      along = Dot(scratch_.rotated.data() + begin, centre + begin, index_.dim - begin) * inverse_tail;
      along = std::clamp(along, -code->tail_norm, code->tail_norm);
    }
    const float rest =
        query_.bound_scale.code *
        std::sqrt(std::max(code->tail_norm * code->tail_norm - along * along, 0.0f) + slack_ * norm_ * norm_);
    const int8_t along_steps = Quantise(along);
    const float missed = along - step_ * along_steps;
    int8_t* const tail =
        code == &coarse_ ? coarse_.axes + kCoarseAxes : fine_.axes + FineQuads(index_.dim) * 4 - 2;
    tail[0] = along_steps;
    // The slack may lift it above 127 steps: what is missing is then added to every row's bound.
    tail[1] = static_cast<int8_t>(std::min(rest / step_ + 1, 127.0f));
    const float rest_missed = std::max(rest - 127 * step_, 0.0f);
    const float lost =
        static_cast<float>(std::sqrt(code->lost + double{missed} * double{missed})) + rest_missed;
    Missed& m = code == &coarse_ ? coarse_missed_ : fine_missed_;
    m.of_norm = lost + slack_ * norm_;
    m.of_error = norm_ + lost;
    m.offset = 128 * (code->sum + along_steps);
  }

  // How small a code's integer sum may be for its row to reach the threshold.
  struct Missed {
    float of_norm = 0, of_error = 0;
    int32_t offset = 0;
  };
  int32_t LimitOf(const GroupFacts& facts, float error, const Missed& missed) const {
    float needed = threshold_;
    if (needed == -kInfinity) return std::numeric_limits<int32_t>::min();
    if (by_cosine_) {
      const float inverse = needed > 0 ? facts.max_inverse_norm : facts.min_inverse_norm;
      if (inverse <= 0) {
        return needed > 0 ? std::numeric_limits<int32_t>::max() : std::numeric_limits<int32_t>::min();
      }
      needed /= inverse;
      needed -= kRoundingOfSums * std::fabs(needed);
    } else {
      needed = Lowered(needed) - (matrix_.bias == nullptr ? 0.0f : facts.max_bias);
    }
    needed -= facts.max_norm * missed.of_norm + error * missed.of_error + 1e-35f;
    const float steps = needed / (facts.scale * step_);
    // NaN (infinite over infinite) must let everything through.
    if (!(steps > -1e6f)) return std::numeric_limits<int32_t>::min();
    if (steps > 1e6f) return std::numeric_limits<int32_t>::max();
    // Truncation and rounding may lift it by less than 2, as it is below 1e6 in absolute value.
    return static_cast<int32_t>(steps) + missed.offset - 2;
  }

  void PrefetchCoarse(uint32_t group) const {
    const uint8_t* const codes = index_.coarse.data() + size_t{group} * kGroupRows * kCoarseQuads * 4;
    for (size_t j = 0; j < kCoarseQuads; ++j) __builtin_prefetch(codes + j * 64);
    __builtin_prefetch(&index_.groups[group]);
  }

  // No row of a code's sum, less the offset, has a higher score.
  float UpperBound(const GroupFacts& facts, float error, const Missed& missed, int32_t sum) const {
    float bound = static_cast<float>(sum - missed.offset) * (facts.scale * step_) +
                  facts.max_norm * missed.of_norm + error * missed.of_error + 1e-35f;
    if (by_cosine_) {
      bound *= bound > 0 ? facts.max_inverse_norm : facts.min_inverse_norm;
    } else if (matrix_.bias != nullptr) {
      bound += facts.max_bias;
    }
    bound += 4 * kRoundingOfSums * (std::fabs(bound) + retriever_.max_abs_bias_);
    return std::isnan(bound) ? kInfinity : bound;  // infinite less infinite, of absurd numbers
  }

  void ScanGroups(const uint32_t* groups, size_t n) {
    int32_t* const limits = scratch_.limits.data();
    uint16_t* const masks = scratch_.masks.data();
    uint32_t* const kept = scratch_.kept_groups.data();
    for (size_t i = 0; i < n; ++i) {
      const GroupFacts& facts = index_.groups[groups[i]];
      limits[i] = LimitOf(facts, facts.coarse_error, coarse_missed_);
    }
    const CodeSection coarse{.codes = index_.coarse.data(), .query = coarse_.axes, .quads = kCoarseQuads};
    MatchGroups(coarse, {}, groups, limits, n, masks);
    size_t num_kept = 0;
    const size_t quads = FineQuads(index_.dim);
    for (size_t i = 0; i < n; ++i) {
      if (masks[i] == 0) continue;
      if (!fine_is_of_cluster_) {
        SetTail(cluster_, retriever_.clusters_[cluster_].fine_inverse_tail, &fine_);
        fine_is_of_cluster_ = true;
      }
      const GroupFacts& facts = index_.groups[groups[i]];
      limits[num_kept] = LimitOf(facts, facts.fine_error, fine_missed_);
      kept[num_kept++] = groups[i];
      const uint8_t* const codes = index_.fine.data() + size_t{groups[i]} * kGroupRows * quads * 4;
      for (size_t j = 0; j < quads; ++j) __builtin_prefetch(codes + j * 64);
    }
    stats_.rows_scanned += n * kGroupRows;
    stats_.bytes_read += n * (kGroupRows * kCoarseQuads * 4 + sizeof(GroupFacts));
    if (num_kept == 0) return;
    const CodeSection head{.codes = index_.coarse.data(), .query = head_, .quads = kCoarseQuads};
    const CodeSection fine{.codes = index_.fine.data(), .query = fine_.axes, .quads = quads};
    MatchGroups(head, fine, kept, limits, num_kept, masks, scratch_.sums.data());
    stats_.bytes_read += num_kept * kGroupRows * quads * 4;
    for (size_t i = 0; i < num_kept; ++i) {
      const GroupFacts& facts = index_.groups[kept[i]];
      for (uint32_t mask = masks[i]; mask != 0; mask &= mask - 1) {
        const size_t slot = static_cast<size_t>(std::countr_zero(mask));
        const uint32_t row = index_.rows[size_t{kept[i]} * kGroupRows + slot];
        if (row == kNoSlotRow || (query_.filter != nullptr && !query_.filter->Allows(row))) continue;
        const int32_t sum = scratch_.sums[i * kGroupRows + slot];
        scratch_.pending.push_back({row, UpperBound(facts, facts.fine_error, fine_missed_, sum)});
      }
    }
    if (scratch_.pending.size() >= flush_at_ || threshold_ == -kInfinity) Flush();
  }

  // Scores what is pending, the largest upper bounds first, and raises the threshold, which most of the rest
  // then does not reach.
  void Flush() {
    std::vector<ScoredRow>& pending = scratch_.pending;
    size_t n = pending.size();
    while (n > 0) {
      const float threshold = threshold_;
      n = static_cast<size_t>(std::remove_if(pending.begin(), pending.begin() + static_cast<ptrdiff_t>(n),
                                             [=](const ScoredRow& row) { return row.score < threshold; }) -
                              pending.begin());
      const size_t step = std::min(n, scratch_.rows.size());
      if (step < n) PartitionTopK(pending.data(), n, step);
      Score(pending.data(), step);
      n -= step;
      std::copy_n(pending.begin() + static_cast<ptrdiff_t>(step), n, pending.begin());
    }
    pending.clear();
  }

  void Score(const ScoredRow* pending, size_t n) {
    if (n == 0) return;
    uint32_t* const rows = scratch_.rows.data();
    for (size_t i = 0; i < n; ++i) {
      rows[i] = pending[i].row;
      if (i < kRowsAtATime) matrix_.Prefetch(rows[i]);
    }
    float* const scores = scratch_.scores.data();
    ScoreRows(matrix_, query_.vector.data(), rows, n, scratch_, scores);
    stats_.rows_scored += n;
    stats_.bytes_read += n * matrix_.row_bytes();
    ScoredRow* const found = scratch_.candidates.data();
    for (size_t i = 0; i < n; ++i) {
      if (scores[i] >= threshold_) found[num_found_++] = {rows[i], scores[i]};
    }
    if (num_found_ < k_) return;
    num_found_ = PartitionTopK(found, num_found_, k_);
    threshold_ = found[k_ - 1].score;
  }

  const BoundRetriever& retriever_;
  const BoundIndexView& index_;
  const RetrievalQuery& query_;
  const bool by_cosine_;
  const ItemMatrix matrix_;
  RetrievalScratch& scratch_;
  const size_t k_, flush_at_;
  const SearchDeadline deadline_;
  RetrievalStats stats_;
  float norm_ = 0, slack_ = 0, step_ = 0;
  Coefficients coarse_, fine_;
  Missed coarse_missed_, fine_missed_;
  alignas(64) int8_t head_[kMaxCodeBytes] = {};
  float threshold_ = -kInfinity;  // no row below it is among the best k
  size_t num_found_ = 0;          // in scratch.candidates
  uint32_t cluster_ = 0;          // the coarse code's tail is of it
  bool fine_is_of_cluster_ = false;
  bool is_over_ = false;  // the budget is spent
};

BoundRetriever::BoundRetriever(const ItemMatrix& items, std::span<const float> inverse_norms,
                               const BoundIndexView& index)
    : items_(items),
      inverse_norms_(inverse_norms),
      index_(index),
      clusters_(index.num_clusters()),
      max_direct_rows_(
          std::min(items.num_items / 8,
                   static_cast<size_t>(kDirectRows * std::sqrt(static_cast<double>(items.num_items))))) {
  const size_t dim = index.dim;
  // Of a cluster without groups nothing is expected.
  for (size_t row = 0; row < kNumBoxRows; ++row) {
    cluster_boxes_[row].assign(clusters_.size(),
                               row == kMaxBias && items.bias != nullptr ? -kInfinity : 0.0f);
  }
  for (size_t c = 0; c < clusters_.size(); ++c) {
    Cluster& cluster = clusters_[c];
    const float* const centre = index.centres.data() + c * index.stride;
    cluster.coarse_inverse_tail = InverseTailNorm(centre, std::min(kCoarseAxes, dim), dim);
    cluster.fine_inverse_tail = InverseTailNorm(centre, std::min(FineAxes(dim), dim), dim);
    max_cluster_groups_ =
        std::max<size_t>(max_cluster_groups_, index.cluster_groups[c + 1] - index.cluster_groups[c]);
    for (size_t g = index.cluster_groups[c]; g < index.cluster_groups[c + 1]; ++g) {
      for (size_t row = 0; row < kNumBoxRows; ++row) {
        float& upper = cluster_boxes_[row][c];
        upper = std::max(upper, index.box(static_cast<BoxRow>(row))[g]);
      }
    }
  }
  if (items.bias != nullptr) {
    for (size_t row = 0; row < items.num_items; ++row) {
      max_abs_bias_ = std::max(max_abs_bias_, std::fabs(items.bias[row]));
    }
  }
}

RetrievalStats BoundRetriever::Search(const RetrievalQuery& query, RetrievalScratch& scratch,
                                      std::vector<ScoredRow>& results) const {
  const double norm = std::sqrt(SumSquares(query.vector.data(), 0, index_.dim));
  // Where a large share of the rows is asked for, bounds leave little out: a scan is faster.
  const bool asks_for_much = query.k >= kManyResults && query.k > items_.num_items / kMuchOfAll;
  if (query.k == 0 || asks_for_much || !(norm >= kMinQueryNorm && norm <= kMaxQueryNorm)) {
    const ItemMatrix matrix = MatrixFor(query.similarity, items_, inverse_norms_);
    return SearchExact({&matrix, 1}, query, scratch, results);
  }
  if (query.filter != nullptr) scratch.allowed.reserve(2 * max_direct_rows_ + 64);
  // A filter that allows few rows leaves the index nothing to prune by.
  if (query.filter != nullptr && query.filter->CollectAllowed(static_cast<uint32_t>(items_.num_items),
                                                              max_direct_rows_, &scratch.allowed)) {
    return SearchRows(MatrixFor(query.similarity, items_, inverse_norms_), scratch.allowed, query, scratch,
                      results);
  }
  return BoundSearch(*this, query, scratch).Run(norm, results);
}

}  // namespace swiftlet

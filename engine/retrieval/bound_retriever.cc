#include "engine/retrieval/bound_retriever.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/kernels/dot.h"
#include "engine/kernels/linear_bound.h"
#include "engine/retrieval/bound_math.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Clusters that are looked at first, for a good threshold: one in kSeedsPart.
constexpr size_t kMinSeeds = 8, kMaxSeeds = 32, kSeedsPart = 128;
constexpr size_t kFirstGroups = 4;     // groups at a time until there is a threshold
constexpr size_t kGroupsAtATime = 32;  // afterwards
constexpr size_t kClustersAhead = 4;   // whose boxes are asked for
constexpr size_t kMaxPlans = 16;       // clusters whose groups are found before the first is searched
constexpr size_t kFineSlots = 64;      // rows whose fine codes are looked at at once, or more
constexpr size_t kMaxFineSlots = kFineSlots + kGroupsAtATime * kGroupRows;
constexpr size_t kRowsAtATime = 16;      // scored before the threshold is raised
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
// Rows of categories are listed, and often far from the query, where the index looks at many in vain (1.4 ms
// instead of .13 for 10,000 of 200,000 rows): of them twice as many.
constexpr size_t kListedFactor = 2;
// A scan is faster for many results that are a large share of all: measured for k 1000 of 10,000 items.
constexpr size_t kManyResults = 512, kMuchOfAll = 16;
static_assert(kMaxCodeRowBytes >= kMaxIndexedDim);

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
        flush_at_(24 + k_ / 2),
        deadline_(query) {}

  RetrievalStats Run(double query_norm, std::vector<ScoredRow>& results) {
    Prepare(query_norm);
    BoundClusters();
    // First those with the highest expected scores, for a good threshold.
    const size_t num_clusters = retriever_.inverse_tails_.size();
    const size_t num_seeds = std::clamp(num_clusters / kSeedsPart, kMinSeeds, kMaxSeeds);
    ScoredRow* const clusters = scratch_.clusters.data();
    size_t n = CollectAtLeast(scratch_.expected.data(), num_clusters, SeedThreshold(num_seeds), 0, clusters);
    n = SelectTopK(clusters, n, num_seeds);
    VisitAll(clusters, n);
    for (size_t i = 0; i < n; ++i) scratch_.bounds[clusters[i].row] = kNan;  // not again
    // Most of the others fall out here.
    n = CollectAtLeast(scratch_.bounds.data(), num_clusters, Lowered(threshold_), 0, clusters);
    if (query_.max_rows != 0 || query_.max_us != 0) {
      SelectTopK(clusters, n, n);  // the best while there is time
    }
    VisitAll(clusters, n);
    num_found_ = SelectTopK(scratch_.candidates.data(), num_found_, k_);
    results.assign(scratch_.candidates.begin(),
                   scratch_.candidates.begin() + static_cast<ptrdiff_t>(num_found_));
    stats_.proven_exact = !is_over_ && query_.bound_scale.IsExact();
    return stats_;
  }

 private:
  // What the coarse codes are multiplied with: 8-bit coefficients and what they miss.
  struct Coefficients {
    alignas(64) int8_t axes[kCoarseQuads * 4] = {};
    double lost = 0;        // squares missed by the axes
    int32_t sum = 0;        // of signed coordinates
    size_t first_axis = 0;  // where the tail begins
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
    coarse_.tail_norm =
        static_cast<float>(std::sqrt(SumSquares(rotated, coarse_.first_axis, dim)) * (1 + 1e-6));
    float largest = coarse_.tail_norm, largest_of_all = 0;
    for (size_t j = 0; j < dim; ++j) {
      if (j < coarse_.first_axis) largest = std::max(largest, std::fabs(rotated[j]));
      largest_of_all = std::max(largest_of_all, std::fabs(rotated[j]));
    }
    step_ = std::max(largest * (1 + 1e-5f) / 127, std::numeric_limits<float>::min());
    for (size_t j = 0; j < coarse_.first_axis; ++j) {
      coarse_.axes[j] = Quantise(rotated[j]);
      const double missed = double{rotated[j]} - double{step_} * coarse_.axes[j];
      coarse_.sum += coarse_.axes[j];
      coarse_.lost += missed * missed;
    }
    // The fine codes are multiplied with 16 bits, which lose next to nothing.
    fine_step_ = std::max(largest_of_all * (1 + 1e-5f) / kMaxCodeQuery, std::numeric_limits<float>::min());
    int16_t steps[kMaxIndexedDim];
    double lost = 0;
    int32_t sum = 0;
    for (size_t j = 0; j < dim; ++j) {
      steps[j] = static_cast<int16_t>(std::lrint(rotated[j] / fine_step_));
      const double missed = double{rotated[j]} - double{fine_step_} * steps[j];
      lost += missed * missed;
      sum += steps[j];
    }
    fine_query_.Set(steps, dim);
    fine_missed_ = MissedOf(static_cast<float>(std::sqrt(lost)));
    fine_offset_ = 128 * static_cast<uint32_t>(sum);

    // All that a search may need, so that no later one has to allocate.
    const size_t max_rows = flush_at_ + kMaxFineSlots;
    if (scratch_.candidates.size() < k_ + max_rows) scratch_.candidates.resize(k_ + max_rows);
    const size_t max_groups = retriever_.max_cluster_groups_ + kGroupsAtATime;
    if (scratch_.groups.size() < max_groups) scratch_.groups.resize(max_groups);
    for (AlignedVector<float>* buffer : {&scratch_.scores, &scratch_.scale, &scratch_.bias}) {
      if (buffer->size() < max_rows) buffer->resize(max_rows);
    }
    scratch_.rows.resize(kRowsAtATime + k_ / 2);
    scratch_.pending.reserve(max_rows);
    scratch_.pending.clear();
    scratch_.limits.resize(kGroupsAtATime);
    scratch_.masks.resize(kGroupsAtATime);
    scratch_.sums.resize(kMaxFineSlots);
    scratch_.slots.resize(kMaxFineSlots);
    num_slots_ = 0;
  }

  // Of numbers of absurd contents that nobody checked, NaN becomes 127 steps: what is missed is then NaN too,
  // which lets every row through.
  int8_t Quantise(float value) const {
    const float steps = std::max(-127.0f, std::min(127.0f, value / step_));  // NaN comes second
    return static_cast<int8_t>(steps + (steps < 0 ? -0.5f : 0.5f));
  }

  // <q', direction>, and the length of q' across it, for every cluster; which clusters to look at, in which
  // order.
  void BoundClusters() {
    const size_t n = retriever_.inverse_tails_.size();
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

  // A number that at least num_seeds clusters, and not many more, are expected to reach: that many parts of
  // them have one.
  float SeedThreshold(size_t num_seeds) const {
    constexpr size_t kParts = 4 * kMaxSeeds;
    const size_t n = scratch_.expected.size();
    if (n < 4 * kParts) return -kInfinity;
    float best[kParts];
    for (size_t part = 0; part < kParts; ++part) {
      best[part] = LargestOf(scratch_.expected.data() + part * n / kParts,
                             (part + 1) * n / kParts - part * n / kParts);
    }
    std::nth_element(best, best + (num_seeds - 1), best + kParts, std::greater<>());
    return best[num_seeds - 1];
  }

  // Slack on a threshold for the rounding of the last sum.
  float Lowered(float threshold) const {
    return threshold - kRoundingOfSums * (std::fabs(threshold) + retriever_.max_abs_bias_) - 1e-35f;
  }

  // Upper end of <q', direction> >= 0.
  float Along(uint32_t c) const { return std::max(scratch_.along[c], 0.0f) + slack_ * norm_; }
  void PrefetchBoxes(uint32_t c) const {
    const float* const centre = index_.centres.data() + size_t{c} * index_.stride;
    for (size_t j = coarse_.first_axis / 16 * 16; j < index_.dim; j += 16) __builtin_prefetch(centre + j);
    const size_t first = index_.cluster_groups[c], end = index_.cluster_groups[c + 1];
    for (const BoxRow row :
         {by_cosine_ ? kCosineAlong : kAlong, by_cosine_ ? kCosineAcross : kAcross, kMaxBias}) {
      if (row == kMaxBias && matrix_.bias == nullptr) continue;
      for (size_t g = first; g < std::min(end, first + 256); g += 16) __builtin_prefetch(index_.box(row) + g);
    }
  }

  // Looks at clusters in this order. Memory is what a search waits for: boxes are asked for some clusters
  // ahead, and coarse codes when the groups of several clusters have been found.
  void VisitAll(const ScoredRow* clusters, size_t n) {
    for (size_t i = 0; i < std::min(n, kClustersAhead); ++i) PrefetchBoxes(clusters[i].row);
    for (size_t i = 0; i < n && !is_over_; ++i) {
      if (i + kClustersAhead < n) PrefetchBoxes(clusters[i + kClustersAhead].row);
      PlanVisit(clusters[i].row);
      if (num_planned_groups_ >= kGroupsAtATime || num_plans_ == kMaxPlans || threshold_ == -kInfinity) {
        MakeVisits();
      }
    }
    MakeVisits();
    MatchFine();
    Flush();
  }

  // Finds the groups of a cluster that may hold rows that reach the threshold.
  void PlanVisit(uint32_t c) {
    const float lowered = Lowered(threshold_);
    if (scratch_.bounds[c] < lowered) return;
    const uint32_t first = index_.cluster_groups[c];
    const size_t n = index_.cluster_groups[c + 1] - first;
    const float* const a = index_.box(by_cosine_ ? kCosineAlong : kAlong) + first;
    const float* const r = index_.box(by_cosine_ ? kCosineAcross : kAcross) + first;
    const float* const b = matrix_.bias == nullptr ? nullptr : index_.box(kMaxBias) + first;
    uint32_t* const groups = scratch_.groups.data() + num_planned_groups_;
    const size_t count = CollectBounds(a, r, b, n, Along(c), scratch_.across[c], lowered, first, groups);
    stats_.bytes_read += n * (b == nullptr ? 2 : 3) * sizeof(float);
    if (count == 0) return;
    for (size_t i = 0; i < std::min(count, 2 * kGroupsAtATime); ++i) PrefetchCoarse(groups[i]);
    plans_[num_plans_++] = {.cluster = c, .num_groups = count};
    num_planned_groups_ += count;
  }

  void MakeVisits() {
    const uint32_t* groups = scratch_.groups.data();
    for (size_t p = 0; p < num_plans_; ++p) {
      const Plan& plan = plans_[p];
      // The threshold may have risen since.
      const bool falls_out = scratch_.bounds[plan.cluster] < Lowered(threshold_);
      if (!falls_out) SearchGroups(plan.cluster, groups, plan.num_groups);
      groups += plan.num_groups;
    }
    num_plans_ = num_planned_groups_ = 0;
  }

  void SearchGroups(uint32_t c, const uint32_t* groups, size_t n) {
    SetTail(c);
    for (size_t i = 0; i < n && !is_over_;) {
      const size_t step = std::min(n - i, threshold_ == -kInfinity ? kFirstGroups : kGroupsAtATime);
      for (size_t j = i + 2 * kGroupsAtATime; j < std::min(n, i + step + 2 * kGroupsAtATime); ++j) {
        PrefetchCoarse(groups[j]);
      }
      ScanGroups(groups + i, step);
      i += step;
      is_over_ = deadline_.IsOver(stats_.rows_scanned);
    }
  }

  // What bounds add for numbers that are rounded.
  struct Missed {
    float of_norm = 0;   // per length of a row
    float of_error = 0;  // per length that a row's code misses
  };
  // lost: what rounding missed of the query. Rounding errors are as good as random, so that an approximate
  // search counts them as it counts tails; float arithmetic is counted in full.
  Missed MissedOf(float lost) const {
    const float scale = query_.bound_scale.code;
    return {.of_norm = scale * lost + slack_ * norm_, .of_error = scale * (norm_ + lost)};
  }

  // The last two coefficients of the coarse code, which depend on the cluster's direction.
  void SetTail(uint32_t c) {
    const float* const centre = index_.centres.data() + size_t{c} * index_.stride;
    const float inverse_tail = retriever_.inverse_tails_[c];
    float along = 0;
    if (inverse_tail > 0) {
      const size_t begin = coarse_.first_axis;
      along = Dot(scratch_.rotated.data() + begin, centre + begin, index_.dim - begin) * inverse_tail;
      along = std::clamp(along, -coarse_.tail_norm, coarse_.tail_norm);
    }
    const float rest = query_.bound_scale.code *
                       std::sqrt(std::max(coarse_.tail_norm * coarse_.tail_norm - along * along, 0.0f) +
                                 slack_ * norm_ * norm_);
    const int8_t along_steps = Quantise(along);
    const float missed = along - step_ * along_steps;
    coarse_.axes[kCoarseAxes] = along_steps;
    // The slack may lift it above 127 steps: what is missing is then added to every row's bound.
    coarse_.axes[kCoarseAxes + 1] = static_cast<int8_t>(std::min(127.0f, rest / step_ + 1));
    const float rest_missed = std::max(rest - 127 * step_, 0.0f);
    coarse_missed_ =
        MissedOf(static_cast<float>(std::sqrt(coarse_.lost + double{missed} * double{missed})) + rest_missed);
    coarse_offset_ = 128 * (coarse_.sum + along_steps);
  }

  // How small the integer sum of a coarse code may be for its row to reach the threshold.
  int32_t LimitOf(const GroupFacts& facts) const {
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
    needed -= facts.max_norm * coarse_missed_.of_norm + facts.coarse_error * coarse_missed_.of_error + 1e-35f;
    const float steps = needed / (facts.coarse_scale * step_);
    // NaN (infinite over infinite) must let everything through.
    if (!(steps > -1e6f)) return std::numeric_limits<int32_t>::min();
    if (steps > 1e6f) return std::numeric_limits<int32_t>::max();
    // Truncation and rounding may lift it by less than 2, as it is below 1e6 in absolute value.
    return static_cast<int32_t>(steps) + coarse_offset_ - 2;
  }

  void PrefetchCoarse(uint32_t group) const {
    const uint8_t* const codes = index_.coarse.data() + size_t{group} * kGroupRows * kCoarseQuads * 4;
    for (size_t j = 0; j < kCoarseQuads; ++j) __builtin_prefetch(codes + j * 64);
    __builtin_prefetch(&index_.groups[group]);
  }

  // No row of the group whose fine code has this sum has a higher score.
  float UpperBound(const GroupFacts& facts, uint32_t sum) const {
    const auto steps = static_cast<float>(static_cast<int32_t>(sum - fine_offset_));
    float bound = steps * (facts.fine_scale * fine_step_) + facts.max_norm * fine_missed_.of_norm +
                  facts.fine_error * fine_missed_.of_error + 1e-35f;
    if (by_cosine_) {
      bound *= bound > 0 ? facts.max_inverse_norm : facts.min_inverse_norm;
    } else if (matrix_.bias != nullptr) {
      bound += facts.max_bias;
    }
    bound += 4 * kRoundingOfSums * (std::fabs(bound) + retriever_.max_abs_bias_);
    return std::isnan(bound) ? kInfinity : bound;  // infinite less infinite, of absurd numbers
  }

  bool IsAllowed(uint32_t row) const {
    return row != kNoSlotRow && (query_.filter == nullptr || query_.filter->Allows(row));
  }

  // Puts the slots whose coarse codes may reach the threshold in line for their fine codes.
  void ScanGroups(const uint32_t* groups, size_t n) {
    int32_t* const limits = scratch_.limits.data();
    uint16_t* const masks = scratch_.masks.data();
    for (size_t i = 0; i < n; ++i) limits[i] = LimitOf(index_.groups[groups[i]]);
    MatchGroups({.codes = index_.coarse.data(), .query = coarse_.axes, .quads = kCoarseQuads}, groups, limits,
                n, masks);
    stats_.rows_scanned += n * kGroupRows;
    stats_.bytes_read += n * (kGroupRows * kCoarseQuads * 4 + sizeof(GroupFacts));
    const size_t fine_bytes = FineBytes(index_.dim);
    for (size_t i = 0; i < n; ++i) {
      for (uint32_t mask = masks[i]; mask != 0; mask &= mask - 1) {
        const uint32_t slot =
            groups[i] * static_cast<uint32_t>(kGroupRows) + static_cast<uint32_t>(std::countr_zero(mask));
        if (filter_first_ && !IsAllowed(index_.rows[slot])) continue;
        const uint8_t* const code = index_.fine.data() + slot * fine_bytes;
        for (size_t j = 0; j < fine_bytes; j += 64) __builtin_prefetch(code + j, 0, 0);
        scratch_.slots[num_slots_++] = slot;
      }
    }
    if (num_slots_ >= kFineSlots || threshold_ == -kInfinity) MatchFine();
    if (scratch_.pending.size() >= flush_at_ || threshold_ == -kInfinity) Flush();
  }

  // Bounds the rows in line by their fine codes. Those that may reach the threshold are pending then.
  void MatchFine() {
    uint32_t* const sums = scratch_.sums.data();
    DotCodes(index_.fine.data(), fine_query_, scratch_.slots.data(), num_slots_, sums);
    stats_.bytes_read += num_slots_ * FineBytes(index_.dim);
    const float lowered = Lowered(threshold_);
    for (size_t i = 0; i < num_slots_; ++i) {
      const uint32_t slot = scratch_.slots[i];
      const float bound = UpperBound(index_.groups[slot / kGroupRows], sums[i]);
      if (bound < lowered) continue;
      const uint32_t row = index_.rows[slot];
      ++num_asked_;
      if (!filter_first_ && !IsAllowed(row)) {
        ++num_refused_;
        continue;
      }
      if (row == kNoSlotRow) continue;
      scratch_.pending.push_back({row, bound});
      matrix_.Prefetch(row);
    }
    num_slots_ = 0;
    // A filter that allows little is asked before fine codes are read, one that allows much afterwards.
    if (query_.filter != nullptr && num_asked_ >= 16 && num_refused_ > num_asked_ / 2) filter_first_ = true;
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
    for (size_t i = 0; i < n; ++i) rows[i] = pending[i].row;
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
  float norm_ = 0, slack_ = 0;
  Coefficients coarse_;
  Missed coarse_missed_, fine_missed_;
  float step_ = 0, fine_step_ = 0;  // of the query's coordinates, for coarse and fine codes
  int32_t coarse_offset_ = 0;       // of the integer sums, as codes are 128 more than what they stand for
  uint32_t fine_offset_ = 0;
  CodeQuery fine_query_;
  // Clusters whose groups, in their order in scratch.groups, are to be searched.
  struct Plan {
    uint32_t cluster = 0;
    size_t num_groups = 0;
  };
  Plan plans_[kMaxPlans];
  size_t num_plans_ = 0, num_planned_groups_ = 0;
  size_t num_slots_ = 0;                    // in line for their fine codes, in scratch.slots
  size_t num_asked_ = 0, num_refused_ = 0;  // rows that reached the threshold by their fine codes
  bool filter_first_ = false;
  float threshold_ = -kInfinity;  // no row below it is among the best k
  size_t num_found_ = 0;          // in scratch.candidates
  bool is_over_ = false;          // the budget is spent
};

BoundRetriever::BoundRetriever(const ItemMatrix& items, std::span<const float> inverse_norms,
                               const BoundIndexView& index)
    : items_(items),
      inverse_norms_(inverse_norms),
      index_(index),
      inverse_tails_(index.num_clusters()),
      max_direct_rows_(
          std::min(items.num_items / 8,
                   static_cast<size_t>(kDirectRows * std::sqrt(static_cast<double>(items.num_items))))) {
  const size_t dim = index.dim;
  // Of a cluster without groups nothing is expected.
  for (size_t row = 0; row < kNumBoxRows; ++row) {
    cluster_boxes_[row].assign(inverse_tails_.size(),
                               row == kMaxBias && items.bias != nullptr ? -kInfinity : 0.0f);
  }
  for (size_t c = 0; c < inverse_tails_.size(); ++c) {
    inverse_tails_[c] =
        InverseTailNorm(index.centres.data() + c * index.stride, std::min(kCoarseAxes, dim), dim);
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
  const size_t max_direct_rows = query.filter != nullptr && query.filter->IsListed()
                                     ? kListedFactor * max_direct_rows_
                                     : max_direct_rows_;
  if (query.filter != nullptr) scratch.allowed.reserve(2 * kListedFactor * max_direct_rows_ + 64);
  // A filter that allows few rows leaves the index nothing to prune by.
  if (query.filter != nullptr && query.filter->CollectAllowed(static_cast<uint32_t>(items_.num_items),
                                                              max_direct_rows, &scratch.allowed)) {
    return SearchRows(MatrixFor(query.similarity, items_, inverse_norms_), scratch.allowed, query, scratch,
                      results);
  }
  return BoundSearch(*this, query, scratch).Run(norm, results);
}

}  // namespace swiftlet

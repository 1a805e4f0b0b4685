#include "engine/retrieval/bound_index_trial.h"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/base/thread_pool.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet {
namespace {

// What is asked in the trial: the best `k` without the best `excluded`, as filters of seen items leave them
// out.
struct Question {
  size_t k, excluded;
  double recall;  // that is to be reached
};
constexpr std::array<Question, 3> kQuestions = {
    {{10, 0, kCalibratedRecall}, {100, 0, kCalibratedRecall}, {10, 100, kCalibratedFilteredRecall}}};
constexpr double kHalfMargin = 0.003;
constexpr size_t kTruthRows = 110;
constexpr std::array<float, 12> kScales = {1,    0.9f,  0.8f, 0.75f, 0.7f, 0.65f,
                                           0.6f, 0.55f, 0.5f, 0.45f, 0.4f, 0.35f};
// What a row costs by its code, and by its vector: about nanoseconds.
constexpr double kScannedCost = 1, kScoredCost = 30;

struct TrialQuery {
  AlignedVector<float> vector;
  Similarity similarity = Similarity::kDot;
  std::vector<ScoredRow> best;  // of a full scan: kTruthRows
};

// Sums over queries.
struct Outcome {
  // Of each question, for queries of even and of odd number.
  std::array<std::array<double, 2>, kQuestions.size()> hits = {}, wanted = {};
  double rows_scanned = 0, rows_scored = 0, bytes_read = 0;  // of the first question

  void Add(const Outcome& other) {
    for (size_t q = 0; q < kQuestions.size(); ++q) {
      for (size_t half = 0; half < 2; ++half) {
        hits[q][half] += other.hits[q][half];
        wanted[q][half] += other.wanted[q][half];
      }
    }
    rows_scanned += other.rows_scanned;
    rows_scored += other.rows_scored;
    bytes_read += other.bytes_read;
  }
  double cost() const { return kScannedCost * rows_scanned + kScoredCost * rows_scored; }
  double RecallOf(size_t q) const {
    const double of = wanted[q][0] + wanted[q][1];
    return of > 0 ? (hits[q][0] + hits[q][1]) / of : 1;
  }
  double LeastRecall() const {
    double least = 1;
    for (size_t q = 0; q < kQuestions.size(); ++q) least = std::min(least, RecallOf(q));
    return least;
  }
  // Whether every question's recall is what it is to be, and of neither half of the queries much less: what
  // holds for one half alone was picked by chance.
  bool IsGood() const {
    for (size_t q = 0; q < kQuestions.size(); ++q) {
      if (RecallOf(q) < kQuestions[q].recall) return false;
      for (size_t half = 0; half < 2; ++half) {
        if (hits[q][half] < (kQuestions[q].recall - kHalfMargin) * wanted[q][half]) return false;
      }
    }
    return true;
  }
};

class Trial {
 public:
  Trial(const ItemMatrix& items, std::span<const float> inverse_norms, const BoundIndexView& index,
        const BoundIndexTrialOptions& options)
      : items_(items),
        inverse_norms_(inverse_norms),
        fast_(items, inverse_norms, index),
        pool_(options.num_threads),
        scratch_(pool_.num_threads() + 1),
        results_(pool_.num_threads() + 1),
        filters_(pool_.num_threads() + 1),
        queries_(options.num_queries) {
    MakeQueries(options);
    pool_.ParallelFor(queries_.size(), 1, [&](size_t begin, size_t end, size_t worker) {
      for (size_t i = begin; i < end; ++i) {
        const ItemMatrix matrix = MatrixFor(queries_[i].similarity, items_, inverse_norms_);
        SearchExact({&matrix, 1}, QueryOf(queries_[i], kTruthRows, {}), scratch_[worker], queries_[i].best);
      }
    });
  }

  // Over the queries by `similarity`.
  Outcome Measure(Similarity similarity, const BoundScale& scale) {
    std::vector<Outcome> outcomes(queries_.size());
    pool_.ParallelFor(queries_.size(), 4, [&](size_t begin, size_t end, size_t worker) {
      for (size_t i = begin; i < end; ++i) {
        if (queries_[i].similarity == similarity) MeasureOne(i, scale, worker, &outcomes[i]);
      }
    });
    Outcome sum;  // in the order of the queries: the same on every run
    for (const Outcome& one : outcomes) sum.Add(one);
    return sum;
  }

  size_t CountOf(Similarity similarity) const {
    return static_cast<size_t>(std::count_if(queries_.begin(), queries_.end(), [&](const TrialQuery& query) {
      return query.similarity == similarity;
    }));
  }

 private:
  static RetrievalQuery QueryOf(const TrialQuery& query, size_t k, const BoundScale& scale) {
    return {.vector = query.vector, .k = k, .similarity = query.similarity, .bound_scale = scale};
  }

  void MakeQueries(const BoundIndexTrialOptions& options) {
    std::mt19937_64 random(options.seed);
    const size_t dim = items_.dim, num_users = options.user_vectors.size() / dim;
    AlignedVector<float> buffer(dim);
    const auto add_item = [&](float factor, AlignedVector<float>& vector) {
      const size_t row = random() % items_.num_items;
      AddScaled(factor, items_.Row(row).Floats(buffer.data()), dim, vector.data());
      return row;
    };
    for (size_t i = 0; i < queries_.size(); ++i) {
      TrialQuery& query = queries_[i];
      query.vector.assign(dim, 0.0f);
      if (i % 4 >= 2) {
        query.similarity = Similarity::kCosine;
        const size_t row = add_item(1, query.vector);
        for (float& x : query.vector) x *= inverse_norms_[row];
      } else if (num_users > 0) {
        // Of four queries the first two are users': as many different ones as there are.
        const size_t user = (i / 4 * 2 + i % 4) * num_users / ((queries_.size() + 3) / 4 * 2);
        std::copy_n(options.user_vectors.begin() + static_cast<ptrdiff_t>(user * dim), dim,
                    query.vector.begin());
      } else {
        for (int part = 0; part < 4; ++part) add_item(0.25f, query.vector);
      }
    }
  }

  void MeasureOne(size_t number, const BoundScale& scale, size_t worker, Outcome* outcome) {
    const TrialQuery& query = queries_[number];
    // Dot and cosine queries come in pairs.
    const size_t half = number % 2;
    for (size_t q = 0; q < kQuestions.size(); ++q) {
      const auto [k, excluded, aim] = kQuestions[q];
      static_cast<void>(aim);
      if (excluded >= query.best.size()) continue;
      RetrievalQuery asked = QueryOf(query, k, scale);
      if (excluded > 0) {
        filters_[worker].Reset(static_cast<uint32_t>(items_.num_items), {});
        for (size_t i = 0; i < excluded; ++i) filters_[worker].Exclude(query.best[i].row);
        asked.filter = &filters_[worker];
      }
      const RetrievalStats stats = fast_.Search(asked, scratch_[worker], results_[worker]);
      const size_t wanted = std::min(k, query.best.size() - excluded);
      outcome->wanted[q][half] += static_cast<double>(wanted);
      // Both are sorted by the same order.
      auto best = query.best.begin() + static_cast<ptrdiff_t>(excluded);
      const auto end = best + static_cast<ptrdiff_t>(wanted);
      for (const ScoredRow& found : results_[worker]) {
        while (best != end && IsBetter(*best, found)) ++best;
        if (best != end && *best == found) outcome->hits[q][half] += 1;
      }
      if (q > 0) continue;
      outcome->rows_scanned = static_cast<double>(stats.rows_scanned);
      outcome->rows_scored = static_cast<double>(stats.rows_scored);
      outcome->bytes_read = static_cast<double>(stats.bytes_read);
    }
  }

  const ItemMatrix items_;
  const std::span<const float> inverse_norms_;
  const BoundRetriever fast_;
  ThreadPool pool_;
  std::vector<RetrievalScratch> scratch_;        // per worker
  std::vector<std::vector<ScoredRow>> results_;  // per worker
  std::vector<RowFilter> filters_;               // per worker
  std::vector<TrialQuery> queries_;
};

Calibration Calibrate(Trial& trial, Similarity similarity, const Outcome& exact, size_t num_items) {
  const auto rows = static_cast<double>(num_items * trial.CountOf(similarity));
  Calibration result;
  if (rows == 0) return result;
  result.rows_scanned = exact.rows_scanned / rows;
  double least_cost = exact.cost();
  // For each scale of boxes the least scale of codes that will do. Recall falls with either, so the latter
  // only rises again as the former falls.
  size_t last_code = kScales.size() - 1;
  for (const float box : kScales) {
    std::optional<size_t> good;
    Outcome best;
    for (size_t low = 0, high = last_code; low <= high;) {
      const size_t middle = (low + high + 1) / 2;
      const Outcome outcome = trial.Measure(similarity, {.box = box, .code = kScales[middle]});
      if (outcome.IsGood()) {
        good = middle;
        best = outcome;
        low = middle + 1;
      } else {
        if (middle == 0) break;
        high = middle - 1;
      }
    }
    if (!good.has_value()) break;
    last_code = *good;
    if (best.cost() >= least_cost) continue;
    least_cost = best.cost();
    result = {.scale = {.box = box, .code = kScales[*good]},
              .recall = best.LeastRecall(),
              .rows_scanned = best.rows_scanned / rows};
  }
  return result;
}

}  // namespace

BoundIndexTrial TryBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                              const BoundIndexView& index, const BoundIndexTrialOptions& options) {
  Trial trial(items, inverse_norms, index, options);
  const double rows = static_cast<double>(options.num_queries) * static_cast<double>(items.num_items);
  const Outcome dot = trial.Measure(Similarity::kDot, {}), cosine = trial.Measure(Similarity::kCosine, {});
  Outcome both = dot;
  both.Add(cosine);
  return {.num_queries = options.num_queries,
          .recall = both.LeastRecall(),
          .rows_scanned = both.rows_scanned / rows,
          .bytes_read = both.bytes_read / (rows * static_cast<double>(items.row_bytes())),
          .dot = Calibrate(trial, Similarity::kDot, dot, items.num_items),
          .cosine = Calibrate(trial, Similarity::kCosine, cosine, items.num_items)};
}

}  // namespace swiftlet

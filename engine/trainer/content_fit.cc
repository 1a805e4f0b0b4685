#include "engine/trainer/content_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "Eigen/Eigenvalues"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/content_design.h"
#include "engine/trainer/content_ridge.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {
namespace {

constexpr Eigen::Index kChoiceTargets = 16;  // principal directions of scores that choices are made by
constexpr size_t kFolds = 5;                 // one of them is held out
constexpr uint32_t kChoiceIterations = 20, kFitIterations = 60;
constexpr float kMaxBiasShift = 20;

SparseDesign RowsOf(const SparseDesign& design, std::span<const size_t> rows) {
  SparseDesign part;
  part.num_columns = design.num_columns;
  for (const size_t i : rows) {
    const auto begin = static_cast<ptrdiff_t>(design.row_begin[i]);
    const auto end = static_cast<ptrdiff_t>(design.row_begin[i + 1]);
    part.columns.insert(part.columns.end(), design.columns.begin() + begin, design.columns.begin() + end);
    part.values.insert(part.values.end(), design.values.begin() + begin, design.values.begin() + end);
    part.row_begin.push_back(part.columns.size());
  }
  return part;
}

template <typename M>
M TakeRows(const M& matrix, std::span<const size_t> rows) {
  M part(static_cast<Eigen::Index>(rows.size()), matrix.cols());
  for (size_t i = 0; i < rows.size(); ++i) {
    part.row(static_cast<Eigen::Index>(i)) = matrix.row(static_cast<Eigen::Index>(rows[i]));
  }
  return part;
}

VectorF WeightsOf(const VectorF& counts, float half_weight) {
  return (counts.array() / (counts.array() + half_weight)).matrix();
}

// The vectors in the directions in which the users' scores vary most, at most kChoiceTargets of them.
MatrixF ScoreDirections(const ContentTargets& targets, const MatrixF& vectors, const VectorF& weights) {
  const auto dim = static_cast<Eigen::Index>(targets.dim);
  // Scores are V q: with C = E[q q^T] = R R^T, errors of scores are those of V R.
  MatrixF root = MatrixF::Identity(dim, dim);
  const MatrixF& users = targets.users.vectors;
  if (users.rows() > 0) {
    const MatrixF second = users.transpose() * users / static_cast<float>(users.rows());
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf> solver{Eigen::MatrixXf(second)};
    root = solver.eigenvectors() * solver.eigenvalues().cwiseMax(0).cwiseSqrt().asDiagonal();
  }
  MatrixF scores = vectors * root;
  const Eigen::RowVectorXf mean = (weights.transpose() * scores) / std::max(weights.sum(), 1e-12f);
  const MatrixF centred = scores.rowwise() - mean;
  const MatrixF covariance = centred.transpose() * weights.asDiagonal() * centred;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf> solver{Eigen::MatrixXf(covariance)};
  const Eigen::Index count = std::min(dim, kChoiceTargets);
  return scores * solver.eigenvectors().rightCols(count);
}

// 1 - sum w |y - y'|^2 / sum w |y - mean|^2.
double ExplainedVariance(const VectorF& weights, const MatrixF& targets, const MatrixF& predicted,
                         const Eigen::RowVectorXf& mean) {
  const double error = ((targets - predicted).rowwise().squaredNorm().array() * weights.array()).sum();
  const double total = ((targets.rowwise() - mean).rowwise().squaredNorm().array() * weights.array()).sum();
  return total > 0 ? 1 - error / total : 0;
}

struct Choice {
  Scales scales;
  float lambda = 1;
  float half_weight = 10;  // an item of so many events weighs half
  double r2 = 0;
};

// Which of the items (rows of the design) are held out.
struct Holdout {
  std::vector<size_t> fitted, held_out;
};

// Tries choices on held-out items.
class Trial {
 public:
  // All but the targets borrowed.
  Trial(const Features& features, const VectorF& counts, MatrixF targets, const Holdout& holdout,
        ThreadPool* pool)
      : features_(features),
        holdout_(holdout),
        pool_(pool),
        fit_counts_(TakeRows(counts, holdout.fitted)),
        test_weights_(WeightsOf(TakeRows(counts, holdout.held_out), kTestHalfWeight)),
        fit_targets_(TakeRows(targets, holdout.fitted)),
        test_targets_(TakeRows(targets, holdout.held_out)) {
    const VectorF weights = WeightsOf(fit_counts_, kTestHalfWeight);
    mean_ = (weights.transpose() * fit_targets_) / std::max(weights.sum(), 1e-12f);
  }

  // What the held-out items get.
  MatrixF HeldOut(const Choice& choice, const MatrixF& targets, uint32_t iterations) const {
    const SparseDesign design = Scaled(features_, choice.scales);
    return Predict(
        RowsOf(design, holdout_.held_out),
        SolveRidge(RowsOf(design, holdout_.fitted), WeightsOf(fit_counts_, choice.half_weight), targets,
                   {.lambda = choice.lambda,
                    .intercept = features_.intercept,
                    .max_iterations = iterations,
                    .tolerance = 1e-3f},
                   pool_));
  }
  // The part of the held-out items' variance that is explained.
  double R2(const Choice& choice) const {
    return ExplainedVariance(test_weights_, test_targets_, HeldOut(choice, fit_targets_, kChoiceIterations),
                             mean_);
  }

 private:
  static constexpr float kTestHalfWeight = 10;

  const Features& features_;
  const Holdout& holdout_;
  ThreadPool* const pool_;
  const VectorF fit_counts_, test_weights_;
  const MatrixF fit_targets_, test_targets_;
  Eigen::RowVectorXf mean_;
};

// Coordinate ascent, in factors, over lambda, the half weight and the scales of `blocks`.
absl::StatusOr<Choice> Choose(const Trial& trial, Choice choice, std::span<const size_t> blocks) {
  constexpr int kRounds = 3;
  choice.r2 = trial.R2(choice);
  bool moved = true;
  const auto climb = [&](auto number_of, float factor, float low, float high) -> absl::Status {
    for (const float step : {factor, 1 / factor}) {
      bool ever = false;
      for (;;) {
        SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
        Choice next = choice;
        float& number = number_of(next);
        number *= step;
        if (number < low || number > high) break;
        next.r2 = trial.R2(next);
        if (next.r2 <= choice.r2 + 1e-4) break;
        choice = next;
        ever = moved = true;
      }
      if (ever) break;
    }
    return absl::OkStatus();
  };
  for (int round = 0; round < kRounds && moved; ++round) {
    moved = false;
    SWIFTLET_RETURN_IF_ERROR(climb([](Choice& c) -> float& { return c.lambda; }, 2.5f, 1e-4f, 1e5f));
    SWIFTLET_RETURN_IF_ERROR(climb([](Choice& c) -> float& { return c.half_weight; }, 3.0f, 0.3f, 1e3f));
    for (const size_t block : blocks) {
      SWIFTLET_RETURN_IF_ERROR(
          climb([block](Choice& c) -> float& { return c.scales[block]; }, 2.0f, 0.1f, 10.0f));
    }
  }
  return choice;
}

std::string Describe(const Choice& choice) {
  std::string text =
      absl::StrFormat("lambda %.3g, half weight %.3g, scales", choice.lambda, choice.half_weight);
  for (size_t b = 0; b < choice.scales.size(); ++b) {
    if (b != kInterceptBlock) absl::StrAppend(&text, absl::StrFormat(" %.3g", choice.scales[b]));
  }
  return text;
}

absl::Status CheckSizes(const ContentTargets& targets, std::span<const ItemContent> content) {
  const size_t n = targets.item_ids.size(), d = targets.dim;
  const auto fits = [](size_t size, size_t expected, bool optional) {
    return size == expected || (optional && size == 0);
  };
  if (d > 0 && fits(content.size(), n, false) && fits(targets.vectors.size(), n * d, false) &&
      fits(targets.input_vectors.size(), n * d, true) && fits(targets.bias.size(), n, true) &&
      fits(targets.attention_logits.size(), n, true) && fits(targets.popularity.size(), n, false) &&
      fits(targets.held_out.size(), n, true)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("content: ", n, " items of dimension ", d, " come with descriptions of ", content.size(),
                   ", ", targets.vectors.size(), " numbers of vectors, ", targets.input_vectors.size(),
                   " of input vectors, ", targets.bias.size(), " biases, ", targets.attention_logits.size(),
                   " logits and ", targets.popularity.size(), " counts"));
}

// Items with events and content, the most popular ones where there are too many, ascending.
std::vector<size_t> UsableItems(const ContentTargets& targets, std::span<const ItemContent> content,
                                std::span<const ExternalVectors> externals,
                                const ContentFitOptions& options) {
  std::vector<uint32_t> buckets;
  std::vector<size_t> items;
  for (size_t i = 0; i < content.size(); ++i) {
    if (!(targets.popularity[i] > 0)) continue;
    ExtractContentFeatures(content[i], options.hash_bits, &buckets);
    const bool has_vector = std::any_of(externals.begin(), externals.end(), [&](const ExternalVectors& x) {
      return x.rows.contains(targets.item_ids[i]);
    });
    if (!buckets.empty() || has_vector) items.push_back(i);
  }
  if (items.size() > options.max_items) {
    std::stable_sort(items.begin(), items.end(),
                     [&](size_t a, size_t b) { return targets.popularity[a] > targets.popularity[b]; });
    items.resize(options.max_items);
    std::sort(items.begin(), items.end());
  }
  return items;
}

// Of max_choices of the items: those that the targets hold out, or a fifth at random where `mask` is empty.
Holdout MakeHoldout(const std::vector<bool>& mask, std::span<const size_t> items,
                    const ContentFitOptions& options) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 random(options.seed);
  std::shuffle(order.begin(), order.end(), random);
  order.resize(std::min<size_t>(order.size(), options.max_choices));
  Holdout holdout;
  for (size_t i = 0; i < order.size(); ++i) {
    const bool out = mask.empty() ? i < order.size() / kFolds : mask[items[order[i]]];
    (out ? holdout.held_out : holdout.fitted).push_back(order[i]);
  }
  std::sort(holdout.fitted.begin(), holdout.fitted.end());
  std::sort(holdout.held_out.begin(), holdout.held_out.end());
  return holdout;
}

// What the trained items look like, gathered from the targets; rows are those of `items`.
struct Tables {
  VectorF counts;
  MatrixF vectors;  // [rows, dim]
  MatrixF both;     // [rows, dim or 2 dim]: output and input vectors
  MatrixF facts;    // [rows, 2]: bias, attention logit
};

Tables GatherTables(const ContentTargets& targets, std::span<const size_t> items) {
  const size_t d = targets.dim;
  const bool has_inputs = !targets.input_vectors.empty();
  const auto rows = static_cast<Eigen::Index>(items.size());
  Tables t;
  t.counts.resize(rows);
  t.vectors.resize(rows, static_cast<Eigen::Index>(d));
  t.both.resize(rows, static_cast<Eigen::Index>(has_inputs ? 2 * d : d));
  t.facts = MatrixF::Zero(rows, 2);
  for (Eigen::Index r = 0; r < rows; ++r) {
    const size_t i = items[static_cast<size_t>(r)];
    t.counts[r] = targets.popularity[i];
    std::copy_n(&targets.vectors[i * d], d, t.vectors.row(r).data());
    std::copy_n(&targets.vectors[i * d], d, t.both.row(r).data());
    if (has_inputs) std::copy_n(&targets.input_vectors[i * d], d, t.both.row(r).data() + d);
    if (!targets.bias.empty()) t.facts(r, 0) = targets.bias[i];
    if (!targets.attention_logits.empty()) t.facts(r, 1) = targets.attention_logits[i];
  }
  return t;
}

Eigen::RowVectorXf WeightedMean(const VectorF& weights, const MatrixF& rows) {
  return (weights.transpose() * rows) / std::max(weights.sum(), 1e-12f);
}

// Chooses the scales of what content says, and the shift of biases, on the items that the targets hold out.
// How much the ridge holds back is chosen once more there: what is best for squared errors over all items
// need not be for choices among new ones.
void Calibrate(const ContentTargets& targets, std::span<const size_t> items, const Features& features,
               const Tables& tables, const ContentFitOptions& options, ThreadPool* pool, Choice* for_tables,
               const Choice* for_facts, FittedContent* result) {
  const Holdout holdout = MakeHoldout(targets.held_out, items, options);
  if (holdout.held_out.size() < 2 || holdout.fitted.size() < 2) return;
  std::vector<int32_t> item_rows(targets.item_ids.size(), -1);
  double held_out_events = 0, all_events = 0;
  for (size_t i = 0; i < holdout.held_out.size(); ++i) {
    item_rows[items[holdout.held_out[i]]] = static_cast<int32_t>(i);
    held_out_events += double{targets.popularity[items[holdout.held_out[i]]]};
  }
  for (const float count : targets.popularity) all_events += double{count};

  const VectorF counts = TakeRows(tables.counts, holdout.fitted);
  const MatrixF facts = TakeRows(MatrixF(tables.facts.leftCols(1)), holdout.fitted);
  const MatrixF vectors = TakeRows(tables.vectors, holdout.fitted);
  const Trial trial(features, tables.counts, tables.facts.leftCols(1), holdout, pool);
  const float mean_bias = WeightedMean(WeightsOf(counts, for_facts->half_weight), facts)[0];
  const VectorF biases = (trial.HeldOut(*for_facts, facts, kFitIterations).array() - mean_bias).matrix();
  const Eigen::RowVectorXf mean = WeightedMean(WeightsOf(counts, for_tables->half_weight), vectors);
  FittedScales best;
  MatrixF best_vectors;
  Choice best_choice = *for_tables;
  for (const float factor : {1.0f, 5.0f, 25.0f}) {
    Choice choice = *for_tables;
    choice.lambda *= factor;
    const MatrixF held_out = trial.HeldOut(choice, vectors, kFitIterations).rowwise() - mean;
    const FittedScales fitted = FitScales(targets.users, item_rows, held_out, biases);
    if (best_vectors.rows() > 0 && fitted.log_likelihood <= best.log_likelihood) continue;
    best = fitted;
    best_vectors = held_out;
    best_choice = choice;
  }
  *for_tables = best_choice;
  result->scales = best.scales;
  result->num_picks = best.num_picks;
  result->log_likelihood = best.log_likelihood;
  if (targets.bias.empty()) return;
  const auto d = static_cast<Eigen::Index>(targets.dim);
  ScaleRows(MeanDirection(targets.users.vectors), best.scales, Eigen::RowVectorXf::Zero(d), best_vectors);
  best_vectors.rowwise() += mean;
  const Exposure exposure(targets.users, best_vectors,
                          (biases.array() * best.scales.bias + mean_bias).matrix());
  if (exposure.empty()) return;
  double share = targets.held_out_share;
  if (share <= 0) share = all_events > 0 ? held_out_events / all_events : 0;
  result->share_before = exposure.Share(0);
  result->bias_shift = exposure.ShiftFor(share, kMaxBiasShift);
  result->share = exposure.Share(result->bias_shift);
}

// The same scales for coefficients: those of the intercept give the mean what the others take away.
void ApplyScales(const ContentTargets& targets, const Tables& tables, const Choice& for_tables,
                 const Choice& for_facts, size_t intercept, const ContentScales& scales,
                 MatrixF* table_weights, MatrixF* fact_weights) {
  const auto d = static_cast<Eigen::Index>(targets.dim), at = static_cast<Eigen::Index>(intercept);
  if (targets.users.vectors.rows() > 0) {
    const VectorF direction = MeanDirection(targets.users.vectors);
    const Eigen::RowVectorXf mean =
        WeightedMean(WeightsOf(tables.counts, for_tables.half_weight), tables.vectors);
    // In place and of a part of the columns: the input vectors, that say how an item counts in a history,
    // stay.
    MatrixF part = table_weights->leftCols(d);
    MatrixF intercept_row = part.row(at);
    ScaleRows(direction, scales, Eigen::RowVectorXf::Zero(d), part);
    ScaleRows(direction, scales, mean, intercept_row);
    part.row(at) = intercept_row;
    table_weights->leftCols(d) = part;
  }
  const float mean_bias =
      WeightedMean(WeightsOf(tables.counts, for_facts.half_weight), tables.facts.leftCols(1))[0];
  fact_weights->col(0) *= scales.bias;
  (*fact_weights)(at, 0) += (1 - scales.bias) * mean_bias;
}

}  // namespace

absl::StatusOr<FittedContent> FitContent(const ContentTargets& targets, std::span<const ItemContent> content,
                                         std::span<const ExternalVectors> externals,
                                         const ContentFitOptions& options, ThreadPool* pool) {
  SWIFTLET_RETURN_IF_ERROR(CheckSizes(targets, content));
  const std::vector<size_t> items = UsableItems(targets, content, externals, options);
  if (items.size() < 2) {
    return absl::FailedPreconditionError(
        absl::StrCat(items.size(), " items have both events and content; a content tower needs 2"));
  }
  FittedContent result;
  ContentTowerData& tower = result.tower;
  tower.hash_bits = options.hash_bits;
  BuildTable(items, content, options.min_items, &tower);
  std::vector<Standardisation> standards;
  for (const ExternalVectors& external : externals) {
    standards.push_back(Standardise(external, items, targets.item_ids));
    tower.externals.push_back({external.name, static_cast<uint32_t>(external.vectors.cols())});
  }
  if (tower.buckets.empty() && externals.empty()) {
    return absl::FailedPreconditionError("no feature of the items' content is shared by two of them");
  }
  result.num_items = items.size();
  const Features features = BuildFeatures(items, targets.item_ids, content, externals, standards, tower);
  const Tables tables = GatherTables(targets, items);

  std::vector<bool> occurs(kInterceptBlock + 1 + externals.size());
  for (const uint8_t block : features.blocks) occurs[block] = true;
  std::vector<size_t> blocks;
  for (size_t b = 0; b < occurs.size(); ++b) {
    if (occurs[b] && b != kInterceptBlock) blocks.push_back(b);
  }
  Choice for_tables{.scales = Scales(occurs.size(), 1.0f)}, for_facts = for_tables;
  const Holdout holdout = MakeHoldout({}, items, options);
  if (holdout.held_out.size() >= 2 && holdout.fitted.size() >= 2) {
    const Trial scores(features, tables.counts,
                       ScoreDirections(targets, tables.vectors, WeightsOf(tables.counts, 10)), holdout, pool);
    SWIFTLET_ASSIGN_OR_RETURN(for_tables, Choose(scores, for_tables, blocks));
    result.score_r2 = for_tables.r2;
    const Trial biases(features, tables.counts, tables.facts.leftCols(1), holdout, pool);
    if (!targets.bias.empty()) {
      SWIFTLET_ASSIGN_OR_RETURN(for_facts, Choose(biases, for_facts, blocks));
    }
    result.bias_r2 = for_facts.r2;
    result.choices = absl::StrCat("vectors: ", Describe(for_tables), "; biases: ", Describe(for_facts));
    if (options.calibrate && targets.users.vectors.rows() > 0) {
      Calibrate(targets, items, features, tables, options, pool, &for_tables, &for_facts, &result);
    }
  }
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());

  const auto solve = [&](const Choice& choice, const MatrixF& values) {
    return SolveRidge(
        Scaled(features, choice.scales), WeightsOf(tables.counts, choice.half_weight), values,
        {.lambda = choice.lambda, .intercept = features.intercept, .max_iterations = kFitIterations}, pool);
  };
  MatrixF table_weights = solve(for_tables, tables.both);
  MatrixF fact_weights = solve(for_facts, tables.facts);
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  // Content comes unscaled.
  for (Eigen::Index r = 0; r < table_weights.rows(); ++r) {
    const size_t block = features.blocks[static_cast<size_t>(r)];
    table_weights.row(r) *= for_tables.scales[block];
    fact_weights.row(r) *= for_facts.scales[block];
  }
  ApplyScales(targets, tables, for_tables, for_facts, features.intercept, result.scales, &table_weights,
              &fact_weights);
  fact_weights(static_cast<Eigen::Index>(features.intercept), 0) += result.bias_shift;

  const size_t d = targets.dim, stride = RowStride(d);
  const bool has_inputs = !targets.input_vectors.empty();
  const auto add_row = [&](const Eigen::RowVectorXf& table_row, const Eigen::RowVectorXf& fact_row) {
    const size_t begin = tower.output_weights.size();
    tower.output_weights.resize(begin + stride);
    std::copy_n(table_row.data(), d, &tower.output_weights[begin]);
    if (has_inputs) {
      tower.input_weights.resize(begin + stride);
      std::copy_n(table_row.data() + d, d, &tower.input_weights[begin]);
    }
    tower.fact_weights.insert(tower.fact_weights.end(), fact_row.data(), fact_row.data() + 2);
  };
  const auto num_features = static_cast<Eigen::Index>(features.intercept) + 1;
  for (Eigen::Index r = 0; r < num_features; ++r) add_row(table_weights.row(r), fact_weights.row(r));
  Eigen::Index first = num_features;
  for (size_t x = 0; x < externals.size(); ++x) {
    const Eigen::Index dims = externals[x].vectors.cols();
    const MatrixF table_part = table_weights.middleRows(first, dims) * standards[x].scale;
    const MatrixF fact_part = fact_weights.middleRows(first, dims) * standards[x].scale;
    add_row(-(standards[x].mean.transpose() * table_part), -(standards[x].mean.transpose() * fact_part));
    for (Eigen::Index j = 0; j < dims; ++j) add_row(table_part.row(j), fact_part.row(j));
    first += dims;
  }
  return result;
}

}  // namespace swiftlet

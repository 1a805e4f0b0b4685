#include "engine/trainer/attention_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/attention_gradient.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"
#include "engine/trainer/metrics.h"

namespace swiftlet {
namespace {

constexpr size_t kExamplesPerPiece = 64;
constexpr float kBeta1 = 0.9f, kBeta2 = 0.98f, kEpsilon = 1e-8f;

// Adam (Kingma and Ba 2015), for rows of a table that are touched now and then: a row's moments move only
// when it has a gradient ("lazy Adam").
class Adam {
 public:
  Adam(Eigen::Index rows, Eigen::Index columns)
      : m_(MatrixF::Zero(rows, columns)), v_(MatrixF::Zero(rows, columns)) {}

  // step: 1, 2, ..
  template <typename Parameters, typename Gradient>
  void Update(Eigen::Index row, const Gradient& gradient, uint64_t step, float learning_rate,
              float weight_decay, Parameters&& parameters) {
    auto m = m_.row(row);
    auto v = v_.row(row);
    m = kBeta1 * m + (1 - kBeta1) * gradient;
    v = kBeta2 * v + (1 - kBeta2) * gradient.cwiseAbs2();
    const float rate = learning_rate * std::sqrt(1 - std::pow(kBeta2, static_cast<float>(step))) /
                       (1 - std::pow(kBeta1, static_cast<float>(step)));
    parameters = parameters * (1 - learning_rate * weight_decay) -
                 (rate * m.array() / (v.array().sqrt() + kEpsilon)).matrix();
  }

 private:
  MatrixF m_, v_;
};

// Rows of a table that have a gradient in this batch, compactly.
class SparseGradient {
 public:
  SparseGradient(size_t num_rows, Eigen::Index columns) : slot_of_(num_rows, -1), values_(1024, columns) {}
  void Clear() {
    for (const uint32_t row : rows_) slot_of_[row] = -1;
    rows_.clear();
  }
  // The row's accumulator, zero at first.
  MatrixF::RowXpr Row(uint32_t row) {
    int32_t& slot = slot_of_[row];
    if (slot < 0) {
      slot = static_cast<int32_t>(rows_.size());
      rows_.push_back(row);
      if (values_.rows() < static_cast<Eigen::Index>(rows_.size())) {
        values_.conservativeResize(values_.rows() * 2, Eigen::NoChange);
      }
      values_.row(slot).setZero();
    }
    return values_.row(slot);
  }
  const std::vector<uint32_t>& rows() const { return rows_; }
  MatrixF::ConstRowXpr Values(size_t slot) const { return values_.row(static_cast<Eigen::Index>(slot)); }

 private:
  std::vector<int32_t> slot_of_;
  std::vector<uint32_t> rows_;
  MatrixF values_;
};

// Steps of the vectors of items' features in one table. Where there are none, does nothing.
class FeatureSteps {
 public:
  FeatureSteps(const ItemFeatures* features, Eigen::Index dim)
      : features_(features != nullptr && !features->empty() ? features : nullptr),
        batches_(features_ != nullptr ? BatchesOfOneMove(*features, static_cast<size_t>(dim)) : 1),
        adam_(num_features(), dim),
        gradient_(MatrixF::Zero(num_features(), dim)),
        moves_(num_features(), dim) {}

  // Of a batch: the gradient of the table's rows, of which the last column is something else. Every so many
  // batches, and with is_last, it moves the rows.
  void Update(const SparseGradient& items, bool is_last, float learning_rate, ThreadPool* pool,
              MatrixF* table) {
    if (features_ == nullptr) return;
    const auto dim = static_cast<size_t>(table->cols());
    for (size_t k = 0; k < items.rows().size(); ++k) {
      AddToFeatures(*features_, items.rows()[k], std::span(items.Values(k).data(), dim), gradient_.data());
    }
    if (++batch_ < batches_ && !is_last) return;
    batch_ = 0;
    ++step_;
    moves_.setZero();
    ForPieces(pool, features_->num_features, 128, [&](size_t begin, size_t end, size_t) {
      for (auto f = static_cast<Eigen::Index>(begin); f < static_cast<Eigen::Index>(end); ++f) {
        if (gradient_.row(f).isZero(0)) continue;
        adam_.Update(f, gradient_.row(f), step_, learning_rate, 0, moves_.row(f));
      }
    });
    gradient_.setZero();
    MoveItems(*features_, std::span(moves_.data(), static_cast<size_t>(moves_.size())), dim, pool,
              table->data());
  }

 private:
  Eigen::Index num_features() const {
    return features_ != nullptr ? static_cast<Eigen::Index>(features_->num_features) : 0;
  }

  const ItemFeatures* const features_;
  const size_t batches_;
  Adam adam_;
  MatrixF gradient_, moves_;
  size_t batch_ = 0;  // since the last step
  uint64_t step_ = 0;
};

// The last column of the gradient of a table's row is that of its bias (items) or attention logit (inputs).
struct Optimizer {
  explicit Optimizer(const AttentionModel& model)
      : items(model.items.rows(), model.items.cols()),
        inputs(model.items.rows(), model.items.cols()),
        bias(model.items.rows(), 1),
        item_logits(model.items.rows(), 1),
        class_logits(1, model.class_logits.size()),
        position_logits(1, model.position_logits.size()),
        recency_logits(1, model.recency_logits.size()),
        scalars(1, 2) {}
  Adam items, inputs, bias, item_logits, class_logits, position_logits, recency_logits, scalars;
  uint64_t step = 0;
};

void SampleNegatives(size_t num_items, size_t count, std::mt19937_64* random, std::vector<uint32_t>* sample,
                     std::vector<bool>* taken) {
  sample->clear();
  if (count >= num_items) {
    sample->resize(num_items);
    std::iota(sample->begin(), sample->end(), 0u);
    return;
  }
  taken->resize(num_items, false);
  std::uniform_int_distribution<uint32_t> any(0, static_cast<uint32_t>(num_items) - 1);
  while (sample->size() < count) {
    const uint32_t item = any(*random);
    if ((*taken)[item]) continue;
    (*taken)[item] = true;
    sample->push_back(item);
  }
  for (const uint32_t item : *sample) (*taken)[item] = false;
}

// The running mean takes a step for as many of the optimizer's, or what is left at the end of an epoch: it
// costs a pass over all parameters.
constexpr uint64_t kStepsOfMean = 8;

// mean = kept * mean + (1 - kept) * model; the classes' signs are no parameters.
void MoveMean(const AttentionModel& model, float kept, AttentionModel* mean) {
  const auto move = [&](const auto& from, auto* to) { *to += (1 - kept) * (from - *to); };
  move(model.items, &mean->items);
  move(model.inputs, &mean->inputs);
  move(model.bias, &mean->bias);
  move(model.item_logits, &mean->item_logits);
  move(model.class_logits, &mean->class_logits);
  move(model.position_logits, &mean->position_logits);
  move(model.recency_logits, &mean->recency_logits);
  mean->long_term_logit += (1 - kept) * (model.long_term_logit - mean->long_term_logit);
  mean->long_term_scale += (1 - kept) * (model.long_term_scale - mean->long_term_scale);
}

}  // namespace

std::vector<FitExample> MakeExamples(const Dataset& data, std::span<const EventClass> classes,
                                     const std::vector<bool>& skip, const AttentionFitOptions& options) {
  const std::vector<bool> repeated = MarkRepeated(data);
  std::vector<FitExample> examples;
  uint32_t per_user = std::max<uint32_t>(options.max_examples_per_user, 1);
  for (;;) {
    examples.clear();
    for (uint32_t u = 0; u < data.num_users(); ++u) {
      const size_t before = examples.size();
      for (size_t e = data.user_begin[u + 1];
           e-- > data.user_begin[u] + 1 && examples.size() - before < per_user;) {
        if (repeated[e] || (!skip.empty() && skip[e])) continue;
        if (classes[ClassOfEvent(classes, data.events[e].type, data.events[e].value)].sign < 0) continue;
        examples.push_back({u, e});
      }
      std::reverse(examples.begin() + static_cast<ptrdiff_t>(before), examples.end());
    }
    if (examples.size() <= options.max_examples || per_user == 1) return examples;
    per_user = std::max<uint32_t>(1, per_user * 3 / 4);
  }
}

MatrixF FoldInPrefixes(const Dataset& data, std::span<const EventClass> classes, const MatrixF& items,
                       const AlsOptions& als, std::span<const FitExample> examples, ThreadPool* pool) {
  const Eigen::Index dim = items.cols();
  MatrixF result(static_cast<Eigen::Index>(examples.size()), dim);
  const MatrixF gram = als.alpha0 * (items.transpose() * items);
  std::vector<size_t> user_examples;  // where each user's examples begin
  for (size_t k = 0; k < examples.size(); ++k) {
    if (k == 0 || examples[k].user != examples[k - 1].user) user_examples.push_back(k);
  }
  user_examples.push_back(examples.size());
  ForPieces(pool, user_examples.size() - 1, 16, [&](size_t begin, size_t end, size_t) {
    Eigen::MatrixXd inverse(dim, dim);
    Eigen::VectorXd b(dim), pv(dim), v(dim);
    std::vector<uint32_t> added;
    for (size_t u = begin; u < end; ++u) {
      const size_t first = user_examples[u], last = user_examples[u + 1];
      const size_t user_begin = data.user_begin[examples[first].user];
      // The count that scales the regularisation is that of the user's last example: it changes little on the
      // way.
      Eigen::MatrixXd a = gram.cast<double>();
      a.diagonal().array() += AlsRegularisation(als, examples[last - 1].event - user_begin, items.rows());
      inverse = a.llt().solve(Eigen::MatrixXd::Identity(dim, dim));
      b.setZero();
      added.clear();
      size_t e = user_begin;
      for (size_t k = first; k < last; ++k) {
        for (; e < examples[k].event; ++e) {
          const TrainingEvent& event = data.events[e];
          if (classes[ClassOfEvent(classes, event.type, event.value)].sign < 0) continue;
          if (std::find(added.begin(), added.end(), event.item) != added.end()) continue;
          added.push_back(event.item);
          // Sherman and Morrison (1950): the inverse after adding w v v^T.
          const EventType* type = data.event_types.FindById(event.type);
          const double w = type != nullptr ? std::fabs(type->weight) : 1.0;
          v = items.row(event.item).transpose().cast<double>();
          pv.noalias() = inverse * v;
          inverse.noalias() -= (w / (1 + w * v.dot(pv))) * pv * pv.transpose();
          b += w * v;
        }
        result.row(k) = (inverse * b).cast<float>().transpose();
      }
    }
  });
  return result;
}

double ValidationNdcg(const AttentionModel& model, const FitInput& input, uint32_t max_events,
                      ThreadPool* pool) {
  if (input.examples.empty()) return 0;
  const ScopedBlasThreads one(1);
  constexpr size_t kGrain = 32;
  const Dataset& data = *input.data;
  std::vector<double> pieces((input.examples.size() + kGrain - 1) / kGrain, 0.0);
  ForPieces(pool, input.examples.size(), kGrain, [&](size_t begin, size_t end, size_t) {
    std::vector<internal::FitSlot> slots;
    MatrixF q(static_cast<Eigen::Index>(end - begin), model.items.cols());
    for (size_t e = begin; e < end; ++e) {
      internal::CollectSlots(input, input.examples[e], max_events, model, &slots);
      internal::ForwardAttention(model, input.long_term->row(e).data(), &slots, q.row(e - begin).data());
    }
    MatrixF scores;
    MultiplyByTransposeInto(q, model.items, &scores);
    scores.rowwise() += model.bias.transpose();
    for (size_t e = begin; e < end; ++e) {
      const FitExample& example = input.examples[e];
      const uint32_t target = data.events[example.event].item;
      auto row = scores.row(e - begin);
      const float target_score = row[target];
      for (size_t k = data.user_begin[example.user]; k < example.event; ++k) {
        if (data.events[k].item != target) row[data.events[k].item] = -INFINITY;
      }
      const Eigen::Index better = (row.array() > target_score).count();
      if (better < 10) pieces[begin / kGrain] += RankGain(static_cast<size_t>(better));
    }
  });
  return std::accumulate(pieces.begin(), pieces.end(), 0.0) / static_cast<double>(input.examples.size());
}

absl::StatusOr<FitResult> FitAttention(const FitInput& training, const FitInput& validation,
                                       const AttentionFitOptions& options, ThreadPool* pool,
                                       Progress* progress, AttentionModel* model) {
  const ScopedBlasThreads one(1);
  FitResult result;
  const absl::Time begin_time = absl::Now();
  const bool validate = !validation.examples.empty();
  AttentionModel best = *model;
  uint32_t best_epoch = 0;
  if (validate) result.validation_ndcg = ValidationNdcg(*model, validation, options.max_events, pool);
  if (validate) result.curve.push_back({0, 0, result.validation_ndcg});
  if (training.examples.empty() || options.max_epochs == 0) return result;
  progress->Say(
      absl::StrCat("attention: ", WithCommas(training.examples.size()), " examples",
                   validate ? absl::StrFormat(", NDCG@10 %.4f before fitting", result.validation_ndcg) : ""));

  const size_t num_items = training.data->num_items();
  std::mt19937_64 random(options.seed);
  std::vector<size_t> order(training.examples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  Optimizer optimizer(*model);
  FeatureSteps item_steps(training.features, model->items.cols());
  FeatureSteps input_steps(training.features, model->items.cols());
  SparseGradient d_items(num_items, model->items.cols() + 1), d_inputs(num_items, model->items.cols() + 1);
  const size_t num_workers = pool == nullptr ? 1 : pool->num_threads() + 1;
  std::vector<internal::GradientScratch> scratch(num_workers);
  std::vector<internal::PieceGradient> pieces;
  std::vector<uint32_t> negatives;
  std::vector<bool> taken;
  std::vector<uint8_t> drop;
  std::uniform_real_distribution<float> uniform(0, 1);
  const Eigen::Index dim = model->items.cols();

  AttentionModel mean;
  if (options.average_decay > 0) mean = *model;
  uint64_t steps_of_mean = 0;  // that it has seen

  progress->Begin("attention epoch", options.max_epochs);
  for (uint32_t epoch = 1; epoch <= options.max_epochs; ++epoch) {
    std::shuffle(order.begin(), order.end(), random);
    double loss = 0;
    for (size_t begin = 0; begin < order.size(); begin += options.batch_size) {
      SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
      const std::span<const size_t> batch =
          std::span(order).subspan(begin, std::min<size_t>(options.batch_size, order.size() - begin));
      SampleNegatives(num_items, options.num_negatives, &random, &negatives, &taken);
      drop.resize(batch.size());
      for (uint8_t& d : drop) d = uniform(random) < options.long_term_dropout ? 1 : 0;
      const bool drops = options.event_dropout > 0 || options.dropout > 0;
      const internal::FitDropout dropout{options.event_dropout, options.dropout, drops ? random() : 0};
      const internal::NegativeSample sample = internal::GatherNegatives(*model, negatives);
      pieces.resize((batch.size() + kExamplesPerPiece - 1) / kExamplesPerPiece);
      ForPieces(pool, batch.size(), kExamplesPerPiece, [&](size_t b, size_t e, size_t worker) {
        internal::ComputePiece(*model, training, batch.subspan(b, e - b), std::span(drop).subspan(b, e - b),
                               dropout, sample, options.max_events, 1.0f / static_cast<float>(batch.size()),
                               &scratch[worker], &pieces[b / kExamplesPerPiece]);
      });

      // Reduced in order of the pieces, so that the result does not depend on the number of threads.
      d_items.Clear();
      d_inputs.Clear();
      internal::PieceGradient& total = pieces[0];
      for (size_t p = 0; p < pieces.size(); ++p) {
        const internal::PieceGradient& piece = pieces[p];
        loss += piece.loss;
        for (size_t e = 0; e < piece.targets.size(); ++e) {
          auto row = d_items.Row(piece.targets[e]);
          row.head(dim) += piece.d_target[e] * piece.q.row(e);
          row[dim] += piece.d_target[e];
          for (size_t k = piece.slot_begin[e]; k < piece.slot_begin[e + 1]; ++k) {
            const internal::FitSlot& s = piece.slots[k];
            auto input_row = d_inputs.Row(s.item);
            input_row.head(dim) += (s.weight * s.sign) * piece.dq.row(e);
            input_row[dim] += s.d_logit;
          }
        }
        for (size_t n = 0; n < negatives.size(); ++n) {
          auto row = d_items.Row(negatives[n]);
          row.head(dim) += piece.d_negatives.row(n);
          row[dim] += piece.d_negative_bias[n];
        }
        if (p == 0) continue;
        total.class_logits += piece.class_logits;
        total.position_logits += piece.position_logits;
        total.recency_logits += piece.recency_logits;
        total.long_term_logit += piece.long_term_logit;
        total.long_term_scale += piece.long_term_scale;
      }

      const uint64_t step = ++optimizer.step;
      const float rate = options.learning_rate, logit_rate = options.logit_learning_rate;
      ForPieces(pool, d_items.rows().size(), 128, [&](size_t b, size_t e, size_t) {
        for (size_t k = b; k < e; ++k) {
          const uint32_t row = d_items.rows()[k];
          const auto values = d_items.Values(k);
          if (options.train_items) {
            optimizer.items.Update(row, values.head(dim), step, rate, options.weight_decay,
                                   model->items.row(row));
          }
          optimizer.bias.Update(row, values.tail(1), step, rate * 2, 0, model->bias.row(row));
        }
      });
      ForPieces(pool, d_inputs.rows().size(), 128, [&](size_t b, size_t e, size_t) {
        for (size_t k = b; k < e; ++k) {
          const uint32_t row = d_inputs.rows()[k];
          const auto values = d_inputs.Values(k);
          optimizer.inputs.Update(row, values.head(dim), step, rate, options.weight_decay,
                                  model->inputs.row(row));
          optimizer.item_logits.Update(row, values.tail(1), step, rate * 2, options.weight_decay,
                                       model->item_logits.row(row));
        }
      });
      const bool is_last = begin + batch.size() == order.size();
      if (options.train_items) item_steps.Update(d_items, is_last, rate, pool, &model->items);
      input_steps.Update(d_inputs, is_last, rate, pool, &model->inputs);
      optimizer.class_logits.Update(0, total.class_logits.transpose(), step, logit_rate, 0,
                                    model->class_logits.transpose());
      optimizer.position_logits.Update(0, total.position_logits.transpose(), step, logit_rate, 0,
                                       model->position_logits.transpose());
      optimizer.recency_logits.Update(0, total.recency_logits.transpose(), step, logit_rate, 0,
                                      model->recency_logits.transpose());
      // The scale is learned relative to itself, since its size is that of the tables.
      Eigen::RowVector2f scalars(model->long_term_logit, 0);
      const Eigen::RowVector2f d_scalars(total.long_term_logit,
                                         total.long_term_scale * model->long_term_scale);
      optimizer.scalars.Update(0, d_scalars, step, logit_rate, 0, scalars);
      model->long_term_logit = scalars[0];
      model->long_term_scale *= std::exp(scalars[1]);
      if (options.average_decay > 0 && (is_last || step - steps_of_mean >= kStepsOfMean)) {
        const auto steps = static_cast<double>(step - steps_of_mean);
        MoveMean(*model, static_cast<float>(std::pow(double{options.average_decay}, steps)), &mean);
        steps_of_mean = step;
      }
    }
    result.epochs = epoch;
    loss /= static_cast<double>(order.size());
    if (!std::isfinite(loss))
      return absl::InternalError(absl::StrCat("attention fit diverged in epoch ", epoch));
    if (!validate) {
      progress->Step(epoch, absl::StrFormat("loss %.4f", loss));
      continue;
    }
    const AttentionModel& judged = options.average_decay > 0 ? mean : *model;
    const double ndcg = ValidationNdcg(judged, validation, options.max_events, pool);
    result.curve.push_back({absl::ToDoubleSeconds(absl::Now() - begin_time), epoch, ndcg});
    progress->Step(epoch, absl::StrFormat("loss %.4f, validation NDCG@10 %.4f", loss, ndcg));
    if (ndcg > result.validation_ndcg) {
      result.validation_ndcg = ndcg;
      best = judged;
      best_epoch = epoch;
    }
    if (epoch - best_epoch >= options.patience) break;
  }
  progress->End();
  if (validate) {
    *model = std::move(best);
    result.epochs = best_epoch;
  } else if (options.average_decay > 0) {
    *model = std::move(mean);
  }
  return result;
}

}  // namespace swiftlet

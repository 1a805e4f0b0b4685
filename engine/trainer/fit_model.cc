#include "engine/trainer/fit_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "Eigen/Cholesky"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/attention.h"
#include "engine/trainer/attention_gradient.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/stale_prefixes.h"

namespace swiftlet {
namespace {

// Of the attention fit, unless given. Short histories are soon known by heart.
constexpr float kEventDropout = 0.1f, kDropout = 0.2f, kDropoutOfShort = 0.5f;
// The running mean of the parameters looks back over about two epochs, but no more steps than this.
constexpr size_t kMaxStepsOfMean = 500;

float ChooseAverageDecay(size_t num_examples, const AttentionFitOptions& options) {
  const size_t steps = 2 * ((num_examples + options.batch_size - 1) / options.batch_size);
  return 1 - 1 / static_cast<float>(std::clamp<size_t>(steps, 1, kMaxStepsOfMean));
}

constexpr double kMeanStaleness = 1;  // events

// Before the fit, the softmax needs scores on a scale where it can tell items apart: tries powers of two as
// the factor on uniform attention's scores, then shares the best one out so that x and v have equal mean
// norms.
void ScaleTables(const FitInput& input, const AttentionFitOptions& options, AttentionModel* model) {
  if (input.examples.empty()) return;
  std::vector<size_t> batch;
  const size_t step = std::max<size_t>(1, input.examples.size() / 1000);
  for (size_t e = 0; e < input.examples.size(); e += step) batch.push_back(e);
  std::vector<uint32_t> negatives;
  std::mt19937_64 random(options.seed);
  for (size_t n = 0; n < std::min<size_t>(500, model->items.rows()); ++n) {
    negatives.push_back(static_cast<uint32_t>(random() % static_cast<uint64_t>(model->items.rows())));
  }
  std::sort(negatives.begin(), negatives.end());
  negatives.erase(std::unique(negatives.begin(), negatives.end()), negatives.end());
  AttentionModel trial = *model;
  float best_scale = 1;
  double best_loss = INFINITY;
  for (float scale = 1; scale < 4096; scale *= 2) {
    trial.inputs = model->inputs * scale;
    trial.long_term_scale = scale;
    const double loss = AttentionLoss(trial, input, batch, negatives, options.max_events, nullptr);
    if (loss < best_loss) {
      best_loss = loss;
      best_scale = scale;
    }
  }
  const float item_norm = model->items.norm(), input_norm = model->inputs.norm() * best_scale;
  if (!(item_norm > 0) || !(input_norm > 0)) return;
  const float balance = std::sqrt(input_norm / item_norm);
  model->items *= balance;
  model->inputs *= best_scale / balance;
  model->long_term_scale = best_scale / balance;
}

// Marks each user's last unmarked event of an item that is new to the user, where there is one before it, and
// what comes after it.
std::vector<bool> MarkLast(const Dataset& data, const std::vector<bool>& skip,
                           std::vector<size_t>* last_of_user) {
  std::vector<bool> marked = skip;
  marked.resize(data.events.size(), false);
  const std::vector<bool> repeated = MarkRepeated(data);
  for (size_t u = 0; u < data.num_users(); ++u) {
    const size_t begin = data.user_begin[u], end = data.user_begin[u + 1];
    size_t last = begin;  // the first one is no event to hold out
    for (size_t e = begin + 1; e < end; ++e) {
      if (!marked[e] && !repeated[e]) last = e;
    }
    if (last == begin) continue;
    for (size_t e = last; e < end; ++e) marked[e] = true;
    last_of_user->push_back(last);
  }
  return marked;
}

// Gives every type of the table a class; see FittedModel::classes. events_of_class: how many events were
// fitted to, by class so far.
void AddUnseenTypes(const Dataset& data, const std::vector<uint64_t>& events_of_class, FittedModel* model) {
  VectorF& logits = model->attention.class_logits;
  double num_events = 0, logit_sum = 0, weight_sum = 0;
  std::set<EventTypeId> seen;
  for (size_t c = 0; c < events_of_class.size(); ++c) {
    if (events_of_class[c] == 0) continue;
    const auto n = static_cast<double>(events_of_class[c]);
    const EventType* type = data.event_types.FindById(model->classes[c].type);
    seen.insert(model->classes[c].type);
    num_events += n;
    logit_sum += n * logits[static_cast<Eigen::Index>(c)];
    weight_sum += n * (type != nullptr ? std::fabs(type->weight) : 1.0);
  }
  const double mean_logit = num_events > 0 ? logit_sum / num_events : 0;
  const double mean_weight = num_events > 0 ? weight_sum / num_events : 1;
  model->mean_class_logit = static_cast<float>(mean_logit);
  for (const EventType& type : data.event_types.types()) {
    if (seen.contains(type.id)) continue;
    model->unseen_types.push_back(type.id);
    const float prior = PriorClassLogit(type.weight, mean_logit, mean_weight);
    bool has_class = false;  // of events that were not fitted to
    for (size_t c = 0; c < events_of_class.size(); ++c) {
      if (model->classes[c].type != type.id) continue;
      has_class = true;
      logits[static_cast<Eigen::Index>(c)] = prior;
    }
    if (has_class) continue;
    const float sign = type.weight < 0 ? -1.0f : 1.0f;
    model->classes.push_back({type.id, -std::numeric_limits<float>::infinity(), sign});
    const auto size = static_cast<Eigen::Index>(model->classes.size());
    logits.conservativeResize(size);
    logits[size - 1] = prior;
    model->attention.class_signs.conservativeResize(size);
    model->attention.class_signs[size - 1] = sign;
  }
}

// Fits to the events that `marked` does not mark, for `epochs`, or where that is 0, until validation on
// `held_out` says so.
absl::StatusOr<FittedModel> FitMarked(const Dataset& data, const std::vector<bool>& marked,
                                      std::span<const size_t> held_out, uint32_t epochs,
                                      const FitOptions& options, ThreadPool* pool, Progress* progress) {
  const absl::Time begin = absl::Now();
  FittedModel result;
  result.classes = MakeEventClasses(data, options.value_edges);
  std::vector<uint32_t> event_classes;
  event_classes.reserve(data.events.size());
  for (const TrainingEvent& e : data.events)
    event_classes.push_back(ClassOfEvent(result.classes, e.type, e.value));

  AttentionFitOptions attention = options.attention;
  if (attention.event_dropout < 0) attention.event_dropout = kEventDropout;
  if (attention.dropout < 0) {
    const double mean_events =
        static_cast<double>(data.events.size()) / static_cast<double>(std::max<size_t>(1, data.num_users()));
    attention.dropout = mean_events < kLongHistory ? kDropoutOfShort : kDropout;
  }
  if (epochs != 0) attention.max_epochs = epochs;

  const SparseRows positives = MakePositives(data, result.classes, marked);
  AlsOptions als_options = options.als;
  if (als_options.lambda == 0) {
    const double pairs = static_cast<double>(std::max<size_t>(1, positives.columns.size()));
    const double unobserved =
        als_options.alpha0 * static_cast<double>(data.num_users()) * static_cast<double>(data.num_items());
    als_options.lambda = static_cast<float>(0.012 * std::sqrt(pairs / (pairs + unobserved)));
  }
  result.als_lambda = als_options.lambda;
  SWIFTLET_ASSIGN_OR_RETURN(AlsModel als, TrainAls(positives, data.num_items(), als_options, pool, progress));
  result.als_loss = als.loss;
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());

  // A user's marked events are the last ones, so that the events before an example's are never marked.
  const std::vector<FitExample> examples = MakeExamples(data, result.classes, marked, attention);
  if (attention.average_decay < 0) attention.average_decay = ChooseAverageDecay(examples.size(), attention);
  std::vector<FitExample> validation_examples;
  const size_t step = std::max<size_t>(1, (held_out.size() + attention.max_validation_users - 1) /
                                              std::max<size_t>(1, attention.max_validation_users));
  for (size_t k = 0; k < held_out.size(); k += step) {
    validation_examples.push_back({data.events[held_out[k]].user, held_out[k]});
  }
  const MatrixF prefixes =
      FoldInStalePrefixes(data, result.classes, als.items, als_options, examples,
                          DrawStaleness(examples.size(), kMeanStaleness, attention.seed), pool);
  const MatrixF validation_prefixes =
      FoldInPrefixes(data, result.classes, als.items, als_options, validation_examples, pool);
  const ItemFeatures features = options.item_features ? MakeItemFeatures(data) : ItemFeatures{};
  result.num_item_features = features.num_features;
  const FitInput training{&data, event_classes, examples, &prefixes, &features};
  const FitInput validation{&data, event_classes, validation_examples, &validation_prefixes};

  AttentionModel& model = result.attention;
  const Eigen::Index dim = als.items.cols();
  const Eigen::Index num_items = als.items.rows();
  model.items = als.items;
  // First order of the fold-in: p = (alpha0 V^T V + r I)^-1 sum_j v_j.
  MatrixF normal = als_options.alpha0 * (als.items.transpose() * als.items);
  const size_t mean_count = data.events.size() / std::max<size_t>(1, data.num_users());
  normal.diagonal().array() += AlsRegularisation(als_options, mean_count, als.items.rows());
  model.inputs = normal.llt().solve(als.items.transpose()).transpose();
  model.inputs *= static_cast<float>(std::max<size_t>(1, std::min<size_t>(mean_count, attention.max_events)));
  // Popularity is most of what a bias learns: start from it.
  model.bias.setZero(num_items);
  for (const uint32_t item : positives.columns) model.bias[item] += 1;
  model.bias = (model.bias.array() + 1).log().matrix();
  model.bias.array() -= model.bias.mean();
  model.bias *= options.attention.initial_bias_scale;
  model.item_logits.setZero(num_items);
  model.class_logits.setZero(static_cast<Eigen::Index>(result.classes.size()));
  model.class_signs.resize(static_cast<Eigen::Index>(result.classes.size()));
  for (size_t c = 0; c < result.classes.size(); ++c) model.class_signs[c] = result.classes[c].sign;
  model.position_logits.setZero(attention.max_events);
  model.recency_logits.setZero(kNumRecencyBuckets);
  ScaleTables(training, attention, &model);
  result.options = attention;
  const double seconds_before = absl::ToDoubleSeconds(absl::Now() - begin);
  SWIFTLET_ASSIGN_OR_RETURN(result.fit,
                            FitAttention(training, validation, attention, pool, progress, &model));
  for (CurvePoint& point : result.fit.curve) point.seconds += seconds_before;

  std::vector<uint64_t> events_of_class(result.classes.size(), 0);
  for (size_t e = 0; e < data.events.size(); ++e) {
    if (marked.empty() || !marked[e]) ++events_of_class[event_classes[e]];
  }
  AddUnseenTypes(data, events_of_class, &result);

  result.als_items = std::move(als.items);
  result.long_term = als.users * model.long_term_scale;
  // Least squares with a little ridge: M = X^T V (V^T V + eps I)^-1.
  MatrixF gram = model.items.transpose() * model.items;
  gram.diagonal().array() += 1e-4f * gram.trace() / static_cast<float>(dim) + 1e-12f;
  const MatrixF cross = model.items.transpose() * model.inputs;  // V^T X
  result.input_map = gram.llt().solve(cross).transpose();
  return result;
}

}  // namespace

float PriorClassLogit(float weight, double mean_logit, double mean_weight) {
  return static_cast<float>(mean_logit + std::log(std::fabs(weight) / mean_weight));
}

absl::StatusOr<FittedModel> FitModel(const Dataset& data, const std::vector<bool>& skip, uint32_t epochs,
                                     const FitOptions& options, ThreadPool* pool, Progress* progress) {
  std::vector<size_t> held_out;
  const std::vector<bool> marked = epochs == 0 ? MarkLast(data, skip, &held_out) : skip;
  return FitMarked(data, marked, held_out, epochs, options, pool, progress);
}

absl::StatusOr<FittedModel> FitModelWithValidation(const Dataset& data,
                                                   std::span<const size_t> validation_events,
                                                   const FitOptions& options, ThreadPool* pool,
                                                   Progress* progress) {
  std::vector<bool> marked(data.events.size(), false);
  for (const size_t e : validation_events) marked[e] = true;
  return FitMarked(data, marked, validation_events, 0, options, pool, progress);
}

}  // namespace swiftlet

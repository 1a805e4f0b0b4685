#include "engine/trainer/attention_gradient.h"

#include <algorithm>
#include <cmath>

#include "engine/encoders/attention.h"
#include "engine/trainer/linear_algebra.h"

namespace swiftlet {
namespace internal {
namespace {

constexpr float kMasked = -1e30f;

// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
uint64_t NextRandom(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
bool IsDropped(float rate, uint64_t* state) {
  return static_cast<double>(NextRandom(state) >> 11) * 0x1p-53 < double{rate};
}

// Leaves out events; the newest of those stays where all would go.
void DropEvents(float rate, uint64_t* state, std::vector<FitSlot>* slots) {
  if (rate <= 0 || slots->empty()) return;
  const FitSlot newest = slots->front();
  slots->erase(
      std::remove_if(slots->begin(), slots->end(), [&](const FitSlot&) { return IsDropped(rate, state); }),
      slots->end());
  if (slots->empty()) slots->push_back(newest);
}

}  // namespace

void CollectSlots(const FitInput& input, const FitExample& example, uint32_t max_events,
                  const AttentionModel& model, std::vector<FitSlot>* slots) {
  slots->clear();
  const Dataset& data = *input.data;
  const size_t first = data.user_begin[example.user];
  const int64_t newest_ms = example.event > first ? data.events[example.event - 1].timestamp_ms : 0;
  for (size_t e = example.event; e-- > first && slots->size() < max_events;) {
    FitSlot slot;
    slot.item = data.events[e].item;
    slot.event_class = input.event_classes[e];
    slot.position = static_cast<uint32_t>(slots->size());
    slot.recency = RecencyBucket(newest_ms - data.events[e].timestamp_ms);
    slot.sign = model.class_signs[slot.event_class];
    slots->push_back(slot);
  }
}

float ForwardAttention(const AttentionModel& model, const float* long_term, std::vector<FitSlot>* slots,
                       float* q) {
  const Eigen::Index dim = model.items.cols();
  float max_logit = long_term != nullptr ? model.long_term_logit : kMasked;
  for (FitSlot& s : *slots) {
    const uint32_t position =
        std::min<uint32_t>(s.position, static_cast<uint32_t>(model.position_logits.size()) - 1);
    s.weight = model.class_logits[s.event_class] + model.position_logits[position] +
               model.recency_logits[s.recency] + model.item_logits[s.item];
    max_logit = std::max(max_logit, s.weight);
  }
  float long_term_weight = long_term != nullptr ? std::exp(model.long_term_logit - max_logit) : 0.0f;
  float sum = long_term_weight;
  for (FitSlot& s : *slots) sum += s.weight = std::exp(s.weight - max_logit);
  long_term_weight /= sum;
  Eigen::Map<VectorF> out(q, dim);
  if (long_term != nullptr) {
    out = (long_term_weight * model.long_term_scale) * Eigen::Map<const VectorF>(long_term, dim);
  } else {
    out.setZero();
  }
  for (FitSlot& s : *slots) {
    s.weight /= sum;
    out += (s.weight * s.sign) * model.inputs.row(s.item).transpose();
  }
  return long_term_weight;
}

NegativeSample GatherNegatives(const AttentionModel& model, std::span<const uint32_t> rows) {
  NegativeSample sample;
  sample.rows = rows;
  sample.vectors.resize(static_cast<Eigen::Index>(rows.size()), model.items.cols());
  sample.bias.resize(static_cast<Eigen::Index>(rows.size()));
  for (size_t n = 0; n < rows.size(); ++n) {
    sample.vectors.row(n) = model.items.row(rows[n]);
    sample.bias[n] = model.bias[rows[n]];
  }
  sample.log_weight = std::log(static_cast<float>(model.items.rows()) / static_cast<float>(rows.size()));
  return sample;
}

void ComputePiece(const AttentionModel& model, const FitInput& input, std::span<const size_t> examples,
                  std::span<const uint8_t> drop_long_term, const FitDropout& dropout,
                  const NegativeSample& negatives, uint32_t max_events, float scale, GradientScratch* scratch,
                  PieceGradient* g) {
  const Dataset& data = *input.data;
  const Eigen::Index dim = model.items.cols();
  const Eigen::Index count = static_cast<Eigen::Index>(examples.size());
  scratch->seen.resize(data.num_items(), 0);
  g->loss = 0;
  g->slots.clear();
  g->slot_begin.assign(1, 0);
  g->targets.clear();
  g->q.resize(count, dim);
  g->d_target.resize(count);
  g->class_logits.setZero(model.class_logits.size());
  g->position_logits.setZero(model.position_logits.size());
  g->recency_logits.setZero(model.recency_logits.size());
  g->long_term_logit = g->long_term_scale = 0;

  if (dropout.values > 0) scratch->mask.resize(count, dim);
  const auto long_term_of = [&](Eigen::Index e) -> const float* {
    if (!drop_long_term.empty() && drop_long_term[e] != 0) return nullptr;
    return input.long_term->row(examples[e]).data();
  };
  std::vector<float> long_term_weights(examples.size());
  for (Eigen::Index e = 0; e < count; ++e) {
    const FitExample& example = input.examples[examples[e]];
    g->targets.push_back(data.events[example.event].item);
    CollectSlots(input, example, max_events, model, &scratch->slots);
    uint64_t random = dropout.seed + examples[e] * 0xd1b54a32d192ed03ULL;
    DropEvents(dropout.events, &random, &scratch->slots);
    long_term_weights[e] = ForwardAttention(model, long_term_of(e), &scratch->slots, g->q.row(e).data());
    if (dropout.values > 0) {
      const float kept = 1 / (1 - dropout.values);
      auto mask = scratch->mask.row(e);
      for (Eigen::Index i = 0; i < dim; ++i) mask[i] = IsDropped(dropout.values, &random) ? 0.0f : kept;
      g->q.row(e).array() *= mask.array();
    }
    g->slots.insert(g->slots.end(), scratch->slots.begin(), scratch->slots.end());
    g->slot_begin.push_back(g->slots.size());
  }

  // Softmax over the sample and the target. Items of the history are no negatives: they are never ranked.
  MatrixF scores;
  MultiplyByTransposeInto(g->q, negatives.vectors, &scores);
  scores.rowwise() += (negatives.bias.array() + negatives.log_weight).matrix().transpose();
  for (Eigen::Index e = 0; e < count; ++e) {
    const FitExample& example = input.examples[examples[e]];
    const uint32_t stamp = ++scratch->stamp;
    for (size_t k = data.user_begin[example.user]; k <= example.event; ++k)
      scratch->seen[data.events[k].item] = stamp;
    auto row = scores.row(e);
    for (size_t n = 0; n < negatives.rows.size(); ++n) {
      if (scratch->seen[negatives.rows[n]] == stamp) row[n] = kMasked;
    }
    const uint32_t target = g->targets[e];
    const float target_score = g->q.row(e).dot(model.items.row(target)) + model.bias[target];
    const float max_score = std::max(row.maxCoeff(), target_score);
    row = (row.array() - max_score).exp().matrix();
    const float target_exp = std::exp(target_score - max_score);
    const float sum = row.sum() + target_exp;
    g->loss += std::log(sum) + max_score - target_score;
    row *= scale / sum;
    g->d_target[e] = scale * (target_exp / sum - 1.0f);
  }
  MultiplyTransposeInto(scores, g->q, &g->d_negatives);
  g->d_negative_bias = scores.colwise().sum().transpose();
  MultiplyInto(scores, negatives.vectors, &g->dq);

  for (Eigen::Index e = 0; e < count; ++e) {
    auto dq = g->dq.row(e);
    dq += g->d_target[e] * model.items.row(g->targets[e]);
    if (dropout.values > 0) dq.array() *= scratch->mask.row(e).array();
    const float* long_term = long_term_of(e);
    float long_term_dot = 0, mean = 0;
    if (long_term != nullptr) {
      const float raw = dq.dot(Eigen::Map<const VectorF>(long_term, dim));
      g->long_term_scale += long_term_weights[e] * raw;
      long_term_dot = model.long_term_scale * raw;
      mean += long_term_weights[e] * long_term_dot;
    }
    for (size_t k = g->slot_begin[e]; k < g->slot_begin[e + 1]; ++k) {
      FitSlot& s = g->slots[k];
      s.d_logit = s.sign * dq.dot(model.inputs.row(s.item));
      mean += s.weight * s.d_logit;
    }
    if (long_term != nullptr) g->long_term_logit += long_term_weights[e] * (long_term_dot - mean);
    for (size_t k = g->slot_begin[e]; k < g->slot_begin[e + 1]; ++k) {
      FitSlot& s = g->slots[k];
      s.d_logit = s.weight * (s.d_logit - mean);
      g->class_logits[s.event_class] += s.d_logit;
      g->position_logits[std::min<Eigen::Index>(s.position, g->position_logits.size() - 1)] += s.d_logit;
      g->recency_logits[s.recency] += s.d_logit;
    }
  }
}

}  // namespace internal

double AttentionLoss(const AttentionModel& model, const FitInput& input, std::span<const size_t> batch,
                     std::span<const uint32_t> negatives, uint32_t max_events, AttentionGradient* gradient) {
  const ScopedBlasThreads one(1);
  internal::GradientScratch scratch;
  internal::PieceGradient piece;
  const internal::NegativeSample sample = internal::GatherNegatives(model, negatives);
  internal::ComputePiece(model, input, batch, {}, {}, sample, max_events,
                         1.0f / static_cast<float>(batch.size()), &scratch, &piece);
  if (gradient != nullptr) {
    gradient->items.setZero(model.items.rows(), model.items.cols());
    gradient->inputs.setZero(model.items.rows(), model.items.cols());
    gradient->bias.setZero(model.items.rows());
    gradient->item_logits.setZero(model.items.rows());
    for (size_t n = 0; n < negatives.size(); ++n) {
      gradient->items.row(negatives[n]) += piece.d_negatives.row(n);
      gradient->bias[negatives[n]] += piece.d_negative_bias[n];
    }
    for (size_t e = 0; e < batch.size(); ++e) {
      gradient->items.row(piece.targets[e]) += piece.d_target[e] * piece.q.row(e);
      gradient->bias[piece.targets[e]] += piece.d_target[e];
      for (size_t k = piece.slot_begin[e]; k < piece.slot_begin[e + 1]; ++k) {
        const internal::FitSlot& s = piece.slots[k];
        gradient->inputs.row(s.item) += (s.weight * s.sign) * piece.dq.row(e);
        gradient->item_logits[s.item] += s.d_logit;
      }
    }
    gradient->class_logits = piece.class_logits;
    gradient->position_logits = piece.position_logits;
    gradient->recency_logits = piece.recency_logits;
    gradient->long_term_logit = piece.long_term_logit;
    gradient->long_term_scale = piece.long_term_scale;
  }
  return piece.loss / static_cast<double>(batch.size());
}

}  // namespace swiftlet

// Fits a content tower (engine/encoders/content_tower.h) to the item tables of a trained model: ridge
// regression of the trained items' vectors and biases on their content, an item of n events weighing
// n / (n + k). The strength of the ridge, k and the scales of the feature blocks are chosen on a random fifth
// of the trained items, to explain their scores; then, on items that are treated as new, how much of what
// content says is believed (content_calibration.h), and a shift of the biases with which such items are
// recommended as often as they were picked.
#ifndef SWIFTLET_ENGINE_TRAINER_CONTENT_FIT_H_
#define SWIFTLET_ENGINE_TRAINER_CONTENT_FIT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/encoders/content_tower.h"
#include "engine/trainer/content_calibration.h"
#include "engine/trainer/content_design.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {

// Trained items, all borrowed. N items, of `dim`.
struct ContentTargets {
  uint32_t dim = 0;
  std::span<const std::string> item_ids;    // [N]
  std::span<const float> vectors;           // [N, dim]
  std::span<const float> input_vectors;     // [N, dim] or empty
  std::span<const float> bias;              // [N] or empty
  std::span<const float> attention_logits;  // [N] or empty
  std::span<const float> popularity;        // [N]: events; items without any are not fitted to
  // Errors count by what they do to the scores of these users.
  ContentUsers users = {};
  // [N] or empty: items to choose scales and shift on, best those that came last. Empty: a fifth of the
  // items, drawn at random.
  std::vector<bool> held_out = {};
  // The part of the events, while the held-out items were new, that they had. 0: the part of all events.
  double held_out_share = 0;
};

struct ContentFitOptions {
  uint32_t hash_bits = 17;
  uint32_t min_items = 2;         // a bucket gets a row where so many items have it
  uint32_t max_items = 200'000;   // the most popular ones are fitted to
  uint32_t max_choices = 20'000;  // items to choose on
  bool calibrate = true;          // scale what content says, shift the biases
  uint64_t seed = 1;
};

struct FittedContent {
  ContentTowerData tower;
  size_t num_items = 0;  // fitted to
  // Of the variance over held-out items, popular ones counting more, the part that the tower explains: of
  // scores (without biases), and of biases. 0 where too few items could be held out.
  double score_r2 = 0, bias_r2 = 0;
  ContentScales scales;
  uint64_t num_picks = 0;     // that they were chosen on
  double log_likelihood = 0;  // FittedScales::log_likelihood
  // What was added to biases; the share of the first 20 recommendations that held-out items got with it, and
  // without.
  float bias_shift = 0;
  double share = 0, share_before = 0;
  std::string choices;  // for people
};

// content: [N], of the targets' items. INVALID_ARGUMENT where sizes do not fit; FAILED_PRECONDITION where
// fewer than two items with events have content, or no feature is shared; CANCELLED when interrupted.
absl::StatusOr<FittedContent> FitContent(const ContentTargets& targets, std::span<const ItemContent> content,
                                         std::span<const ExternalVectors> externals,
                                         const ContentFitOptions& options, ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONTENT_FIT_H_

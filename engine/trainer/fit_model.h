// The whole fit, from a data set to the parameters of a snapshot: iALS, then the attention encoder.
#ifndef SWIFTLET_ENGINE_TRAINER_FIT_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_FIT_MODEL_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/manifest.h"
#include "engine/trainer/als.h"
#include "engine/trainer/attention_fit.h"
#include "engine/trainer/dataset.h"

namespace swiftlet {

// Histories of fewer events on average are short: what suits them differs (attention's and the transformer's
// dropout, the transformer's blocks and the correction of its sample).
inline constexpr double kLongHistory = 30;

// als.lambda of 0: 0.012 sqrt(share), where share = pairs / (pairs + alpha0 * users * items) is that of the
// positives in the objective's weights. The best fixed values grow with the share, but slower: on sparse data
// the sum over unobserved pairs alone keeps the factors small, and a lambda that suits dense data makes them
// collapse.
struct FitOptions {
  AlsOptions als;
  AttentionFitOptions attention;
  std::vector<ValueEdges> value_edges;
  RowType row_type = RowType::kFloat32;  // what the snapshot stores; the fit itself is in float32
  bool item_features = true;  // learns a vector for what items share (item_features.h), where it is known
};

struct FittedModel {
  AttentionModel attention;
  MatrixF als_items;  // [N, dim]: the plain iALS item factors
  MatrixF long_term;  // [users, dim]: iALS user factors, scaled for the encoder's long-term slot
  MatrixF input_map;  // [dim, dim]: M of x = M v, the least-squares map over the items
  // Of every type of the data's event type table, so that no event that a server accepts goes unused: first
  // the classes that MakeEventClasses found, then one for each type without events.
  std::vector<EventClass> classes;
  // Types that no event was fitted to (their ids, ascending). Nothing was learned about them; the class logit
  // of each is the prior of PriorClassLogit.
  std::vector<EventTypeId> unseen_types;
  float mean_class_logit = 0;  // of the events fitted to
  FitResult fit;
  double als_loss = 0;
  float als_lambda = 0;  // that was used
  size_t num_item_features = 0;
  AttentionFitOptions options;  // that were used, nothing being left to choose
};

// The class logit of a type that nothing was learned about: mean_logit + log(|weight| / mean_weight), means
// over the events fitted to. A type of twice their mean |weight| thus gets twice the attention of their
// average event, other things equal.
float PriorClassLogit(float weight, double mean_logit, double mean_weight);

// Fits to the events of `data` that `skip` does not mark (empty: none); a user's marked events must be their
// last ones. Marked events serve nothing but the edges of value classes. epochs: of the attention fit; 0
// finds the number by early stopping, on the last event (that is not marked) of every user who has two or
// more, and the model is then fitted without those events: call again with the number found.
absl::StatusOr<FittedModel> FitModel(const Dataset& data, const std::vector<bool>& skip, uint32_t epochs,
                                     const FitOptions& options, ThreadPool* pool, Progress* progress);

// The same with given events to validate with, each the last one of its user: early stopping on them, nothing
// is fitted to them, and what comes back is the best epoch's model.
absl::StatusOr<FittedModel> FitModelWithValidation(const Dataset& data,
                                                   std::span<const size_t> validation_events,
                                                   const FitOptions& options, ThreadPool* pool,
                                                   Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_FIT_MODEL_H_

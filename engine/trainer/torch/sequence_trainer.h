// Trains a transformer on next events, from sequences of items to its parameters.
//
//   SequenceFitOptions options{.shape = {.num_items = data.num_items, ...}};
//   SWIFTLET_ASSIGN_OR_RETURN(SequenceModel model, FitSequenceModel(data, validation, options, pool,
//   progress));
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_TRAINER_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_TRAINER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/thread_pool.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/torch/sampled_loss.h"
#include "engine/trainer/torch/sequence_data.h"
#include "engine/trainer/torch/sequence_shape.h"

namespace swiftlet {

struct SequenceFitOptions {
  SequenceShape shape;
  LossOptions loss;
  float dropout = 0.2f;
  float learning_rate = 0.001f, beta1 = 0.9f, beta2 = 0.98f, weight_decay = 0;
  // The model that is kept is a running mean of the steps' parameters, of this share of the old mean at each
  // step; 0: the parameters themselves.
  float average_decay = 0;
  size_t batch_users = 128;
  uint32_t max_epochs = 200;
  uint32_t patience = 20;  // epochs without a better validation NDCG@10 before the fit stops
  uint64_t seed = 1;
  size_t pieces = 1;  // of a batch, for as many threads; part of what the result is a function of
  // File that the state is kept in: about this often, when the fit is interrupted, and at its end. A fit of
  // the same data and options goes on from it, also in the middle of an epoch, to the result that it would
  // have had. Empty: none. `<file>.csv` gets a line for each epoch.
  std::string checkpoint;
  double checkpoint_seconds = 20;  // 0: at the end of each epoch
  // Steps move all rows of the tables, or those that a batch touched. Not given: by the tables' size (tests
  // give it).
  std::optional<bool> dense_tables = {};
  uint64_t memory_limit = 0;  // bytes that a fit may take; 0: MemoryLimit()
};

struct EpochRecord {
  uint32_t epoch = 0;
  double loss = 0;  // mean over the predicted events
  double validation_ndcg = 0;
  double seconds = 0;  // since the fit began, over all its runs
};

struct SequenceModel {
  SequenceShape shape;
  std::vector<float> values;  // as TransformerParameters(shape) lays them out
  uint32_t epochs = 0;        // of the best model
  double validation_ndcg = 0;
  std::vector<EpochRecord> curve;
};

// Bytes that a fit needs at its peak, besides `data`: estimated from above.
uint64_t SequenceFitBytes(const SequenceData& data, const SequenceFitOptions& options);

// With validation: until NDCG@10 stops to grow, returning the best epoch's model; without: exactly
// max_epochs. pool may be null. CANCELLED when interrupted; the checkpoint then holds all that
// was done. FAILED_PRECONDITION for a checkpoint of other data or options, RESOURCE_EXHAUSTED where
// memory is short.
absl::StatusOr<SequenceModel> FitSequenceModel(const SequenceData& data,
                                               std::span<const SequenceTarget> validation,
                                               const SequenceFitOptions& options, ThreadPool* pool,
                                               Progress* progress);

// Vectors of users after their newest events, [users.size(), dim].
std::vector<float> EncodeSequences(const SequenceShape& shape, std::span<const float> values,
                                   const SequenceData& data, std::span<const uint32_t> users,
                                   ThreadPool* pool);

// Mean NDCG@10 over `targets`.
double SequenceNdcg(const SequenceShape& shape, std::span<const float> values, const SequenceData& data,
                    std::span<const SequenceTarget> targets, ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_TRAINER_H_

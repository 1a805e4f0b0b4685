// Kind "transformer": from events to a snapshot with a transformer encoder (engine/encoders/transformer.h).
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_MODEL_H_

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/torch/sequence_data.h"
#include "engine/trainer/torch/sequence_trainer.h"

namespace swiftlet {

// Fills what the options leave to the data:
//   max_length   the length that holds 98 % of the sequences whole, from 10 to 200
//   blocks       1, or 2 where a sequence has 30 events or more on average, cut at max_length
//   dropout      0.2
//   batch_users  128, or as many as have about 3,600 events together where these are fewer
// threads: of the machine; dim: of the vectors.
SequenceFitOptions ChooseFit(const SequenceData& data, const TransformerOptions& options, uint32_t dim,
                             size_t threads);

// Classes of events as the snapshot lists them: `classes`, then one for each type of the table without
// events. The encoder does not look at events of types that nothing was learned about and that count against
// items.
struct TransformerClasses {
  std::vector<EventClass> classes;
  std::vector<float> used;     // [classes]: 0 or 1
  std::vector<float> vectors;  // [classes, dim] or empty
  uint32_t context_class = 0;  // the most frequent one that counts for items
};
// vectors: [classes.size(), dim], or empty.
TransformerClasses DescribeClasses(const Dataset& data, std::span<const EventClass> classes,
                                   std::span<const float> vectors, size_t dim);

// As model_trainer.h says of a kind. With options.epochs of 0 and no validation given, the last events of the
// users choose the number of epochs, and the model is then fitted to all events.
absl::StatusOr<TrainedModel> TrainTransformer(const TrainingData& training, const TrainingOptions& options,
                                              ThreadPool* pool, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_TRANSFORMER_MODEL_H_

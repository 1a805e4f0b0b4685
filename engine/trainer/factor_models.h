// Kinds of models whose user vector is a weighted sum of the item vectors of the history: PureSVD and NMF.
#ifndef SWIFTLET_ENGINE_TRAINER_FACTOR_MODELS_H_
#define SWIFTLET_ENGINE_TRAINER_FACTOR_MODELS_H_

#include "absl/status/statusor.h"
#include "engine/trainer/model_trainer.h"

namespace swiftlet {

// As TrainModel for the kinds "pure-svd" and "nmf". Hyper-parameters that options.chosen does not have are
// chosen by NDCG@10 on the validation users, or, without such users, on a tenth of every user's events, which
// are fitted again afterwards.
absl::StatusOr<TrainedModel> TrainPureSvd(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress);
absl::StatusOr<TrainedModel> TrainNmf(const TrainingData& training, const TrainingOptions& options,
                                      ThreadPool* pool, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_FACTOR_MODELS_H_

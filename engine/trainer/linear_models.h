// Kinds of models with closed forms: iALS served by fold-in; EASE, item-kNN and user-kNN served by
// neighbours.
#ifndef SWIFTLET_ENGINE_TRAINER_LINEAR_MODELS_H_
#define SWIFTLET_ENGINE_TRAINER_LINEAR_MODELS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/model_trainer.h"

namespace swiftlet {

// Classes of every type of the data's table: MakeEventClasses, then one for each type without events.
std::vector<EventClass> ClassesOfAllTypes(const Dataset& data, std::span<const ValueEdges> edges);

// As TrainModel for the kinds "ials", "ease", "item-knn" and "user-knn". Hyper-parameters that options.chosen
// does not have are chosen by NDCG@10 on the validation users, or, without such users, on a tenth of every
// user's events, which are fitted again afterwards.
absl::StatusOr<TrainedModel> TrainIals(const TrainingData& training, const TrainingOptions& options,
                                       ThreadPool* pool, Progress* progress);
absl::StatusOr<TrainedModel> TrainEase(const TrainingData& training, const TrainingOptions& options,
                                       ThreadPool* pool, Progress* progress);
absl::StatusOr<TrainedModel> TrainItemKnn(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress);
absl::StatusOr<TrainedModel> TrainUserKnn(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_LINEAR_MODELS_H_

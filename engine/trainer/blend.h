// A blend of several kinds of models in one snapshot: their encoders side by side, the neighbours of one
// of them, and a weight for each. The score is the weighted sum of the parts' scores, exactly, in the server
// as here.
#ifndef SWIFTLET_ENGINE_TRAINER_BLEND_H_
#define SWIFTLET_ENGINE_TRAINER_BLEND_H_

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/trainer/model_trainer.h"

namespace swiftlet {

// Trains options.blend's kinds and chooses the weights by NDCG@10 on the validation users, from the scores
// that the engine gives the parts' best items; validation as in TrainIals. INVALID_ARGUMENT for fewer than
// two kinds, a blend within a blend, or two kinds that score by neighbours.
absl::StatusOr<TrainedModel> TrainBlend(const TrainingData& training, const TrainingOptions& options,
                                        ThreadPool* pool, Progress* progress);

// The parts, fitted to the same data, as one model. weights: as parts. INVALID_ARGUMENT where more than one
// part has neighbours.
absl::StatusOr<TrainedModel> Combine(std::vector<TrainedModel> parts, std::span<const double> weights);

// One user's candidates for choosing weights.
struct BlendUser {
  std::vector<std::vector<float>> scores;  // by part, then candidate
  std::vector<bool> is_target;             // by candidate
  size_t num_targets = 0;                  // among the candidates or not
};
// Mean NDCG@k of the weighted sums.
double BlendNdcg(std::span<const BlendUser> users, std::span<const double> weights, uint32_t k);
// The weights of the best BlendNdcg@10, by a coordinate search over a logarithmic grid, from equal weights of
// scores that are scaled to standard deviation 1 within a user's candidates. The first with a weight other
// than 0 ends at 1.
std::vector<double> ChooseWeights(std::span<const BlendUser> users, size_t num_parts, double* ndcg);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_BLEND_H_

// What a fit will take, said before it is taken.
#ifndef SWIFTLET_ENGINE_TRAINER_FIT_SIZE_H_
#define SWIFTLET_ENGINE_TRAINER_FIT_SIZE_H_

#include "absl/status/status.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/progress.h"

namespace swiftlet {

// Says how much memory the fit, or that of each part of a blend, and its snapshot will take, for the kinds
// whose size follows from the data's. The others (transformers and neighbours) say it when they know what
// they fit to. RESOURCE_EXHAUSTED, with what would make it smaller, for more than TrainingOptions allow.
absl::Status SaySizes(const Dataset& data, const TrainingOptions& options, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_FIT_SIZE_H_

// The trainer's part that needs libtorch, loaded when a model asks for it: libtorch and what it brings with
// it are some 280 shared libraries and most of a second of every start, and a machine that trains no such
// model can do without.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_LIBRARY_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_LIBRARY_H_

#include "absl/status/statusor.h"
#include "engine/trainer/model_trainer.h"

namespace swiftlet {

// The file's name, beside the program.
inline constexpr char kTorchLibrary[] = "libswiftlet-torch.so";
// Its one function, of type TorchTrainFunction.
inline constexpr char kTorchTrainSymbol[] = "SwiftletTrainWithTorch";
using TorchTrainFunction = void (*)(const TrainingData&, const TrainingOptions&, ThreadPool*, Progress*,
                                    absl::StatusOr<TrainedModel>*);

// Trains options.kind in the library. FAILED_PRECONDITION, saying what to install, where it was not built or
// cannot be loaded. Thread-safe.
absl::StatusOr<TrainedModel> TrainWithTorch(const TrainingData& training, const TrainingOptions& options,
                                            ThreadPool* pool, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_LIBRARY_H_

// What libswiftlet-torch.so exports (engine/trainer/torch_library.h).
#include "engine/trainer/torch/transformer_model.h"
#include "engine/trainer/torch_library.h"

extern "C" [[gnu::visibility("default")]] void SwiftletTrainWithTorch(
    const swiftlet::TrainingData& training, const swiftlet::TrainingOptions& options,
    swiftlet::ThreadPool* pool, swiftlet::Progress* progress, absl::StatusOr<swiftlet::TrainedModel>* model) {
  *model = swiftlet::TrainTransformer(training, options, pool, progress);
}

static_assert(std::is_same_v<decltype(&SwiftletTrainWithTorch), swiftlet::TorchTrainFunction>);

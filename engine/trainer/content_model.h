// Content in a trained model: fits the content tower to it and gives items without events their rows.
#ifndef SWIFTLET_ENGINE_TRAINER_CONTENT_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_CONTENT_MODEL_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "engine/trainer/content_fit.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/progress.h"

namespace swiftlet {

struct ContentOptions {
  bool enabled = true;
  ContentFitOptions fit;
};

// Borrows from the description, or from the data set's of its item `item`.
ItemContent ContentOf(const ItemDescription& item);
ItemContent ContentOf(const Dataset& data, size_t item);

// Sets model->contents.content, fitted to the items of `data` (whose model it is) and their descriptions, and
// appends a row for each of data.unseen_items that the tower knows something about: its vectors, bias and
// attention logit are the tower's, its popularity 0. Says what came of it. Does nothing where items are not
// described or cannot be told apart; CANCELLED when interrupted.
absl::Status AddContent(const Dataset& data, std::span<const ExternalVectors> externals,
                        const ContentOptions& options, ThreadPool* pool, Progress* progress,
                        TrainedModel* model);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONTENT_MODEL_H_

// How a model is trained, chosen and tested on the events that were read: the protocol of an experiment, as
// flags, and the training of one model by it.
#ifndef SWIFTLET_ENGINE_TRAINER_PROTOCOL_H_
#define SWIFTLET_ENGINE_TRAINER_PROTOCOL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/input.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/split.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {

struct ProtocolOptions {
  std::string split = "leave-last-out";  // leave-last-out, leave-one-out, time
  double test_fraction = 0.1;            // for time
  std::string test_events;               // a file of test events: --events is all trained on, no split
  double validation_fraction = 0.1;      // of each user's training events, with test_events; 0: none
};

void AddProtocolFlags(CLI::App* app, ProtocolOptions* options);

struct Protocol {
  std::string name;  // of the split
  Split split;       // what the tested model is fitted to, and the test
  // What the model is chosen by where that is not split.validation: a part of split.train. The chosen model
  // is then fitted anew to all of split.train.
  std::optional<Split> choosing;
};

// Reads the test events where the options name some; says what was split how.
absl::StatusOr<Protocol> MakeProtocol(const ProtocolOptions& options, const InputOptions& input, Dataset data,
                                      uint64_t seed, Progress* progress);

struct TrainedSnapshot {
  std::shared_ptr<const ModelSnapshot> snapshot;
  UserVectors users;
  uint32_t epochs = 0;  // 0 where that means nothing
  // Of the model that was chosen, measured through the engine; absent where the protocol has no validation.
  std::optional<EvaluationResult> validation;
  TrainingCurve curve;       // of the model that was chosen
  double train_seconds = 0;  // of all fits, without evaluation
  struct Part;
  std::vector<Part> parts;  // of a blend, with TrainingOptions::keep_parts
};
struct TrainedSnapshot::Part {
  std::string kind;
  TrainedSnapshot snapshot;
  std::unique_ptr<ScopedDirectory> directory;  // that it was loaded from
};

// Trains by the protocol, writes the snapshot into `directory` (which exists) and loads it from there.
absl::StatusOr<TrainedSnapshot> TrainByProtocol(const Protocol& protocol, const TrainingOptions& options,
                                                const EvaluationOptions& validate_with,
                                                const std::string& directory, ThreadPool* pool,
                                                Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_PROTOCOL_H_

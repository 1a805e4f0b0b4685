// Kinds of models that the trainer can fit, behind one function: from events to what a snapshot holds.
//
//   TrainingOptions options{.kind = "attention"};
//   SWIFTLET_ASSIGN_OR_RETURN(TrainedModel model, TrainModel({.data = &split.train}, options, pool,
//   progress)); SWIFTLET_RETURN_IF_ERROR(WriteTrainedModel(directory, model, split.train, version, now_ms));
#ifndef SWIFTLET_ENGINE_TRAINER_MODEL_TRAINER_H_
#define SWIFTLET_ENGINE_TRAINER_MODEL_TRAINER_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/thread_pool.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/fit_model.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/split.h"
#include "engine/trainer/training_curve.h"
#include "engine/trainer/transformer_options.h"

namespace swiftlet {

struct TrainingOptions {
  std::string kind = "attention";  // one of ModelKinds()
  // Passes over the data; 0: as many as validation says (see TrainingData).
  uint32_t epochs = 0;
  uint64_t seed = 1;
  // Kind "attention"; its dim, value edges and rows are those of any kind, its iALS options those of "ials".
  FitOptions attention = {};
  bool als_alpha0_given = false;  // attention.als.alpha0 is what the user wants: "ials" searches for none
  TransformerOptions transformer = {};  // kind "transformer"
  uint32_t neighbours = 200;            // "ease": of an item's column, 0: all; "item-knn": of an item
  std::vector<std::string> blend = {"ials", "ease"};  // kinds that "blend" combines
  bool keep_parts = false;                            // see TrainedModel::parts
  // Values that validation has chosen (TrainedModel::chosen): taken as they are.
  std::map<std::string, double> chosen = {};
  // Kinds that take long keep their state here and go on from it; empty: none.
  std::string checkpoint_dir = {};
  // Bytes that a fit may take; a larger one is RESOURCE_EXHAUSTED before it begins. 0: MemoryLimit().
  uint64_t memory_limit = 0;
};

// All borrowed.
struct TrainingData {
  const Dataset* data = nullptr;  // everything in it is fitted
  // Users to validate on: their histories are events of `data`, their targets are not. Empty: a kind that
  // needs validation holds out the last event of each of the users itself.
  std::span<const TestUser> validation = {};
};

struct TrainedModel {
  // Ids, metadata and tables of data's items; the version, times and embedding space are still to be set.
  SnapshotContents contents;
  MatrixF long_term;                     // [users of data, dim] or empty
  uint32_t epochs = 0;                   // of the best model, to train anew with; 0 where that means nothing
  std::map<std::string, double> chosen;  // hyper-parameters, to train anew with
  double validation_ndcg = 0;            // NDCG@10 of the best epoch; 0 without validation
  // NDCG@10 on validation over time; empty without validation, or where a kind does not iterate.
  TrainingCurve curve;
  // With TrainingOptions::keep_parts, of "blend": what it combines, each a model of its own.
  struct Part;
  std::vector<Part> parts;
};
struct TrainedModel::Part {
  std::string kind;
  TrainedModel model;
  double train_seconds = 0;
};

// The kinds that this build of the trainer knows, the default first.
std::span<const std::string_view> ModelKinds();

// INVALID_ARGUMENT for an unknown kind, with the kinds that there are; CANCELLED when interrupted.
absl::StatusOr<TrainedModel> TrainModel(const TrainingData& training, const TrainingOptions& options,
                                        ThreadPool* pool, Progress* progress);

// The options with which to train the chosen model anew on more data, without validation: what validation has
// chosen (the number of epochs) is kept. Checkpoints go into the subdirectory "refit".
TrainingOptions OptionsForRefit(TrainingOptions options, const TrainedModel& chosen);

// Sets version, times and embedding space, then writes user vectors and snapshot into `directory`.
absl::Status WriteTrainedModel(const std::string& directory, TrainedModel model, const Dataset& data,
                               int64_t version, int64_t now_ms);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_MODEL_TRAINER_H_

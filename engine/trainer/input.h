// What train and evaluate read, as flags.
#ifndef SWIFTLET_ENGINE_TRAINER_INPUT_H_
#define SWIFTLET_ENGINE_TRAINER_INPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/catalog_item.h"
#include "engine/snapshot/manifest.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/fit_model.h"
#include "engine/trainer/load_events.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/progress.h"
#include "storage/records.h"

namespace CLI {
class App;
}

namespace swiftlet {

struct InputOptions {
  EventFileOptions events;  // path empty: no file
  ItemFileOptions items;    // path empty: no file
  std::string data_dir;     // empty: no database
  std::string delimiter;    // "", one character, "tab" or "comma"
  std::string category_separator = "|";
  std::string time_unit = "auto";
};

struct ModelOptions {
  ModelOptions() { training.attention.als.lambda = 0; }
  TrainingOptions training;  // its seed is set by FinishTrainingOptions
  int64_t seed = 1;
  uint32_t threads = 0;  // 0: one for each core
  std::vector<std::string> value_edges;
};

void AddInputFlags(CLI::App* app, InputOptions* options);
// --content-vectors, for external_vectors.h.
void AddContentVectorsFlag(CLI::App* app, std::vector<std::string>* flags);
void AddModelFlags(CLI::App* app, ModelOptions* options);
// --rows
void AddRowsFlag(CLI::App* app, RowType* rows, const std::string& group);

// What a server's database holds besides events.
struct LiveState {
  std::vector<CatalogItem> catalog;
  absl::flat_hash_map<std::string, ErasureRecord> erasures;  // by user
};

// Events of the file first, then those of the log; says what was read and skipped. The database's event
// types, where there is a database, else the default ones. Events of items that were deleted from the
// database's catalogue are left out; with `live`, they stay, and it is filled, so that a server's answers can
// be given.
absl::StatusOr<Dataset> LoadInput(const InputOptions& options, Progress* progress, LiveState* live = nullptr);

// Takes out the vectors of users who were erased after the snapshot of `trained_through_ms` was trained, as a
// server does.
void MaskErasedUsers(const LiveState& live, int64_t trained_through_ms, UserVectors* users);

// Completes options.training (value edges, seeds). INVALID_ARGUMENT for a value out of range.
absl::StatusOr<TrainingOptions> FinishTrainingOptions(const ModelOptions& options,
                                                      const EventTypeTable& event_types);

// A pool for `threads` threads, the calling one included (0: one for each core); null for one.
std::unique_ptr<ThreadPool> MakePool(uint32_t threads);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_INPUT_H_

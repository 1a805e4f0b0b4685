// State of an unfinished fit in one file.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_CHECKPOINT_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/trainer/torch/sequence_trainer.h"

namespace swiftlet {

// All random numbers are functions of the seed, the epoch and the step, so that these are all of the state,
// also within an epoch.
struct FitState {
  std::string fingerprint;             // of the data and options that it belongs to
  std::vector<float> values;           // parameters, in the order of the shape
  std::vector<float> first, second;    // Adam's moments
  std::vector<float> average;          // running mean of the parameters, or empty
  std::vector<float> best;             // parameters of the best epoch, or empty
  uint32_t epoch = 0, best_epoch = 0;  // epochs done
  uint64_t step = 0;                   // batches done
  uint64_t batch = 0;                  // of them, in an epoch that is not done
  double loss_sum = 0;                 // of these, over the predicted events
  double best_ndcg = -1;
  double seconds = 0;
  std::vector<EpochRecord> curve;
};

// Writes `path`.tmp, syncs it, renames it to `path` and syncs the directory: after a crash there is the old
// state or the new one.
absl::Status WriteCheckpoint(const std::string& path, const FitState& state);
// NOT_FOUND when there is none, DATA_LOSS for a file that is none.
absl::StatusOr<FitState> ReadCheckpoint(const std::string& path);
// The curve as CSV, replacing the file in the same way.
absl::Status WriteCurve(const std::string& path, const std::vector<EpochRecord>& curve);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_CHECKPOINT_H_

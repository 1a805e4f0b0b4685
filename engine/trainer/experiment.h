// Several models, trained here or read from snapshots, on one protocol: what evaluate and compare do.
#ifndef SWIFTLET_ENGINE_TRAINER_EXPERIMENT_H_
#define SWIFTLET_ENGINE_TRAINER_EXPERIMENT_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/trainer/input.h"
#include "engine/trainer/model_trainer.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/protocol.h"

namespace swiftlet {

struct Candidate {
  std::string name;          // empty: the kind of the model
  std::string snapshot_dir;  // evaluated as it is; empty: trained with
  ModelOptions model;
  std::string save_dir;  // keeps the trained snapshot in this new directory; empty: does not
};

struct ExperimentOptions {
  std::vector<uint32_t> cutoffs = {10, 20};
  uint32_t max_history = 0;  // see EvaluationOptions
  uint32_t replicates = 1000;
  uint64_t seed = 1;  // of the bootstrap, and of the users that are shown as examples
  uint32_t num_examples = 6;
  // More than 0: also ranks by what is trending, events counting half after as many days.
  double popularity_half_life_days = 0;
  bool with_ratings = true;          // errors of expected ratings, where the events hold ratings
  std::string json_path, html_path;  // empty: not written
  std::map<std::string, std::vector<std::string>> flags = {};  // that were given, for the JSON
};

void AddExperimentFlags(CLI::App* app, ExperimentOptions* options);

// Reads the input, splits it, trains and measures every candidate, the parts of a blend each by itself
// ("blend: ease"), and the baselines (what is popular; for attention also the mean of the history's vectors),
// prints tables to standard output and writes the files.
absl::Status RunExperiment(const InputOptions& input, const ProtocolOptions& protocol,
                           std::span<const Candidate> candidates, const ExperimentOptions& options,
                           uint32_t threads, Progress* progress);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_EXPERIMENT_H_

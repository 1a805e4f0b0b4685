// Results of rankers side by side on one test, and what is said about them: intervals, differences, cohorts.
#ifndef SWIFTLET_ENGINE_TRAINER_RESULTS_H_
#define SWIFTLET_ENGINE_TRAINER_RESULTS_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/trainer/bootstrap.h"
#include "engine/trainer/cohorts.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/training_curve.h"

namespace swiftlet {

struct NamedResult {
  std::string name;
  EvaluationResult result = {};
  double train_seconds = 0;  // 0: was not trained here
  uint32_t epochs = 0;       // 0 where that means nothing
  TrainingCurve curve = {};
  // How its model was fitted: Manifest::training_parameters, the seed among them.
  std::map<std::string, std::string> parameters = {};
  // Its users are not those of the test: no difference to the first result.
  bool is_validation = false;
};

// What is computed once, for the table, the JSON and the report. All by k where a cut-off matters.
struct Analysis {
  std::map<uint32_t, std::array<Interval, kNumUserMetrics>> intervals;
  // To the first result, paired by user; absent for the first one and for validation.
  std::map<uint32_t, std::array<Difference, kNumUserMetrics>> differences;
  std::map<uint32_t, std::vector<Cohort>> by_history, by_popularity;
};

// One for each result. Requires results that evaluated the same cut-offs, and but for validation the same
// test.
std::vector<Analysis> Analyse(std::span<const NamedResult> results, const BootstrapOptions& options);

// Tables for people: accuracy, a row for each result and cut-off; then what lies beyond accuracy, the
// intervals and the differences to the first result.
std::string FormatResults(std::span<const NamedResult> results);
std::string FormatDetails(std::span<const NamedResult> results, std::span<const Analysis> analyses);

// What was run, to run it again.
struct Provenance {
  std::string split, data;  // for people
  // Of the events that were fitted, and of what was known about their items; see dataset.h.
  std::string fingerprint, items_fingerprint;
  uint64_t seed = 0;
  uint32_t threads = 0;
  // Flags that were given, without dashes, and their values.
  std::map<std::string, std::vector<std::string>> flags = {};
};

// Everything in both, as JSON.
std::string ResultsToJson(std::span<const NamedResult> results, std::span<const Analysis> analyses,
                          const Provenance& provenance = {});

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RESULTS_H_

// Quality for groups of users and of items, from one evaluation.
#ifndef SWIFTLET_ENGINE_TRAINER_COHORTS_H_
#define SWIFTLET_ENGINE_TRAINER_COHORTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/trainer/evaluate.h"

namespace swiftlet {

struct Cohort {
  std::string name;    // such as "5-9"
  uint64_t count = 0;  // users, or targets; never 0
  double recall = 0;   // mean over users; of targets: the share that is among the first k
  double ndcg = 0;     // mean over users; of targets: the mean of 1 / log2(rank + 1), 0 beyond k
};

// Users by the number of events in their history (0: cold users). Cohorts without a user are left out.
std::vector<Cohort> CohortsByHistory(const EvaluationResult& result, uint32_t k);

// Targets by the number of training users of the item (0: cold items). Requires that the evaluation had an
// audience. Cohorts without a target are left out.
std::vector<Cohort> CohortsByPopularity(const EvaluationResult& result, uint32_t k);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_COHORTS_H_

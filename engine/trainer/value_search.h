// Searches for values of a model, one name after the other.
#ifndef SWIFTLET_ENGINE_TRAINER_VALUE_SEARCH_H_
#define SWIFTLET_ENGINE_TRAINER_VALUE_SEARCH_H_

#include <functional>
#include <initializer_list>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

using Choice = std::map<std::string, double>;

// The NDCG@10 of a choice; may set further values of it.
using MeasureChoice = std::function<absl::StatusOr<double>(Choice*)>;

// Goes over `values` of one name, beginning with what `best` has where best_ndcg is below 0 (nothing was
// measured yet), and keeps the best. CANCELLED when interrupted.
absl::Status TryValues(const std::string& name, std::initializer_list<double> values,
                       const MeasureChoice& measure, Choice* best, double* best_ndcg);

// From what `best` has now, multiplies one value by `factor`, or where that is worse divides by it, for as
// long as NDCG@10 grows, within [least, most]. A best_ndcg below 0 is measured first. CANCELLED when
// interrupted.
absl::Status Climb(const std::string& name, double factor, double least, double most,
                   const MeasureChoice& measure, Choice* best, double* best_ndcg);

// "alpha0 0.03, lambda 0.003"
std::string Shown(const Choice& choice);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_VALUE_SEARCH_H_

#include "engine/trainer/value_search.h"

#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"

namespace swiftlet {

absl::Status TryValues(const std::string& name, std::initializer_list<double> values,
                       const MeasureChoice& measure, Choice* best, double* best_ndcg) {
  for (const double value : values) {
    Choice choice = *best;
    if (choice[name] == value && *best_ndcg >= 0) continue;
    choice[name] = value;
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    SWIFTLET_ASSIGN_OR_RETURN(const double ndcg, measure(&choice));
    if (ndcg <= *best_ndcg) continue;
    *best_ndcg = ndcg;
    *best = std::move(choice);
  }
  return absl::OkStatus();
}

absl::Status Climb(const std::string& name, double factor, double least, double most,
                   const MeasureChoice& measure, Choice* best, double* best_ndcg) {
  if (*best_ndcg < 0) {
    SWIFTLET_ASSIGN_OR_RETURN(*best_ndcg, measure(best));
  }
  for (const double step : {factor, 1 / factor}) {
    const double from = best->at(name);
    for (;;) {
      const double before = best->at(name), value = before * step;
      if (value < least || value > most) break;
      SWIFTLET_RETURN_IF_ERROR(TryValues(name, {value}, measure, best, best_ndcg));
      if (best->at(name) == before) break;
    }
    if (best->at(name) != from) break;
  }
  return absl::OkStatus();
}

std::string Shown(const Choice& choice) {
  std::string text;
  for (const auto& [name, value] : choice)
    absl::StrAppendFormat(&text, "%s%s %g", text.empty() ? "" : ", ", name, value);
  return text;
}

}  // namespace swiftlet

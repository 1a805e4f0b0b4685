// The report of an experiment as one HTML file that needs nothing else: plots are inline SVG, there is no
// script and no network, and it follows the reader's light or dark setting.
#ifndef SWIFTLET_ENGINE_TRAINER_REPORT_H_
#define SWIFTLET_ENGINE_TRAINER_REPORT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/trainer/results.h"

namespace swiftlet {

struct ExampleItem {
  std::string label;  // title, or id
  bool is_target = false;
};

// One user and what each ranker recommends.
struct ExampleUser {
  std::string user_id;
  std::vector<std::string> history;             // newest first
  uint64_t num_events = 0;                      // of the whole history
  std::vector<ExampleItem> targets;             // is_target: unused
  std::vector<std::vector<ExampleItem>> lists;  // [rankers that are shown], best first
};

struct Report {
  std::string title;
  std::string summary;                     // of the data and the protocol, a sentence or two
  uint32_t k = 10;                         // cut-off of the plots; the table has all
  std::span<const NamedResult> results;    // as for Analyse
  std::span<const Analysis> analyses;      // of the results
  std::vector<std::string> example_names;  // the rankers of ExampleUser::lists
  std::vector<ExampleUser> examples;
};

// All text is escaped; ids and titles that are not UTF-8 come out with replacement characters.
std::string ReportHtml(const Report& report);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_REPORT_H_

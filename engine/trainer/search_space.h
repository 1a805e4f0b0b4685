// What a search over hyper-parameters draws its configurations from.
#ifndef SWIFTLET_ENGINE_TRAINER_SEARCH_SPACE_H_
#define SWIFTLET_ENGINE_TRAINER_SEARCH_SPACE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace swiftlet {

// One flag: either choices, or a range.
struct SearchDimension {
  std::string flag;                  // without its dashes
  std::vector<std::string> choices;  // empty: a range
  double low = 0, high = 0;
  bool logarithmic = false, integer = false;
};

// "learning-rate=0.001:0.02:log", "als-epochs=5:30:int" (both words may follow, with a comma),
// "dim=32,64,128". INVALID_ARGUMENT for another form, an empty range, or a logarithmic one that is not above
// 0.
absl::StatusOr<SearchDimension> ParseSearchDimension(const std::string& text);

// The usual space of a kind; empty for a kind that has none.
std::vector<SearchDimension> DefaultSearchSpace(std::string_view kind);

using Configuration = std::map<std::string, std::string>;  // flag -> value

// The configuration of a trial: a function of its arguments alone, so that a search can be taken up again.
// Trial 0 is empty: the defaults. Every second trial from the fifth on is near `best` (a dimension keeps its
// value with a probability of .4, or moves by a normal step of a fifth of its range); the others are uniform.
Configuration DrawConfiguration(const std::vector<SearchDimension>& space, uint64_t seed, uint32_t trial,
                                const Configuration& best);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_SEARCH_SPACE_H_

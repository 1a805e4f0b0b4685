#include "engine/trainer/search_space.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

struct DefaultSpace {
  std::string_view kind;
  std::vector<const char*> dimensions;
};

const std::vector<DefaultSpace>& DefaultSpaces() {
  static const auto* spaces = new std::vector<DefaultSpace>{
      {"attention",
       {"dim=32,64,128", "learning-rate=0.0005:0.02:log", "num-negatives=128:2048:log,int",
        "als-alpha0=0.03:1:log", "als-lambda=0.0005:0.1:log", "max-events=10,20,50,100"}},
      {"transformer",
       {"dim=32,64,128", "blocks=1,2,3", "dropout=0.05:0.5", "transformer-learning-rate=0.0003:0.003:log",
        "max-length=20,50,100,200"}},
      {"ials",
       {"dim=32,64,128,256", "als-alpha0=0.01:1:log", "als-lambda=0.0002:0.1:log", "als-nu=0:1.2",
        "als-epochs=5:25:int"}},
  };
  return *spaces;
}

// In [0, 1), the same with every standard library.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

double Normal(std::mt19937_64& random) {  // Box and Muller (1958)
  const double u = 1 - Uniform(random), v = Uniform(random);
  return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}

std::string ValueAt(const SearchDimension& d, double share) {
  share = std::clamp(share, 0.0, 1.0);
  const double value = d.logarithmic
                           ? std::exp(std::log(d.low) + share * (std::log(d.high) - std::log(d.low)))
                           : d.low + share * (d.high - d.low);
  return d.integer ? absl::StrCat(std::llround(value)) : absl::StrFormat("%.4g", value);
}

// Where a value lies in its range, 0 to 1; 1/2 where it is no number.
double ShareOf(const SearchDimension& d, const std::string& text) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || (d.logarithmic && value <= 0)) return 0.5;
  const double share = d.logarithmic
                           ? (std::log(value) - std::log(d.low)) / (std::log(d.high) - std::log(d.low))
                           : (value - d.low) / (d.high - d.low);
  return std::clamp(share, 0.0, 1.0);
}

}  // namespace

absl::StatusOr<SearchDimension> ParseSearchDimension(const std::string& text) {
  const auto fail = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat("search dimension \"", text, "\": ", why,
                     "; expected FLAG=LOW:HIGH[:log|:int|:log,int] or FLAG=A,B,.."));
  };
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos) return fail("there is no flag before \"=\"");
  SearchDimension dimension;
  dimension.flag = text.substr(0, equals);
  if (dimension.flag.starts_with("--")) dimension.flag.erase(0, 2);
  const std::string values = text.substr(equals + 1);
  if (values.find(':') == std::string::npos) {
    for (const auto& piece : absl::StrSplit(values, ',')) dimension.choices.emplace_back(piece);
    for (const std::string& choice : dimension.choices) {
      if (choice.empty()) return fail("a choice is empty");
    }
    return dimension;
  }
  const std::vector<std::string> parts = absl::StrSplit(values, ':');
  if (parts.size() > 3) return fail("there are more than three parts");
  if (!absl::SimpleAtod(parts[0], &dimension.low) || !absl::SimpleAtod(parts[1], &dimension.high) ||
      !std::isfinite(dimension.low) || !std::isfinite(dimension.high)) {
    return fail("the range is not two numbers");
  }
  if (parts.size() == 3) {
    for (const auto& word : absl::StrSplit(parts[2], ',')) {
      if (word == "log") {
        dimension.logarithmic = true;
      } else if (word == "int") {
        dimension.integer = true;
      } else {
        return fail("what follows the range is neither \"log\" nor \"int\"");
      }
    }
  }
  if (!(dimension.low < dimension.high)) return fail("the range is empty");
  if (dimension.logarithmic && dimension.low <= 0) return fail("a logarithmic range begins above 0");
  return dimension;
}

std::vector<SearchDimension> DefaultSearchSpace(std::string_view kind) {
  std::vector<SearchDimension> space;
  for (const DefaultSpace& s : DefaultSpaces()) {
    if (s.kind != kind) continue;
    for (const char* text : s.dimensions) space.push_back(*ParseSearchDimension(text));
  }
  return space;
}

Configuration DrawConfiguration(const std::vector<SearchDimension>& space, uint64_t seed, uint32_t trial,
                                const Configuration& best) {
  Configuration configuration;
  if (trial == 0) return configuration;
  std::mt19937_64 random(seed * 1'000'003 + trial);
  const bool near_best = trial >= 4 && trial % 2 == 0;
  for (const SearchDimension& d : space) {
    const auto kept = best.find(d.flag);
    const bool stay = Uniform(random) < 0.4;
    const double uniform = Uniform(random), step = Normal(random) * 0.2;
    if (near_best && kept != best.end() && stay) {
      configuration[d.flag] = kept->second;
    } else if (!d.choices.empty()) {
      configuration[d.flag] = d.choices[static_cast<size_t>(uniform * static_cast<double>(d.choices.size()))];
    } else if (near_best && kept != best.end()) {
      configuration[d.flag] = ValueAt(d, ShareOf(d, kept->second) + step);
    } else if (!near_best || !stay) {  // near the defaults, half of the flags keep theirs
      configuration[d.flag] = ValueAt(d, uniform);
    }
  }
  return configuration;
}

}  // namespace swiftlet

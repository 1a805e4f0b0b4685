#include "engine/trainer/rating_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/trainer/progress.h"

namespace swiftlet {
namespace {

RatingRows GroupRatings(const RatingSet& set, size_t num_rows, uint32_t Rating::*row, uint32_t Rating::*other,
                        float subtracted, float divided_by) {
  RatingRows rows;
  rows.begin.assign(num_rows + 1, 0);
  for (const Rating& r : set.ratings) ++rows.begin[r.*row + 1];
  std::partial_sum(rows.begin.begin(), rows.begin.end(), rows.begin.begin());
  rows.other.resize(set.ratings.size());
  rows.values.resize(set.ratings.size());
  std::vector<size_t> next(rows.begin.begin(), rows.begin.end() - 1);
  for (const Rating& r : set.ratings) {
    const size_t at = next[r.*row]++;
    rows.other[at] = r.*other;
    rows.values[at] = (r.value - subtracted) / divided_by;
  }
  return rows;
}

// Leaves the last of a user's ratings of each item.
void KeepLast(RatingData* data) {
  std::vector<Rating>& ratings = data->set.ratings;
  std::vector<Rating> kept;  // from the last to the first
  absl::flat_hash_set<uint32_t> seen;
  for (size_t i = ratings.size(); i-- > 0;) {
    if (i + 1 < ratings.size() && ratings[i + 1].user != ratings[i].user) seen.clear();
    if (seen.insert(ratings[i].item).second) {
      kept.push_back(ratings[i]);
    } else {
      ++data->num_repeated;
    }
  }
  std::reverse(kept.begin(), kept.end());
  ratings = std::move(kept);
}

}  // namespace

absl::StatusOr<RatingData> FindRatings(const Dataset& data, const RatingDataOptions& options) {
  const std::string name = options.type.empty() ? kRatingTypeName : options.type;
  const EventType* type = data.event_types.FindByName(name);
  if (type == nullptr) {
    if (options.type.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("there is no event type ", name));
    }
    return absl::InvalidArgumentError(absl::StrCat("\"", options.type, "\" is not an event type"));
  }
  RatingData result;
  result.type = type->id;
  result.set.num_users = data.num_users();
  result.set.num_items = data.num_items();
  float min = std::numeric_limits<float>::infinity(), max = -min;
  for (const TrainingEvent& e : data.events) {
    if (e.type != type->id) continue;
    if (options.scale.has_value() && !(e.value >= options.scale->min && e.value <= options.scale->max)) {
      ++result.num_off_scale;
      continue;
    }
    min = std::min(min, e.value);
    max = std::max(max, e.value);
    result.set.ratings.push_back({e.user, e.item, e.value});
  }
  KeepLast(&result);
  const std::string off_scale = result.num_off_scale == 0
                                    ? ""
                                    : absl::StrCat(" (", WithCommas(result.num_off_scale), " off the scale)");
  if (result.set.ratings.size() < 2) {
    return absl::FailedPreconditionError(absl::StrCat("there are ", result.set.ratings.size(),
                                                      " events of type ", name, " with a rating", off_scale,
                                                      ", a rating model needs two"));
  }
  if (!(min < max)) {
    return absl::FailedPreconditionError(absl::StrCat("all ", WithCommas(result.set.ratings.size()),
                                                      " events of type ", name, " have the value ", min,
                                                      off_scale, ": there is nothing to predict"));
  }
  result.set.scale = options.scale.value_or(RatingScale{min, max});
  return result;
}

absl::StatusOr<RatingScale> ParseRatingScale(std::string_view text) {
  const size_t colon = text.find(':');
  RatingScale scale;
  if (colon == std::string_view::npos || !absl::SimpleAtof(std::string(text.substr(0, colon)), &scale.min) ||
      !absl::SimpleAtof(std::string(text.substr(colon + 1)), &scale.max) || !std::isfinite(scale.min) ||
      !std::isfinite(scale.max) || !(scale.min < scale.max)) {
    return absl::InvalidArgumentError(absl::StrCat("rating scale \"", std::string(text),
                                                   "\": expected MIN:MAX with MIN < MAX, such as 1:5"));
  }
  return scale;
}

std::string DescribeRatings(const RatingData& data) {
  std::vector<bool> users(data.set.num_users), items(data.set.num_items);
  for (const Rating& r : data.set.ratings) users[r.user] = items[r.item] = true;
  std::string text = absl::StrCat(WithCommas(data.set.ratings.size()), " ratings of ",
                                  WithCommas(std::count(items.begin(), items.end(), true)), " items by ",
                                  WithCommas(std::count(users.begin(), users.end(), true)), " users, from ",
                                  data.set.scale.min, " to ", data.set.scale.max,
                                  absl::StrFormat(", mean %.3f", MomentsOf(data.set).mean));
  if (data.num_repeated > 0) {
    absl::StrAppend(&text, "; of several of one user and item the last counts, ",
                    WithCommas(data.num_repeated), " left out");
  }
  if (data.num_off_scale > 0) {
    absl::StrAppend(&text, "; ", WithCommas(data.num_off_scale), " off the scale left out");
  }
  // A few values far from all others are mistakes more often than a scale.
  std::vector<float> values;
  for (const Rating& r : data.set.ratings) values.push_back(r.value);
  const auto rare = static_cast<ptrdiff_t>(values.size() / 1000);
  std::nth_element(values.begin(), values.begin() + rare, values.end());
  const float low = values[static_cast<size_t>(rare)];
  std::nth_element(values.begin(), values.end() - 1 - rare, values.end());
  const float high = *(values.end() - 1 - rare);
  if (low < high && data.set.scale.max - data.set.scale.min > 1.5f * (high - low)) {
    absl::StrAppend(&text, "; but 998 of 1,000 are from ", low, " to ", high,
                    ": where the others are mistakes, give --rating-scale ", low, ":", high);
  }
  return text;
}

RatingRows RatingsByUser(const RatingSet& set, float subtracted, float divided_by) {
  return GroupRatings(set, set.num_users, &Rating::user, &Rating::item, subtracted, divided_by);
}

RatingRows RatingsByItem(const RatingSet& set, float subtracted, float divided_by) {
  return GroupRatings(set, set.num_items, &Rating::item, &Rating::user, subtracted, divided_by);
}

RatingMoments MomentsOf(const RatingSet& set) {
  double sum = 0, squares = 0;
  const auto n = static_cast<double>(set.ratings.size());
  for (const Rating& r : set.ratings) sum += double{r.value};
  const double mean = sum / n;
  for (const Rating& r : set.ratings) squares += (double{r.value} - mean) * (double{r.value} - mean);
  return {mean, std::sqrt(squares / n)};
}

std::vector<uint32_t> AssignFolds(size_t num_ratings, uint32_t folds, uint64_t seed) {
  std::vector<uint32_t> fold_of(num_ratings);
  for (size_t i = 0; i < num_ratings; ++i) fold_of[i] = static_cast<uint32_t>(i % folds);
  std::mt19937_64 random(seed);
  std::shuffle(fold_of.begin(), fold_of.end(), random);
  return fold_of;
}

RatingSplit SplitRatings(const RatingSet& set, const std::vector<uint32_t>& fold_of, uint32_t fold) {
  RatingSplit split;
  split.train = {.num_users = set.num_users, .num_items = set.num_items, .ratings = {}, .scale = set.scale};
  for (size_t i = 0; i < set.ratings.size(); ++i) {
    (fold_of[i] == fold ? split.test : split.train.ratings).push_back(set.ratings[i]);
  }
  return split;
}

RatingErrors ErrorsOf(const std::vector<Rating>& ratings, const std::vector<float>& predictions) {
  double squares = 0, absolute = 0;
  for (size_t i = 0; i < ratings.size(); ++i) {
    const double error = double{predictions[i]} - double{ratings[i].value};
    squares += error * error;
    absolute += std::fabs(error);
  }
  const auto n = static_cast<double>(ratings.size());
  return {std::sqrt(squares / n), absolute / n};
}

}  // namespace swiftlet

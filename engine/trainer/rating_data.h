// Explicit ratings, as the rating models are fitted to them.
#ifndef SWIFTLET_ENGINE_TRAINER_RATING_DATA_H_
#define SWIFTLET_ENGINE_TRAINER_RATING_DATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/event_types.h"
#include "engine/trainer/dataset.h"

namespace swiftlet {

struct Rating {
  uint32_t user = 0, item = 0;  // of the data set
  float value = 0;

  friend bool operator==(const Rating&, const Rating&) = default;
};

struct RatingScale {
  float min = 0, max = 0;  // min < max

  friend bool operator==(const RatingScale&, const RatingScale&) = default;
};

// A user rates an item once.
struct RatingSet {
  size_t num_users = 0, num_items = 0;  // some may have no rating
  std::vector<Rating> ratings;          // by user, then time
  RatingScale scale;                    // every value is on it
};

inline constexpr char kRatingTypeName[] = "rating";

struct RatingDataOptions {
  std::string type = {};  // events of this type are ratings; empty: kRatingTypeName, if there is such a type
  std::optional<RatingScale> scale = {};  // nothing: from the smallest value to the largest
};

struct RatingData {
  RatingSet set;
  EventTypeId type = 0;
  uint64_t num_repeated = 0;   // left out: the user rated the item again later
  uint64_t num_off_scale = 0;  // left out, before repeated ones are looked for
};

// The ratings among the events of `data`: of several of one user and item the last. INVALID_ARGUMENT for an
// unknown type; FAILED_PRECONDITION, with what there is, for no type of the default name, fewer than two
// ratings, or when all have the same value: there is nothing to learn then.
absl::StatusOr<RatingData> FindRatings(const Dataset& data, const RatingDataOptions& options);

// "1:5" as a scale. INVALID_ARGUMENT for anything else.
absl::StatusOr<RatingScale> ParseRatingScale(std::string_view text);

// For people: how many ratings, by whom, of what; and what was left out.
std::string DescribeRatings(const RatingData& data);

// The ratings of each user or each item, in the order of RatingSet::ratings.
struct RatingRows {
  std::vector<size_t> begin;    // [rows + 1]
  std::vector<uint32_t> other;  // items of a user, or users of an item
  std::vector<float> values;    // less `subtracted`, over `divided_by`

  size_t num_rows() const { return begin.size() - 1; }
  size_t Count(size_t row) const { return begin[row + 1] - begin[row]; }
};
RatingRows RatingsByUser(const RatingSet& set, float subtracted = 0, float divided_by = 1);
RatingRows RatingsByItem(const RatingSet& set, float subtracted = 0, float divided_by = 1);

// Mean and standard deviation of the values, in double.
struct RatingMoments {
  double mean = 0, deviation = 0;
};
RatingMoments MomentsOf(const RatingSet& set);

// Puts each rating in one of `folds` parts, at random, parts of equal size within one. [ratings] part
// numbers.
std::vector<uint32_t> AssignFolds(size_t num_ratings, uint32_t folds, uint64_t seed);

// The ratings outside and inside of `fold`.
struct RatingSplit {
  RatingSet train;
  std::vector<Rating> test;
};
RatingSplit SplitRatings(const RatingSet& set, const std::vector<uint32_t>& fold_of, uint32_t fold);

// Of predictions for ratings, in their order. NaN for none.
struct RatingErrors {
  double rmse = 0, mae = 0;
};
RatingErrors ErrorsOf(const std::vector<Rating>& ratings, const std::vector<float>& predictions);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RATING_DATA_H_

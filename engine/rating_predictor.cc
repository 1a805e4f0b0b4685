#include "engine/rating_predictor.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

// scratch.ratings: one for each item that was rated, by row.
void CollectRatings(const ModelSnapshot& snapshot, const RatingModel& model,
                    std::span<const HistoryEvent> history, RatingScratch& scratch) {
  scratch.found.clear();
  scratch.ratings.clear();
  const EventTypeId type = snapshot.manifest().rating->event_type;
  for (size_t i = 0; i < history.size(); ++i) {
    const HistoryEvent& event = history[i];
    if (event.type != type || !model.IsOnScale(event.value)) continue;
    const std::optional<uint32_t> row = snapshot.FindRow(event.item_key);
    if (!row.has_value() || !model.Knows(*row)) continue;
    scratch.found.push_back({*row, static_cast<uint32_t>(i), event.value});
  }
  std::sort(scratch.found.begin(), scratch.found.end(),
            [](const auto& a, const auto& b) { return std::tie(a.row, a.index) < std::tie(b.row, b.index); });
  for (size_t i = 0; i < scratch.found.size(); ++i) {
    const auto& rating = scratch.found[i];
    if (i + 1 < scratch.found.size() && scratch.found[i + 1].row == rating.row) continue;  // a newer one
    scratch.ratings.push_back({rating.row, rating.value});
  }
}

}  // namespace

absl::Status PredictRatings(const ModelSnapshot& snapshot, const UserState& user,
                            std::span<const ItemKey> items, RatingScratch& scratch,
                            RatingPrediction* result) {
  const RatingModel* const model = snapshot.rating_model();
  if (model == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshot ", snapshot.version(), " has no rating model"));
  }
  CollectRatings(snapshot, *model, user.history, scratch);
  scratch.user.resize(size_t{model->tables().dim} + 1);
  model->FoldIn(scratch.ratings, scratch.fold_in, scratch.user);
  result->num_ratings_used = static_cast<uint32_t>(scratch.ratings.size());
  result->ratings.clear();
  for (const ItemKey key : items) {
    const std::optional<uint32_t> row = snapshot.FindRow(key);
    if (row.has_value() && model->Knows(*row)) {
      result->ratings.push_back({model->Predict(scratch.user, *row), true});
    } else {
      result->ratings.push_back({model->PredictUnknown(scratch.user), false});
    }
  }
  return absl::OkStatus();
}

}  // namespace swiftlet

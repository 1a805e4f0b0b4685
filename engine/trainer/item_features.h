// Features that items share, such as a category or the value of an attribute: in a fit with them an item's
// vector is the sum of one of its own and one of each of its features (Kula, "Metadata Embeddings for User
// and Item Cold-start Recommendations", 2015, section 3.1):
//
//   v_i = e_i + sum over features f of i of a_f
//
// so that an item of few events learns from those that are like it. What is kept, and served, is v alone. A
// step of e_i moves one row of v; a step of a_f, whose gradient is the sum of those of its items' rows, moves
// all of these.
#ifndef SWIFTLET_ENGINE_TRAINER_ITEM_FEATURES_H_
#define SWIFTLET_ENGINE_TRAINER_ITEM_FEATURES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/thread_pool.h"
#include "engine/trainer/dataset.h"

namespace swiftlet {

struct ItemFeatures {
  size_t num_features = 0;
  std::vector<size_t> begin = {};       // [items + 1] into the next; empty where there are no features
  std::vector<uint32_t> features = {};  // < num_features, ascending and distinct for each item

  bool empty() const { return num_features == 0; }
  std::span<const uint32_t> Of(size_t item) const {
    return std::span(features).subspan(begin[item], begin[item + 1] - begin[item]);
  }
  friend bool operator==(const ItemFeatures&, const ItemFeatures&) = default;
};

// A fit has a vector for each of so many, those that most items have; and looks at so many of an item.
inline constexpr size_t kMaxItemFeatures = 100'000, kMaxFeaturesOfItem = 64;

// Categories, attributes and words of titles (as engine/encoders/content_features.h takes them apart) of the
// items of `data`, those that two or more of them have. Features of the same items, such as a brand and its
// only category, count as one.
ItemFeatures MakeItemFeatures(const Dataset& data);

// What MakeItemFeatures may come to, from above, at the cost of a pass over the items: bytes that it takes,
// and how many features a fit then has.
struct ItemFeaturesSize {
  uint64_t bytes = 0, num_features = 0;
};
ItemFeaturesSize BoundItemFeatures(const Dataset& data);

// gradient ([num_features, dim]) += row, of the item's gradient, for each of its features.
void AddToFeatures(const ItemFeatures& features, size_t item, std::span<const float> row, float* gradient);

// Moves each item's row of `table` ([items, dim]) by the moves ([num_features, dim]) of its features.
void MoveItems(const ItemFeatures& features, std::span<const float> moves, size_t dim, ThreadPool* pool,
               float* table);

// MoveItems passes over all items; where that would cost more than a batch of a fit, the features' gradients
// are summed up over so many batches, 1 or more.
size_t BatchesOfOneMove(const ItemFeatures& features, size_t dim);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_ITEM_FEATURES_H_

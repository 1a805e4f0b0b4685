#include "engine/trainer/item_features.h"

#include <xxhash.h>

#include <algorithm>
#include <compare>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/encoders/content_features.h"
#include "engine/kernels/dot.h"
#include "engine/trainer/content_model.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {
namespace {

// Pairs of categories and parts of words, of which items have many, made no model better.
constexpr uint32_t kBlocks = 1u << static_cast<uint32_t>(ContentBlock::kCategory) |
                             1u << static_cast<uint32_t>(ContentBlock::kWord) |
                             1u << static_cast<uint32_t>(ContentBlock::kAttribute);
constexpr uint32_t kMinItems = 2;                // of a feature
constexpr size_t kMaxFloatsOfAMove = 16u << 20;  // rows of features that are added, times dim

struct Pair {
  uint64_t feature = 0;  // hash
  uint32_t item = 0;
  friend auto operator<=>(const Pair&, const Pair&) = default;
};

// visit(item, hashes of its features, distinct) for the items of `data` that have any.
template <typename Visit>
void ForEachItem(const Dataset& data, const Visit& visit) {
  if (data.item_titles.empty() && data.item_categories.empty() && data.item_attributes.empty()) return;
  std::vector<uint64_t> hashes;
  for (uint32_t i = 0; i < data.num_items(); ++i) {
    HashContentFeatures(ContentOf(data, i), kBlocks, kMaxFeaturesOfItem, &hashes);
    std::sort(hashes.begin(), hashes.end());
    hashes.erase(std::unique(hashes.begin(), hashes.end()), hashes.end());
    if (!hashes.empty()) visit(i, hashes);
  }
}

size_t CountPairs(const Dataset& data) {
  size_t count = 0;
  ForEachItem(data, [&](uint32_t /*item*/, const std::vector<uint64_t>& hashes) { count += hashes.size(); });
  return count;
}

}  // namespace

ItemFeaturesSize BoundItemFeatures(const Dataset& data) {
  const size_t pairs = CountPairs(data);
  // The pairs, what is kept of them, where each item's begin, and of each feature where its pairs are.
  const size_t features = pairs / kMinItems;
  return {.bytes = pairs * (sizeof(Pair) + sizeof(uint32_t)) + data.num_items() * 2 * sizeof(size_t) +
                   features * 64,
          .num_features = std::min(features, kMaxItemFeatures)};
}

ItemFeatures MakeItemFeatures(const Dataset& data) {
  std::vector<Pair> pairs;  // by feature
  pairs.reserve(CountPairs(data));
  ForEachItem(data, [&](uint32_t item, const std::vector<uint64_t>& hashes) {
    for (const uint64_t hash : hashes) pairs.push_back({hash, item});
  });
  std::sort(pairs.begin(), pairs.end());

  struct Feature {
    size_t begin = 0, size = 0;  // in `pairs`
  };
  std::vector<Feature> kept;
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> known;  // hashes of lists of items
  std::vector<uint32_t> items;
  for (size_t p = 0; p < pairs.size();) {
    const size_t begin = p;
    items.clear();
    for (; p < pairs.size() && pairs[p].feature == pairs[begin].feature; ++p) items.push_back(pairs[p].item);
    if (items.size() < kMinItems) continue;
    const XXH128_hash_t hash = XXH3_128bits(items.data(), items.size() * sizeof(uint32_t));
    if (known.emplace(hash.low64, hash.high64).second) kept.push_back({begin, items.size()});
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [](const Feature& a, const Feature& b) { return a.size > b.size; });
  kept.resize(std::min(kept.size(), kMaxItemFeatures));

  ItemFeatures result{.num_features = kept.size()};
  if (result.empty()) return result;
  result.begin.assign(data.num_items() + 1, 0);
  for (const Feature& f : kept) {
    for (size_t p = f.begin; p < f.begin + f.size; ++p) ++result.begin[pairs[p].item + 1];
  }
  std::partial_sum(result.begin.begin(), result.begin.end(), result.begin.begin());
  result.features.resize(result.begin.back());
  std::vector<size_t> at(result.begin.begin(), result.begin.end() - 1);
  for (uint32_t f = 0; f < kept.size(); ++f) {
    for (size_t p = kept[f].begin; p < kept[f].begin + kept[f].size; ++p)
      result.features[at[pairs[p].item]++] = f;
  }
  return result;
}

void AddToFeatures(const ItemFeatures& features, size_t item, std::span<const float> row, float* gradient) {
  for (const uint32_t f : features.Of(item)) AddScaled(1, row.data(), row.size(), gradient + f * row.size());
}

void MoveItems(const ItemFeatures& features, std::span<const float> moves, size_t dim, ThreadPool* pool,
               float* table) {
  ForPieces(pool, features.begin.size() - 1, 4096, [&](size_t begin, size_t end, size_t) {
    for (size_t i = begin; i < end; ++i) {
      for (const uint32_t f : features.Of(i)) AddScaled(1, &moves[f * dim], dim, table + i * dim);
    }
  });
}

size_t BatchesOfOneMove(const ItemFeatures& features, size_t dim) {
  return 1 + features.features.size() * dim / kMaxFloatsOfAMove;
}

}  // namespace swiftlet

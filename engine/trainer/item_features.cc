#include "engine/trainer/item_features.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/encoders/content_features.h"
#include "engine/kernels/dot.h"
#include "engine/trainer/content_model.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {
namespace {

constexpr uint32_t kHashBits = 22;               // two features seldom have one bucket
constexpr uint32_t kMinItems = 2;                // of a feature
constexpr size_t kMaxFloatsOfAMove = 16u << 20;  // rows of features that are added, times dim

}  // namespace

ItemFeatures MakeItemFeatures(const Dataset& data) {
  if (data.item_titles.empty() && data.item_categories.empty() && data.item_attributes.empty()) return {};
  // (bucket, item), by bucket.
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  std::vector<uint32_t> buckets;
  for (uint32_t i = 0; i < data.num_items(); ++i) {
    ExtractContentFeatures(ContentOf(data, i), kHashBits, &buckets);
    for (const uint32_t bucket : buckets) {
      const auto block = static_cast<ContentBlock>(bucket >> kHashBits);
      // Pairs of categories and parts of words, of which items have many, made no model better.
      if (block == ContentBlock::kCategoryPair || block == ContentBlock::kNgram) continue;
      pairs.emplace_back(bucket, i);
    }
  }
  std::sort(pairs.begin(), pairs.end());

  struct Feature {
    size_t begin = 0, size = 0;  // in `pairs`
  };
  std::vector<Feature> kept;
  absl::flat_hash_set<std::vector<uint32_t>> known;
  std::vector<uint32_t> items;
  for (size_t p = 0; p < pairs.size();) {
    const size_t begin = p;
    items.clear();
    for (; p < pairs.size() && pairs[p].first == pairs[begin].first; ++p) items.push_back(pairs[p].second);
    if (items.size() >= kMinItems && known.insert(items).second) kept.push_back({begin, items.size()});
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [](const Feature& a, const Feature& b) { return a.size > b.size; });
  kept.resize(std::min(kept.size(), kMaxItemFeatures));

  ItemFeatures result{.num_features = kept.size()};
  if (result.empty()) return result;
  result.begin.assign(data.num_items() + 1, 0);
  for (const Feature& f : kept) {
    for (size_t p = f.begin; p < f.begin + f.size; ++p) ++result.begin[pairs[p].second + 1];
  }
  std::partial_sum(result.begin.begin(), result.begin.end(), result.begin.begin());
  result.features.resize(result.begin.back());
  std::vector<size_t> at(result.begin.begin(), result.begin.end() - 1);
  for (uint32_t f = 0; f < kept.size(); ++f) {
    for (size_t p = kept[f].begin; p < kept[f].begin + kept[f].size; ++p)
      result.features[at[pairs[p].second]++] = f;
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

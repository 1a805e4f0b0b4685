// What is known about an item apart from its events, as sparse features: the trainer and the server make them
// here and nowhere else.
//
// Text is split into words (runs of letters and digits; case is folded for Latin, Greek and Cyrillic letters;
// everything else separates). Every feature is a text that is hashed (XXH3-64, one seed for each block) to
// one of 2^hash_bits buckets of the block (Weinberger et al., Feature Hashing for Large Scale Multitask
// Learning, ICML 2009); presence counts, not frequency.
#ifndef SWIFTLET_ENGINE_ENCODERS_CONTENT_FEATURES_H_
#define SWIFTLET_ENGINE_ENCODERS_CONTENT_FEATURES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace swiftlet {

// Borrowed for the call. Everything may be empty and of any length; texts are read up to
// kMaxContentTextBytes each, and no more than kMaxContentFeatures features come out.
struct ItemContent {
  std::string_view title = {};
  std::span<const std::string> categories = {};
  std::span<const std::pair<std::string, std::string>> attributes = {};  // name, value
};

inline constexpr size_t kMaxContentTextBytes = 4096;
inline constexpr size_t kMaxContentFeatures = 4096;

// Features of one kind; each block of an item is normalised by itself.
enum class ContentBlock : uint8_t {
  kCategory,      // each category
  kCategoryPair,  // each two of the first eight categories
  kWord,          // words of the title, and each two that follow one another
  kNgram,         // 3 and 4 consecutive characters of its words, ends marked; 2 of ideographs
  kAttribute,     // name=value as a whole, words of the value, and of a number its leading digits
};
inline constexpr size_t kNumContentBlocks = 5;

inline constexpr uint32_t kMinContentHashBits = 4, kMaxContentHashBits = 24;

// Replaces *buckets by those of `content`, ascending and distinct: block << hash_bits | hash. Requires
// hash_bits within the limits above.
void ExtractContentFeatures(const ItemContent& content, uint32_t hash_bits, std::vector<uint32_t>* buckets);

// The same as hashes of 64 bits (the block in the highest four), which are different for different features,
// in order of categories, attributes and title; of the blocks of `blocks` (bits 1 << block), at most
// max_features.
void HashContentFeatures(const ItemContent& content, uint32_t blocks, size_t max_features,
                         std::vector<uint64_t>* hashes);

// The buckets that have a row in a model's tables, and how features are weighed.
struct ContentTable {
  uint32_t hash_bits = 17;
  // Inverse document frequency of a feature whose bucket has no row. It takes its part in the norm of its
  // block: a title of unknown words says little.
  float unknown_idf = 1;                   // > 0
  std::span<const uint32_t> buckets = {};  // [F], strictly ascending, below kNumContentBlocks << hash_bits
  std::span<const float> idf = {};         // [F], > 0
};

// A number of a sparse vector.
struct ContentEntry {
  uint32_t row = 0;  // index into buckets
  float value = 0;

  friend bool operator==(const ContentEntry&, const ContentEntry&) = default;
};

// Buffers of one thread.
struct ContentScratch {
  std::vector<uint32_t> buckets;
  std::vector<ContentEntry> entries;
};

// scratch.entries = the rows of the features that have one, ascending; the value of feature f is
//   idf_f / sqrt(sum of idf_g^2 over the features g of its block).
void WeighContent(const ContentTable& table, const ItemContent& content, ContentScratch& scratch);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_CONTENT_FEATURES_H_

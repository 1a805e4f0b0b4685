#include "engine/encoders/content_features.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>

namespace swiftlet {
namespace {

constexpr size_t kMaxPairedCategories = 8;
constexpr uint32_t kBlockShift = 60;  // of a block's number in a hash of 64 bits
constexpr uint32_t kAllBlocks = (1u << kNumContentBlocks) - 1;
constexpr char32_t kWordEnd = 0xFFFF;  // a noncharacter: marks both ends of a word in n-grams

// The code point at text[*at], and moves *at behind it. Bytes that are no UTF-8 are taken one by one.
char32_t NextCodePoint(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(*at);
  size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  if (*at + length > text.size()) length = 1;
  char32_t code = length == 1 ? first : first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(*at + i) & 0xC0) != 0x80) {
      code = first;
      length = 1;
      break;
    }
    code = code << 6 | (byte(*at + i) & 0x3F);
  }
  *at += length;
  return code;
}

char32_t FoldCase(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 0x20;
  if (c < 0x80) return c;
  if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F)) {
    return c + 0x20;
  }
  if (c >= 0x400 && c <= 0x40F) return c + 0x50;
  if (c >= 0x100 && c <= 0x17F && c != 0x130 && c != 0x131 && c != 0x138 && c != 0x149 && c != 0x178) {
    // Pairs of a capital and a small letter; capitals are even but for two stretches.
    const bool odd_capitals = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E);
    return (c % 2 == 1) == odd_capitals ? c + 1 : c;
  }
  return c;
}

bool IsWordCharacter(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
  const bool punctuation = c == 0xD7 || c == 0xF7 || (c >= 0x2000 && c <= 0x206F) ||
                           (c >= 0x2E00 && c <= 0x2E7F) || (c >= 0x3000 && c <= 0x303F) ||
                           (c >= 0xFE30 && c <= 0xFE4F) || (c >= 0xFF00 && c <= 0xFF0F) || c == 0xFFFD;
  return !punctuation;
}

bool IsIdeograph(char32_t c) { return c >= 0x2E80 && c < 0xE000; }

// Collects the hashes of features of some blocks, up to a limit: of 64 bits, the block in the highest four.
class FeatureSink {
 public:
  FeatureSink(uint32_t blocks, size_t max_features, std::vector<uint64_t>* hashes)
      : blocks_(blocks), max_features_(max_features), hashes_(hashes) {}

  bool Wants(ContentBlock block) const { return (blocks_ >> static_cast<uint32_t>(block) & 1) != 0; }
  void Add(ContentBlock block, const void* bytes, size_t size) {
    if (!Wants(block) || hashes_->size() >= max_features_) return;
    const auto number = static_cast<uint64_t>(block);
    const uint64_t hash = XXH3_64bits_withSeed(bytes, size, 1 + number);
    hashes_->push_back(number << kBlockShift | hash >> (64 - kBlockShift));
  }
  void Add(ContentBlock block, std::u32string_view text) {
    Add(block, text.data(), text.size() * sizeof(char32_t));
  }
  void Add(ContentBlock block, std::string_view text) { Add(block, text.data(), text.size()); }

 private:
  const uint32_t blocks_;
  const size_t max_features_;
  std::vector<uint64_t>* const hashes_;
};

// visit(word) for the words of a text, folded.
template <typename Visit>
void ForEachWord(std::string_view text, const Visit& visit) {
  text = text.substr(0, kMaxContentTextBytes);
  std::u32string word;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (IsWordCharacter(c)) {
      word += FoldCase(c);
    } else if (!word.empty()) {
      visit(word);
      word.clear();
    }
  }
  if (!word.empty()) visit(word);
}

void AddTitle(std::string_view title, FeatureSink& sink) {
  std::u32string previous, marked;
  ForEachWord(title, [&](const std::u32string& word) {
    sink.Add(ContentBlock::kWord, word);
    if (!previous.empty()) {
      previous += kWordEnd;
      previous += word;
      sink.Add(ContentBlock::kWord, previous);
    }
    previous = word;
    if (!sink.Wants(ContentBlock::kNgram)) return;
    marked.assign(1, kWordEnd);
    marked += word;
    marked += kWordEnd;
    const std::u32string_view text(marked);
    for (size_t n = IsIdeograph(word[0]) ? 2 : 3; n <= 4; ++n) {
      for (size_t i = 0; i + n <= text.size(); ++i) sink.Add(ContentBlock::kNgram, text.substr(i, n));
    }
  });
}

// Of a number the leading digits with how many digits there are before the point: 1995 is near 1994.
void AddNumber(const std::string& prefix, std::string_view value, FeatureSink& sink) {
  const size_t digits = std::min(value.find_first_not_of("0123456789"), value.size());
  if (digits == 0 || digits > 18) return;
  const std::string_view rest = value.substr(digits);
  if (!rest.empty() &&
      (rest[0] != '.' || rest.find_first_not_of("0123456789", 1) != std::string_view::npos)) {
    return;
  }
  std::string text = prefix;
  text += '#';
  text += static_cast<char>('a' + digits);
  for (size_t i = 0; i <= digits; ++i) {
    sink.Add(ContentBlock::kAttribute, text);
    if (i < digits) text += value[i];
  }
}

void AddAttribute(std::string_view name, std::string_view value, FeatureSink& sink) {
  std::string text(name.substr(0, kMaxContentTextBytes));
  text += '=';
  AddNumber(text, value, sink);
  const size_t prefix = text.size();
  text += value.substr(0, kMaxContentTextBytes);
  if (!value.empty()) sink.Add(ContentBlock::kAttribute, text);
  ForEachWord(value, [&](const std::u32string& word) {
    text.resize(prefix);
    text += '\0';
    text.append(reinterpret_cast<const char*>(word.data()), word.size() * sizeof(char32_t));
    sink.Add(ContentBlock::kAttribute, text);
  });
}

void AddCategories(std::span<const std::string> categories, FeatureSink& sink) {
  for (const std::string& category : categories) {
    if (!category.empty()) sink.Add(ContentBlock::kCategory, category);
  }
  if (!sink.Wants(ContentBlock::kCategoryPair)) return;
  const size_t paired = std::min(categories.size(), kMaxPairedCategories);
  for (size_t i = 0; i < paired; ++i) {
    for (size_t j = 0; j < i; ++j) {
      const auto [a, b] = std::minmax(categories[i], categories[j]);
      std::string pair = a;
      pair += '\0';
      pair += b;
      sink.Add(ContentBlock::kCategoryPair, pair);
    }
  }
}

}  // namespace

void ExtractContentFeatures(const ItemContent& content, uint32_t hash_bits, std::vector<uint32_t>* buckets) {
  thread_local std::vector<uint64_t> hashes;
  hashes.clear();
  FeatureSink sink(kAllBlocks, kMaxContentFeatures, &hashes);
  AddCategories(content.categories, sink);
  AddTitle(content.title, sink);
  for (const auto& [name, value] : content.attributes) AddAttribute(name, value, sink);
  buckets->clear();
  constexpr uint64_t kHash = (uint64_t{1} << kBlockShift) - 1;
  for (const uint64_t h : hashes) {
    const auto block = static_cast<uint32_t>(h >> kBlockShift);
    buckets->push_back(block << hash_bits | static_cast<uint32_t>((h & kHash) >> (kBlockShift - hash_bits)));
  }
  std::sort(buckets->begin(), buckets->end());
  buckets->erase(std::unique(buckets->begin(), buckets->end()), buckets->end());
}

void HashContentFeatures(const ItemContent& content, uint32_t blocks, size_t max_features,
                         std::vector<uint64_t>* hashes) {
  hashes->clear();
  FeatureSink sink(blocks, max_features, hashes);
  AddCategories(content.categories, sink);
  for (const auto& [name, value] : content.attributes) AddAttribute(name, value, sink);
  AddTitle(content.title, sink);
}

void WeighContent(const ContentTable& table, const ItemContent& content, ContentScratch& scratch) {
  ExtractContentFeatures(content, table.hash_bits, &scratch.buckets);
  scratch.entries.clear();
  for (size_t begin = 0; begin < scratch.buckets.size();) {
    const uint32_t block = scratch.buckets[begin] >> table.hash_bits;
    const size_t first_entry = scratch.entries.size();
    double squares = 0;
    size_t end = begin;
    for (; end < scratch.buckets.size() && scratch.buckets[end] >> table.hash_bits == block; ++end) {
      const uint32_t bucket = scratch.buckets[end];
      const auto it = std::lower_bound(table.buckets.begin(), table.buckets.end(), bucket);
      float idf = table.unknown_idf;
      if (it != table.buckets.end() && *it == bucket) {
        const auto row = static_cast<uint32_t>(it - table.buckets.begin());
        idf = table.idf[row];
        scratch.entries.push_back({row, idf});
      }
      squares += double{idf} * double{idf};
    }
    const auto scale = static_cast<float>(1 / std::sqrt(squares));
    for (size_t e = first_entry; e < scratch.entries.size(); ++e) scratch.entries[e].value *= scale;
    begin = end;
  }
}

}  // namespace swiftlet

#include "tests/bench/engine/retrieval/query_filter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/thread_pool.h"
#include "engine/kernels/dot.h"
#include "tests/bench/engine/retrieval/random.h"

namespace swiftlet::bench {
namespace {

constexpr size_t kLikely = 1000;  // best rows of a query, of which some were seen

}  // namespace

absl::StatusOr<FilterSpec> ParseFilter(const std::string& text) {
  FilterSpec spec;
  if (text == "none") return spec;
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  double value = 0;
  if (colon != std::string::npos && absl::SimpleAtod(text.substr(colon + 1), &value) && value > 0) {
    const auto count = static_cast<size_t>(value);
    if (kind == "allowed" && value < 1) {
      spec.kind = FilterSpec::Kind::kAllowed;
      spec.allowed = value;
      return spec;
    }
    if (kind == "seen" && count >= 1 && count <= kLikely) {
      spec.kind = FilterSpec::Kind::kSeen;
      spec.num_seen = count;
      return spec;
    }
    if (kind == "categories" && count >= 1 && count <= 10'000) {
      spec.kind = FilterSpec::Kind::kCategories;
      spec.num_categories = count;
      return spec;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "filter \"", text, "\": expected none, allowed:0.1 (below 1), seen:200 (to 1000) or categories:20"));
}

bool QueryFilter::Categories::CollectRows(std::span<const uint32_t> ids, uint32_t, size_t limit,
                                          std::vector<uint32_t>* collected) const {
  size_t count = 0;
  for (const uint32_t id : ids) count += rows[id].size();
  if (count > limit) return false;
  for (const uint32_t id : ids) collected->insert(collected->end(), rows[id].begin(), rows[id].end());
  return true;
}

QueryFilter::QueryFilter(const FilterSpec& spec, const Workload& w, const ExactRetriever& exact)
    : spec_(spec), num_rows_(static_cast<uint32_t>(w.num_items)) {
  Random random(3);
  switch (spec.kind) {
    case FilterSpec::Kind::kNone:
      break;
    case FilterSpec::Kind::kAllowed: {
      masked_.resize((w.num_items + 63) / 64);
      size_t num_allowed = 0;
      for (size_t i = 0; i < w.num_items; ++i) {
        if (random.Uniform() > spec.allowed) {
          masked_[i / 64] |= uint64_t{1} << (i % 64);
        } else {
          ++num_allowed;
        }
      }
      allowed_ = static_cast<double>(num_allowed) / static_cast<double>(w.num_items);
      break;
    }
    case FilterSpec::Kind::kSeen: {
      size_t num_seen = 0;
      RetrievalScratch scratch;
      std::vector<ScoredRow> likely;
      for (size_t q = 0; q < w.num_queries; ++q) {
        std::vector<uint32_t> rows;
        if (!w.seen.empty()) {
          rows = w.seen[q];
        } else {
          exact.Search({.vector = w.query(q), .k = kLikely}, scratch, likely);
          for (size_t left = std::min(spec.num_seen, likely.size()); left > 0; --left) {
            const size_t pick = random.Below(likely.size());
            rows.push_back(likely[pick].row);
            likely[pick] = likely.back();
            likely.pop_back();
          }
        }
        num_seen += rows.size();
        seen_.push_back(std::move(rows));
      }
      allowed_ = 1 - static_cast<double>(num_seen) / static_cast<double>(w.num_items * w.num_queries);
      break;
    }
    case FilterSpec::Kind::kCategories:
      DrawCategories(w);
      break;
  }
}

void QueryFilter::DrawCategories(const Workload& w) {
  const size_t n = spec_.num_categories;
  Random random(4);
  AlignedVector<float> centres(n * w.dim);
  for (size_t c = 0; c < n; ++c) {
    const float* const from = &w.items[random.Below(w.num_items) * w.dim];
    const float norm = std::sqrt(Dot(from, from, w.dim));
    AddScaled(norm > 0 ? 1 / norm : 0.0f, from, w.dim, &centres[c * w.dim]);
  }
  categories_.of_row.resize(w.num_items);
  for (uint32_t& category : categories_.of_row) {
    // n: by the vector, below.
    category = static_cast<uint32_t>(random.Uniform() < 0.2 ? random.Below(n) : n);
  }
  ThreadPool pool(0);
  pool.ParallelFor(w.num_items, 4096, [&](size_t begin, size_t end, size_t) {
    AlignedVector<float> cosines(n);
    for (size_t i = begin; i < end; ++i) {
      if (categories_.of_row[i] < n) continue;
      DotRows(&w.items[i * w.dim], centres.data(), n, w.dim, w.dim, cosines.data());
      categories_.of_row[i] =
          static_cast<uint32_t>(std::max_element(cosines.begin(), cosines.end()) - cosines.begin());
    }
  });
  categories_.rows.resize(n);
  for (size_t i = 0; i < w.num_items; ++i) {
    categories_.rows[categories_.of_row[i]].push_back(static_cast<uint32_t>(i));
  }
  double sum = 0;
  for (size_t q = 0; q < w.num_queries; ++q) {
    wanted_.push_back(categories_.of_row[random.Below(w.num_items)]);
    sum += static_cast<double>(categories_.rows[wanted_.back()].size());
  }
  allowed_ = sum / static_cast<double>(w.num_items) / static_cast<double>(w.num_queries);
}

const RowFilter* QueryFilter::Of(size_t i) {
  if (spec_.kind == FilterSpec::Kind::kNone) return nullptr;
  filter_.Reset(num_rows_, masked_);
  if (spec_.kind == FilterSpec::Kind::kSeen) {
    for (const uint32_t row : seen_[i]) filter_.Exclude(row);
  } else if (spec_.kind == FilterSpec::Kind::kCategories) {
    filter_.SetCategories(&categories_, {&wanted_[i], 1}, true, {});
  }
  return &filter_;
}

}  // namespace swiftlet::bench

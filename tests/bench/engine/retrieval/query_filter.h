// Filters of the benchmark's queries.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_QUERY_FILTER_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_QUERY_FILTER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/retrieval/exact_retriever.h"
#include "engine/retrieval/row_filter.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {

struct FilterSpec {
  enum class Kind : uint8_t { kNone, kAllowed, kSeen, kCategories };
  Kind kind = Kind::kNone;
  double allowed = 1;  // kAllowed: fraction of rows, random, the same for all queries, given as masked rows
  // kSeen: rows that are excluded, 200 random ones of a query's best thousand; those that the user has seen
  // where the workload has users.
  size_t num_seen = 0;
  // kCategories: how many there are. Every item has one, that of the nearest of so many random items, or with
  // probability .2 a random one; a query asks for the category of a random item.
  size_t num_categories = 0;
};
// "none", "allowed:0.1", "seen:200", "categories:20".
absl::StatusOr<FilterSpec> ParseFilter(const std::string& text);

// Thread-compatible.
class QueryFilter {
 public:
  // exact: over w's items. Borrows nothing but for the constructor's run.
  QueryFilter(const FilterSpec& spec, const Workload& w, const ExactRetriever& exact);
  QueryFilter(const QueryFilter&) = delete;

  // The filter of query i, made as a request makes it (the caller's clock should run); null without one.
  // Valid until the next call.
  const RowFilter* Of(size_t i);
  // Allowed rows, mean over queries, as a fraction.
  double allowed() const { return allowed_; }

 private:
  class Categories final : public CategoryIndex {
   public:
    std::vector<uint32_t> of_row;
    std::vector<std::vector<uint32_t>> rows;  // by category, ascending
    std::span<const uint32_t> CategoriesOf(uint32_t row) const override { return {&of_row[row], 1}; }
    uint32_t num_categories() const override { return static_cast<uint32_t>(rows.size()); }
    bool CollectRows(std::span<const uint32_t> ids, uint32_t num_rows, size_t limit,
                     std::vector<uint32_t>* collected) const override;
  };
  void DrawCategories(const Workload& w);

  const FilterSpec spec_;
  const uint32_t num_rows_;
  std::vector<uint64_t> masked_;
  std::vector<std::vector<uint32_t>> seen_;  // by query
  Categories categories_;
  std::vector<uint32_t> wanted_;  // category, by query
  RowFilter filter_;
  double allowed_ = 1;
};

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_QUERY_FILTER_H_

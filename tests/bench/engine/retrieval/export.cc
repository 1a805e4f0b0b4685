#include "tests/bench/engine/retrieval/export.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/retrieval/exact_retriever.h"

namespace swiftlet::bench {
namespace {

// An array of 4-byte numbers ("f4" or "i4") in NumPy's format 1.0; write_row(i, out) writes the bytes of row
// i.
absl::Status WriteNpy(const std::string& path, const char* type, size_t rows, size_t columns,
                      const std::function<void(size_t row, std::ofstream& out)>& write_row) {
  std::string header = absl::StrCat("{'descr': '<", type, "', 'fortran_order': False, 'shape': (", rows, ", ",
                                    columns, "), }");
  constexpr size_t kPrefix = 10;  // magic, version, length
  header.append((64 - (kPrefix + header.size() + 1) % 64) % 64, ' ');
  header.push_back('\n');
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix.push_back(static_cast<char>(header.size() & 255));
  prefix.push_back(static_cast<char>(header.size() >> 8));
  std::ofstream out(path, std::ios::binary);
  out << prefix << header;
  for (size_t i = 0; i < rows && out; ++i) write_row(i, out);
  out.close();
  return out ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(path, ": cannot write"));
}

template <typename T>
void Put(const T* values, size_t n, std::ofstream& out) {
  out.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(n * sizeof(T)));
}

}  // namespace

absl::Status ExportWorkload(const Workload& w, bool with_bias, const std::vector<size_t>& ks,
                            const std::string& directory) {
  std::error_code error;  // a directory that is missing all the same fails the writing
  std::filesystem::create_directories(directory, error);
  const size_t columns = w.dim + (with_bias ? 1 : 0);
  SWIFTLET_RETURN_IF_ERROR(
      WriteNpy(directory + "/items.npy", "f4", w.num_items, columns, [&](size_t i, std::ofstream& out) {
        Put(&w.items[i * w.dim], w.dim, out);
        if (with_bias) Put(&w.bias[i], 1, out);
      }));
  SWIFTLET_RETURN_IF_ERROR(
      WriteNpy(directory + "/queries.npy", "f4", w.num_queries, columns, [&](size_t i, std::ofstream& out) {
        const float one = 1;
        Put(&w.queries[i * w.dim], w.dim, out);
        if (with_bias) Put(&one, 1, out);
      }));
  const ExactRetriever exact({.vectors = w.items.data(),
                              .bias = with_bias ? w.bias.data() : nullptr,
                              .num_items = w.num_items,
                              .dim = w.dim,
                              .stride = w.dim});
  RetrievalScratch scratch;
  std::vector<ScoredRow> found;
  std::vector<int32_t> rows;
  for (const size_t k : ks) {
    SWIFTLET_RETURN_IF_ERROR(WriteNpy(absl::StrCat(directory, "/truth-", k, ".npy"), "i4", w.num_queries, k,
                                      [&](size_t i, std::ofstream& out) {
                                        exact.Search({.vector = w.query(i), .k = k}, scratch, found);
                                        rows.assign(k, -1);
                                        for (size_t r = 0; r < found.size(); ++r) {
                                          rows[r] = static_cast<int32_t>(found[r].row);
                                        }
                                        Put(rows.data(), k, out);
                                      }));
  }
  return absl::OkStatus();
}

}  // namespace swiftlet::bench

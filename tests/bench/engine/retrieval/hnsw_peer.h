// hnswlib behind a small wall, so that it is compiled with its own flags.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace swiftlet::bench {

struct HnswOptions {
  size_t m = 16, ef_construction = 100;
  size_t num_threads = 2;  // for building
  // Graphs are kept here under a name made of the options and a hash of the vectors; empty: nowhere.
  std::string cache_directory;
};

class HnswPeer {
 public:
  virtual ~HnswPeer() = default;
  // Rows of the k items with the largest inner product that the graph search finds, best first.
  virtual void Search(std::span<const float> query, size_t k, size_t ef, std::vector<uint32_t>* rows) = 0;
  virtual uint64_t bytes() const = 0;  // vectors included
  // When the graph was built, not loaded; 0: not known.
  virtual double build_seconds() const = 0;
  virtual bool from_cache() const = 0;
};

// Inner product over items [n, dim]. bias: [n], as one more dimension, for which a query has a 1; or null.
// Null when built without hnswlib.
std::unique_ptr<HnswPeer> BuildHnsw(const float* items, const float* bias, size_t n, size_t dim,
                                    const HnswOptions& options);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_

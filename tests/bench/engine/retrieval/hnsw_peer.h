// hnswlib behind a small wall, so that it is compiled with its own flags.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace swiftlet::bench {

class HnswPeer {
 public:
  virtual ~HnswPeer() = default;
  // Rows of the k items with the largest inner product that the graph search finds, in any order.
  virtual void Search(std::span<const float> query, size_t k, size_t ef, std::vector<uint32_t>* rows) = 0;
  virtual uint64_t bytes() const = 0;
};

// Inner product over items [n, dim]. Null when built without hnswlib. num_threads: for building.
std::unique_ptr<HnswPeer> BuildHnsw(const float* items, size_t n, size_t dim, size_t m,
                                    size_t ef_construction, size_t num_threads);

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_HNSW_PEER_H_

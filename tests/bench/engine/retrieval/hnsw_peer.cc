#include "tests/bench/engine/retrieval/hnsw_peer.h"

#if SWIFTLET_HAVE_HNSWLIB
#include <hnswlib/hnswlib.h>

#include <atomic>
#include <thread>
#endif

namespace swiftlet::bench {

#if SWIFTLET_HAVE_HNSWLIB

namespace {

class Peer final : public HnswPeer {
 public:
  Peer(const float* items, size_t n, size_t dim, size_t m, size_t ef_construction, size_t num_threads)
      : space_(dim), graph_(&space_, n, m, ef_construction) {
    graph_.addPoint(items, 0);
    std::atomic<size_t> next{1};
    std::vector<std::thread> threads;
    for (size_t t = 0; t < num_threads; ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < n; i = next++) graph_.addPoint(items + i * dim, i);
      });
    }
    for (std::thread& thread : threads) thread.join();
    bytes_ = n * graph_.size_data_per_element_;
    for (size_t i = 0; i < n; ++i) {
      bytes_ += static_cast<uint64_t>(graph_.element_levels_[i]) * graph_.size_links_per_element_;
    }
  }
  void Search(std::span<const float> query, size_t k, size_t ef, std::vector<uint32_t>* rows) override {
    graph_.setEf(ef);
    auto found = graph_.searchKnn(query.data(), k);
    rows->clear();
    for (; !found.empty(); found.pop()) rows->push_back(static_cast<uint32_t>(found.top().second));
  }
  uint64_t bytes() const override { return bytes_; }

 private:
  hnswlib::InnerProductSpace space_;
  hnswlib::HierarchicalNSW<float> graph_;
  uint64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<HnswPeer> BuildHnsw(const float* items, size_t n, size_t dim, size_t m,
                                    size_t ef_construction, size_t num_threads) {
  return std::make_unique<Peer>(items, n, dim, m, ef_construction, num_threads);
}

#else

std::unique_ptr<HnswPeer> BuildHnsw(const float*, size_t, size_t, size_t, size_t, size_t) { return nullptr; }

#endif

}  // namespace swiftlet::bench

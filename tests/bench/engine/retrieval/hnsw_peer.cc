#include "tests/bench/engine/retrieval/hnsw_peer.h"

#if SWIFTLET_HAVE_HNSWLIB
#include <hnswlib/hnswlib.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <thread>
#endif

namespace swiftlet::bench {

#if SWIFTLET_HAVE_HNSWLIB

namespace {

using Graph = hnswlib::HierarchicalNSW<float>;
namespace fs = std::filesystem;

class Peer final : public HnswPeer {
 public:
  Peer(const float* items, const float* bias, size_t n, size_t dim, const HnswOptions& options)
      : dim_(dim),
        has_bias_(bias != nullptr),
        space_(dim + (bias != nullptr ? 1 : 0)),
        query_(dim + 1, 1.0f) {
    const std::string path = options.cache_directory.empty() ? "" : CachePath(items, bias, n, options);
    if (path.empty() || !Load(path)) {
      Build(items, bias, n, options);
      if (!path.empty()) Save(path);
    }
    CountBytes();
  }
  void Search(std::span<const float> query, size_t k, size_t ef, std::vector<uint32_t>* rows) override {
    graph_->setEf(ef);
    if (has_bias_) {
      std::copy(query.begin(), query.end(), query_.begin());
      query = query_;
    }
    auto found = graph_->searchKnn(query.data(), k);
    rows->resize(found.size());
    for (; !found.empty(); found.pop()) {
      (*rows)[found.size() - 1] = static_cast<uint32_t>(found.top().second);  // the worst is on top
    }
  }
  uint64_t bytes() const override { return bytes_; }
  double build_seconds() const override { return build_seconds_; }
  bool from_cache() const override { return from_cache_; }

 private:
  std::string CachePath(const float* items, const float* bias, size_t n, const HnswOptions& options) const {
    const XXH64_hash_t hash = XXH3_64bits_withSeed(
        items, n * dim_ * sizeof(float), bias == nullptr ? 0 : XXH3_64bits(bias, n * sizeof(float)));
    char name[128];
    std::snprintf(name, sizeof(name), "hnsw-%zux%zu-m%zu-efc%zu-%016llx", n, dim_, options.m,
                  options.ef_construction, static_cast<unsigned long long>(hash));
    return options.cache_directory + "/" + name;
  }
  bool Load(const std::string& path) {
    std::error_code error;
    if (!fs::exists(path, error)) return false;
    try {
      graph_ = std::make_unique<Graph>(&space_, path);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s: %s; it is built anew\n", path.c_str(), e.what());
      return false;
    }
    std::ifstream(path + ".seconds") >> build_seconds_;
    from_cache_ = true;
    return true;
  }
  void Save(const std::string& path) const {
    const std::string aside = path + ".tmp";
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    graph_->saveIndex(aside);
    std::ofstream(path + ".seconds") << build_seconds_ << "\n";
    fs::rename(aside, path, error);
    if (error) std::fprintf(stderr, "%s: %s\n", path.c_str(), error.message().c_str());
  }
  void Build(const float* items, const float* bias, size_t n, const HnswOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    graph_ = std::make_unique<Graph>(&space_, n, options.m, options.ef_construction);
    const auto add = [&](size_t i, std::vector<float>& row) {
      const float* vector = items + i * dim_;
      if (bias != nullptr) {
        row.assign(vector, vector + dim_);
        row.push_back(bias[i]);
        vector = row.data();
      }
      graph_->addPoint(vector, i);
    };
    std::vector<float> first;
    add(0, first);
    std::atomic<size_t> next{1};
    std::vector<std::thread> threads;
    for (size_t t = 0; t < options.num_threads; ++t) {
      threads.emplace_back([&] {
        std::vector<float> row;
        for (size_t i = next++; i < n; i = next++) add(i, row);
      });
    }
    for (std::thread& thread : threads) thread.join();
    build_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  void CountBytes() {
    bytes_ = graph_->cur_element_count * graph_->size_data_per_element_;
    for (size_t i = 0; i < graph_->cur_element_count; ++i) {
      bytes_ += static_cast<uint64_t>(graph_->element_levels_[i]) * graph_->size_links_per_element_;
    }
  }

  const size_t dim_;
  const bool has_bias_;
  hnswlib::InnerProductSpace space_;
  std::unique_ptr<Graph> graph_;
  std::vector<float> query_;  // with a 1 behind it
  uint64_t bytes_ = 0;
  double build_seconds_ = 0;
  bool from_cache_ = false;
};

}  // namespace

std::unique_ptr<HnswPeer> BuildHnsw(const float* items, const float* bias, size_t n, size_t dim,
                                    const HnswOptions& options) {
  return std::make_unique<Peer>(items, bias, n, dim, options);
}

#else

std::unique_ptr<HnswPeer> BuildHnsw(const float*, const float*, size_t, size_t, const HnswOptions&) {
  return nullptr;
}

#endif

}  // namespace swiftlet::bench

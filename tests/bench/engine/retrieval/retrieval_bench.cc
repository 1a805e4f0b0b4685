// Top-k search over one workload: the full scan, the bound index, and hnswlib as a peer, one thread, one
// after another over the same queries. Prints a line for each: QPS, p50, p99, recall@k, rows and bytes looked
// at.
//
//   retrieval_bench --items 1000000 --dim 64 --sigma 0.35 --k 10
//   retrieval_bench --snapshot models/1 --k 10,100
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/kernels/code_match.h"
#include "engine/kernels/cpu_target.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_index_builder.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"
#include "tests/bench/engine/retrieval/hnsw_peer.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {
namespace {

using Clock = std::chrono::steady_clock;

// CPU time of this thread: other work on the machine counts only as far as it takes cache and memory.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Flags {
  FactorModelOptions model;
  std::string snapshot;
  std::vector<size_t> ks = {10};
  bool with_bias = false;
  double allowed = 1;  // fraction of rows that the filter allows
  std::vector<size_t> hnsw_m = {16};
  size_t ef_construction = 100;
  bool hnsw = true;
  // "1", ".7" or ".7:.5": of boxes and of codes.
  std::vector<std::string> bound_scales = {"1", "0.8", "0.8:0.5", "0.7:0.5", "0.6:0.5", "0.6:0.4", "0.5"};
  size_t exact_queries = 200;  // that the full scan is timed on
  size_t clusters = 0;
  size_t threads = 2;
};

// Answers of one method to all queries, in three rounds of which the median counts.
class Series {
 public:
  Series(std::string name, size_t num_queries) : name_(std::move(name)), num_queries_(num_queries) {}

  // answer(i): runs query i; rows(i) of the last answer.
  void Run(const std::function<RetrievalStats(size_t, std::vector<uint32_t>*)>& answer,
           const std::vector<std::vector<uint32_t>>* truth, size_t k, int rounds = 3) {
    std::vector<uint32_t> rows;
    std::vector<double> totals;
    std::vector<std::vector<double>> times(num_queries_);
    RetrievalStats sum;
    double hits = 0, wanted = 0;
    for (int round = -1; round < rounds; ++round) {
      if (round < 0) {  // warm-up, and recall
        for (size_t i = 0; i < num_queries_; ++i) {
          const RetrievalStats stats = answer(i, &rows);
          sum.rows_scanned += stats.rows_scanned;
          sum.rows_scored += stats.rows_scored;
          sum.bytes_read += stats.bytes_read;
          if (truth == nullptr) continue;
          for (const uint32_t row : rows) {
            hits += std::binary_search((*truth)[i].begin(), (*truth)[i].end(), row) ? 1 : 0;
          }
          wanted += static_cast<double>((*truth)[i].size());
        }
        continue;
      }
      double total = 0;
      for (size_t i = 0; i < num_queries_; ++i) {
        const double begin = ThreadSeconds();
        answer(i, &rows);
        times[i].push_back(ThreadSeconds() - begin);
        total += times[i].back();
      }
      totals.push_back(total);
    }
    std::vector<double> medians;
    for (std::vector<double>& t : times) medians.push_back(Median(t));
    std::sort(medians.begin(), medians.end());
    double total = 0;
    for (const double t : medians) total += t;
    const auto q = static_cast<double>(num_queries_);
    const auto at = [&](double p) {
      return 1e6 * medians[std::min(num_queries_ - 1, static_cast<size_t>(p * q))];
    };
    std::printf(
        "%-28s k %4zu  %9.0f QPS  p50 %8.1f us  p99 %8.1f us  recall %.4f  scanned %8.0f  scored %7.0f  MB "
        "%.3f\n",
        name_.c_str(), k, q / total, at(.5), at(.99), wanted > 0 ? hits / wanted : 1.0,
        static_cast<double>(sum.rows_scanned) / q, static_cast<double>(sum.rows_scored) / q,
        static_cast<double>(sum.bytes_read) / q / 1e6);
    std::fflush(stdout);
  }

 private:
  static double Median(std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  }
  const std::string name_;
  const size_t num_queries_;
};

std::vector<uint32_t> RowsOf(const std::vector<ScoredRow>& results) {
  std::vector<uint32_t> rows;
  for (const ScoredRow& r : results) rows.push_back(r.row);
  return rows;
}

int Run(const Flags& flags) {
  std::optional<Workload> workload;
  if (flags.snapshot.empty()) {
    workload = FactorModel(flags.model);
  } else {
    absl::StatusOr<Workload> loaded = FromSnapshot(flags.snapshot, flags.model.num_queries);
    if (!loaded.ok()) {
      std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str());
      return 1;
    }
    workload = *std::move(loaded);
  }
  const Workload& w = *workload;
  const ItemMatrix items{.vectors = w.items.data(),
                         .bias = flags.with_bias ? w.bias.data() : nullptr,
                         .num_items = w.num_items,
                         .dim = w.dim,
                         .stride = w.dim};
  AlignedVector<float> inverse_norms(w.num_items);
  for (size_t i = 0; i < w.num_items; ++i) {
    const float square = Dot(&w.items[i * w.dim], &w.items[i * w.dim], w.dim);
    inverse_norms[i] = square > 0 ? 1 / std::sqrt(square) : 0;
  }
  std::printf("%zu items, dim %zu, %zu queries%s, allowed %.2f %%, target %s%s\n", w.num_items, w.dim,
              w.num_queries, flags.with_bias ? ", bias" : "", flags.allowed * 100, ActiveCpuTarget().c_str(),
              UsesVnni() ? " VNNI" : "");

  Clock::time_point start = Clock::now();
  const std::optional<BoundIndexData> index =
      BuildBoundIndex(items, inverse_norms, {.num_threads = flags.threads, .num_clusters = flags.clusters});
  const double build_seconds = SecondsSince(start);
  const BoundRetriever bound(items, inverse_norms, index->View());
  const ExactRetriever exact(items, inverse_norms);
  std::printf("bound index: built in %.1f s, %.1f bytes an item besides the vectors' %zu, %zu clusters\n",
              build_seconds,
              static_cast<double>(index->View().size_bytes()) / static_cast<double>(w.num_items),
              w.dim * sizeof(float), index->View().num_clusters());

  std::vector<uint64_t> masked((w.num_items + 63) / 64);
  if (flags.allowed < 1) {
    std::mt19937_64 random(3);
    for (size_t i = 0; i < w.num_items; ++i) {
      if (static_cast<double>(random() >> 11) * 0x1p-53 >= flags.allowed)
        masked[i / 64] |= uint64_t{1} << (i % 64);
    }
  }
  RowFilter filter;
  filter.Reset(static_cast<uint32_t>(w.num_items), masked);

  struct Peer {
    std::string name;
    std::unique_ptr<HnswPeer> graph;
  };
  std::vector<Peer> peers;
  if (flags.hnsw && !flags.with_bias && flags.allowed >= 1) {
    for (const size_t m : flags.hnsw_m) {
      start = Clock::now();
      std::unique_ptr<HnswPeer> graph =
          BuildHnsw(w.items.data(), w.num_items, w.dim, m, flags.ef_construction, flags.threads);
      if (graph == nullptr) break;
      std::printf("hnswlib M %zu efConstruction %zu: built in %.1f s, %.1f bytes an item, vectors included\n",
                  m, flags.ef_construction, SecondsSince(start),
                  static_cast<double>(graph->bytes()) / static_cast<double>(w.num_items));
      peers.push_back({"hnswlib M " + std::to_string(m), std::move(graph)});
    }
  }

  RetrievalScratch scratch;
  std::vector<ScoredRow> results;
  bool all_equal = true;
  for (const size_t k : flags.ks) {
    const auto query = [&](size_t i) {
      return RetrievalQuery{.vector = w.query(i), .k = k, .filter = flags.allowed < 1 ? &filter : nullptr};
    };
    std::vector<std::vector<uint32_t>> truth(w.num_queries);
    std::vector<std::vector<ScoredRow>> oracle(w.num_queries);
    for (size_t i = 0; i < w.num_queries; ++i) {
      exact.Search(query(i), scratch, results);
      oracle[i] = results;
      truth[i] = RowsOf(results);
      std::sort(truth[i].begin(), truth[i].end());
    }
    if (flags.exact_queries > 0) {
      Series("full scan", std::min(w.num_queries, flags.exact_queries))
          .Run(
              [&](size_t i, std::vector<uint32_t>* rows) {
                const RetrievalStats stats = exact.Search(query(i), scratch, results);
                *rows = RowsOf(results);
                return stats;
              },
              &truth, k, 1);
    }
    for (const std::string& text : flags.bound_scales) {
      const size_t colon = text.find(':');
      const BoundScale scale{.box = std::stof(text),
                             .code = std::stof(colon == std::string::npos ? text : text.substr(colon + 1))};
      const std::string name = scale.IsExact() ? "bound index, exact" : "bound index, scale " + text;
      Series(name, w.num_queries)
          .Run(
              [&](size_t i, std::vector<uint32_t>* rows) {
                RetrievalQuery q = query(i);
                q.bound_scale = scale;
                const RetrievalStats stats = bound.Search(q, scratch, results);
                rows->resize(results.size());
                for (size_t r = 0; r < results.size(); ++r) (*rows)[r] = results[r].row;
                if (scale.IsExact() && results != oracle[i]) all_equal = false;
                return stats;
              },
              &truth, k);
    }
    for (const Peer& peer : peers) {
      for (const size_t ef : {10, 20, 40, 60, 80, 120, 160, 320, 640, 1280}) {
        if (ef < k) continue;
        Series(peer.name + " ef " + std::to_string(ef), w.num_queries)
            .Run(
                [&](size_t i, std::vector<uint32_t>* rows) {
                  peer.graph->Search(w.query(i), k, ef, rows);
                  return RetrievalStats{};
                },
                &truth, k);
      }
    }
  }
  if (!all_equal) {
    std::printf("THE BOUND INDEX DISAGREES WITH THE FULL SCAN\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace swiftlet::bench

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  swiftlet::bench::Flags flags;
  CLI::App app("Top-k search over one workload");
  app.add_option("--items", flags.model.num_items);
  app.add_option("--dim", flags.model.dim, "a multiple of 16")->check(CLI::Range(16, 512));
  app.add_option("--sigma", flags.model.sigma);
  app.add_option("--within", flags.model.within);
  app.add_option("--queries", flags.model.num_queries)->check(CLI::Range(1, 1'000'000));
  app.add_option("--snapshot", flags.snapshot, "take items from this snapshot");
  app.add_option("--k", flags.ks)->delimiter(',');
  app.add_flag("--bias", flags.with_bias);
  app.add_option("--allowed", flags.allowed, "fraction of rows that the filter allows");
  app.add_option("--bound-scales", flags.bound_scales)->delimiter(',');
  app.add_option("--hnsw-m", flags.hnsw_m)->delimiter(',');
  app.add_option("--ef-construction", flags.ef_construction);
  app.add_flag("!--no-hnsw", flags.hnsw);
  app.add_option("--exact-queries", flags.exact_queries);
  app.add_option("--clusters", flags.clusters);
  app.add_option("--threads", flags.threads, "for building");
  CLI11_PARSE(app, argc, argv);
  return swiftlet::bench::Run(flags);
}

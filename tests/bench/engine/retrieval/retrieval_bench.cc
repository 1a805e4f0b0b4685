// Top-k search over one workload: the full scan, the bound index, and hnswlib as a peer, one thread, one
// after another over the same queries. Prints a line for each: QPS, p50, p99, recall@k, rows and bytes looked
// at. Exits with 1 when an answer of the index that is proven exact differs from the full scan's in a row or
// a bit.
//
//   retrieval_bench --items 1000000 --dim 64 --sigma 0.35 --k 10,100 --hnsw 16:100,32:200
//   retrieval_bench --snapshot models/1 --events train.tsv.gz --expand 1000000 --filters none,allowed:0.1
//
// tests/bench/retrieval runs all workloads.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/code_match.h"
#include "engine/kernels/cpu_target.h"
#include "engine/kernels/dot.h"
#include "engine/retrieval/bound_index_builder.h"
#include "engine/retrieval/bound_index_trial.h"
#include "engine/retrieval/bound_retriever.h"
#include "engine/retrieval/exact_retriever.h"
#include "tests/bench/engine/retrieval/export.h"
#include "tests/bench/engine/retrieval/hnsw_peer.h"
#include "tests/bench/engine/retrieval/measure.h"
#include "tests/bench/engine/retrieval/query_filter.h"
#include "tests/bench/engine/retrieval/report.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kEnoughRecall = 0.99;  // of a peer: larger efs are not tried
constexpr double kSlowestUs = 3'000;    // and not beyond this p50
// Nor where from this ef on a larger one gained less recall than that.
constexpr size_t kStuckEf = 640;
constexpr double kStuckGain = 0.0005;
constexpr size_t kSlowEf = 1280;  // measured once

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Flags {
  std::string name, json, export_dir, cache_dir;
  FactorModelOptions model;
  SnapshotWorkloadOptions snapshot;  // without a directory: the factor model
  size_t expand = 0;
  std::vector<size_t> ks = {10};
  std::vector<std::string> filters = {"none"};
  bool with_bias = false;
  bool bf16 = false;
  std::vector<std::string> hnsw = {"16:100"};
  std::vector<size_t> efs = {10, 20, 40, 60, 80, 120, 160, 240, 320, 480, 640, 1280, 2560, 5120};
  bool only_build = false;
  // "1", ".7" or ".7:.5": of boxes and of codes.
  std::vector<std::string> bound_scales = {"1", "0.8", "0.8:0.5", "0.7:0.5", "0.6:0.5", "0.6:0.4", "0.5"};
  size_t exact_queries = 200;  // that the full scan is timed on
  size_t clusters = 0;
  size_t threads = 2;
};

struct ScaledSearch {
  std::string method, parameter;
  BoundScale scale;
};

struct Peer {
  std::string name;
  std::unique_ptr<HnswPeer> graph;
};

absl::StatusOr<Workload> MakeWorkload(const Flags& flags) {
  if (flags.snapshot.snapshot.empty()) return FactorModel(flags.model);
  SnapshotWorkloadOptions options = flags.snapshot;
  options.num_queries = flags.model.num_queries;
  SWIFTLET_ASSIGN_OR_RETURN(Workload w, FromSnapshot(options));
  Expand(flags.expand, 1, &w);
  return w;
}

absl::StatusOr<BoundScale> ParseScale(const std::string& text) {
  const size_t colon = text.find(':');
  const BoundScale scale{
      .box = std::strtof(text.c_str(), nullptr),
      .code = std::strtof(text.c_str() + (colon == std::string::npos ? 0 : colon + 1), nullptr)};
  if (scale.box > 0 && scale.box <= 1 && scale.code > 0 && scale.code <= 1) return scale;
  return absl::InvalidArgumentError(
      absl::StrCat("bound scale \"", text, "\": expected 1, .7 or .7:.5, in (0, 1]"));
}

class Bench {
 public:
  // With flags.bf16 the workload's items are already rounded.
  Bench(const Flags& flags, Workload workload)
      : flags_(flags),
        w_(std::move(workload)),
        bf16_items_(flags.bf16 ? w_.items.size() : 0),
        items_{.vectors = flags.bf16 ? nullptr : w_.items.data(),
               .bf16_vectors = flags.bf16 ? bf16_items_.data() : nullptr,
               .bias = flags.with_bias ? w_.bias.data() : nullptr,
               .num_items = w_.num_items,
               .dim = w_.dim,
               .stride = w_.dim},
        inverse_norms_(w_.num_items) {
    if (flags.bf16) std::transform(w_.items.begin(), w_.items.end(), bf16_items_.begin(), ToBf16);
    for (size_t i = 0; i < w_.num_items; ++i) {
      const float square = Dot(&w_.items[i * w_.dim], &w_.items[i * w_.dim], w_.dim);
      inverse_norms_[i] = square > 0 ? 1 / std::sqrt(square) : 0;
    }
  }

  absl::Status Run() {
    SWIFTLET_RETURN_IF_ERROR(report_.Open(flags_.json));
    report_.common() = {{"workload", flags_.name},
                        {"items", w_.num_items},
                        {"dim", w_.dim},
                        {"queries", w_.num_queries},
                        {"bias", flags_.with_bias}};
    const WorkloadFacts facts = FactsOf(w_);
    report_.Fact("workload", {{"log_norm_deviation", facts.log_norm_deviation},
                              {"rows", flags_.bf16 ? "bf16" : "float32"},
                              {"nearest_cosine", facts.nearest_cosine},
                              {"hundredth_cosine", facts.hundredth_cosine},
                              {"cpu_target", absl::StrCat(ActiveCpuTarget(), UsesVnni() ? " VNNI" : "")},
                              {"load", LoadAverage()},
                              {"peak_mb", PeakMemoryMb()}});
    if (!flags_.export_dir.empty()) {
      SWIFTLET_RETURN_IF_ERROR(ExportWorkload(w_, flags_.with_bias, flags_.ks, flags_.export_dir));
    }
    if (!flags_.only_build) SWIFTLET_RETURN_IF_ERROR(BuildIndex());
    SWIFTLET_RETURN_IF_ERROR(BuildPeers());
    if (flags_.only_build) return absl::OkStatus();
    Calibrate();
    for (size_t f = 0; f < flags_.filters.size(); ++f) {
      SWIFTLET_ASSIGN_OR_RETURN(const FilterSpec spec, ParseFilter(flags_.filters[f]));
      QueryFilter filter(spec, w_, *exact_);
      report_.common()["filter"] = flags_.filters[f];
      report_.common()["allowed"] = filter.allowed();
      for (const size_t k : flags_.ks) {
        SWIFTLET_RETURN_IF_ERROR(Search(k, filter));
        if (f > 0) break;
      }
    }
    if (num_wrong_ == 0) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(num_wrong_, " proven answers of the index differ from the full scan's"));
  }

 private:
  absl::Status BuildIndex() {
    const Clock::time_point start = Clock::now();
    index_ = BuildBoundIndex(items_, inverse_norms_,
                             {.num_threads = flags_.threads, .num_clusters = flags_.clusters});
    if (!index_.has_value()) return absl::FailedPreconditionError("these items cannot have an index");
    bound_.emplace(items_, inverse_norms_, index_->View());
    exact_.emplace(items_, inverse_norms_);
    const double bytes = static_cast<double>(index_->View().size_bytes()) / static_cast<double>(w_.num_items);
    report_.Fact("build", {{"method", "bound index"},
                           {"seconds", SecondsSince(start)},
                           {"threads", flags_.threads},
                           {"bytes_per_item", bytes},
                           {"vector_bytes_per_item", items_.row_bytes()},
                           {"clusters", index_->View().num_clusters()},
                           {"load", LoadAverage()},
                           {"peak_mb", PeakMemoryMb()}});
    return absl::OkStatus();
  }

  // The scales that the trainer would write into the manifest, found on vectors that are no queries.
  void Calibrate() {
    const Clock::time_point start = Clock::now();
    const BoundIndexTrial trial = TryBoundIndex(items_, inverse_norms_, index_->View(),
                                                {.user_vectors = w_.held_out, .num_threads = flags_.threads});
    approximate_ = trial.dot.scale;
    report_.Fact("calibration", {{"seconds", SecondsSince(start)},
                                 {"box", approximate_.box},
                                 {"code", approximate_.code},
                                 {"recall", trial.dot.recall},
                                 {"queries", trial.num_queries}});
  }

  absl::Status BuildPeers() {
    for (const std::string& text : flags_.hnsw) {
      HnswOptions options{.num_threads = flags_.threads, .cache_directory = flags_.cache_dir};
      if (text == "none") break;
      if (std::sscanf(text.c_str(), "%zu:%zu", &options.m, &options.ef_construction) != 2 || options.m < 2) {
        return absl::InvalidArgumentError(
            absl::StrCat("hnsw \"", text, "\": expected M:efConstruction or none"));
      }
      std::unique_ptr<HnswPeer> graph =
          BuildHnsw(w_.items.data(), items_.bias, w_.num_items, w_.dim, options);
      if (graph == nullptr) {
        std::printf("hnswlib's headers were not there when this was built: no peer\n");
        break;
      }
      const std::string name = absl::StrCat("hnswlib M ", options.m, " efC ", options.ef_construction);
      report_.Fact("build", {{"method", name},
                             {"seconds", graph->build_seconds()},
                             {"threads", flags_.threads},
                             {"from_cache", graph->from_cache()},
                             {"bytes_per_item",
                              static_cast<double>(graph->bytes()) / static_cast<double>(w_.num_items)},
                             {"load", LoadAverage()},
                             {"peak_mb", PeakMemoryMb()}});
      if (!flags_.only_build) peers_.push_back({name, std::move(graph)});
    }
    return absl::OkStatus();
  }

  RetrievalQuery Query(size_t i, size_t k, QueryFilter& filter) const {
    return {.vector = w_.query(i), .k = k, .filter = filter.Of(i)};
  }
  // Of results_.
  void RowsInto(std::vector<uint32_t>* rows) const {
    rows->resize(results_.size());
    for (size_t r = 0; r < results_.size(); ++r) (*rows)[r] = results_[r].row;
  }

  // The best k allowed rows into results_, by asking the filter for every row: no way around rows is taken
  // that a retriever could take too.
  void FindTruth(size_t i, size_t k, QueryFilter& filter) {
    all_scores_.resize(w_.num_items);
    DotRows(w_.query(i).data(), w_.items.data(), w_.num_items, w_.dim, w_.dim, all_scores_.data());
    ScaleAndShift(nullptr, items_.bias, w_.num_items, all_scores_.data());
    const RowFilter* const allowed = filter.Of(i);
    results_.clear();
    float worst = -std::numeric_limits<float>::infinity();
    for (uint32_t row = 0; row < w_.num_items; ++row) {
      if (all_scores_[row] < worst || (allowed != nullptr && !allowed->Allows(row))) continue;
      results_.push_back({row, all_scores_[row]});
      if (results_.size() < 2 * k + 64) continue;
      results_.resize(SelectTopK(results_.data(), results_.size(), k));
      worst = results_.back().score;
    }
    results_.resize(SelectTopK(results_.data(), results_.size(), k));
  }

  absl::Status Search(size_t k, QueryFilter& filter) {
    std::vector<std::vector<uint32_t>> truth(w_.num_queries);
    std::vector<std::vector<ScoredRow>> oracle(w_.num_queries);
    for (size_t i = 0; i < w_.num_queries; ++i) {
      FindTruth(i, k, filter);
      oracle[i] = results_;
      RowsInto(&truth[i]);
      std::sort(truth[i].begin(), truth[i].end());
    }
    if (flags_.exact_queries > 0) {
      const Answer scan = [&](size_t i, std::vector<uint32_t>* rows) {
        const RetrievalStats stats = exact_->Search(Query(i, k, filter), scratch_, results_);
        RowsInto(rows);
        return stats;
      };
      report_.Line("full scan", "", k,
                   Measure(std::min(w_.num_queries, flags_.exact_queries), 1, scan, truth));
    }
    std::vector<ScaledSearch> searches = {
        {.method = "bound index, approximate",
         .parameter = absl::StrFormat("scale %g:%g", approximate_.box, approximate_.code),
         .scale = approximate_}};
    for (const std::string& text : flags_.bound_scales) {
      SWIFTLET_ASSIGN_OR_RETURN(const BoundScale scale, ParseScale(text));
      searches.push_back({.method = scale.IsExact() ? "bound index, exact" : "bound index, scaled",
                          .parameter = scale.IsExact() ? "" : absl::StrCat("scale ", text),
                          .scale = scale});
    }
    for (const auto& [method, parameter, scale] : searches) {
      const BoundScale used = scale;
      const Answer search = [&](size_t i, std::vector<uint32_t>* rows) {
        RetrievalQuery query = Query(i, k, filter);
        query.bound_scale = used;
        const RetrievalStats stats = bound_->Search(query, scratch_, results_);
        RowsInto(rows);
        if (used.IsExact() && (!stats.proven_exact || results_ != oracle[i])) ++num_wrong_;
        return stats;
      };
      report_.Line(method, parameter, k, Measure(w_.num_queries, 3, search, truth));
    }
    for (const Peer& peer : peers_) SearchPeer(peer, k, filter, truth);
    return absl::OkStatus();
  }

  // hnswlib 0.6.2 knows no filters: with one, it is asked for ef items, of which the first k allowed ones
  // count.
  void SearchPeer(const Peer& peer, size_t k, QueryFilter& filter,
                  const std::vector<std::vector<uint32_t>>& truth) {
    double last_recall = 0;
    for (const size_t ef : flags_.efs) {
      if (ef < k) continue;
      const Answer search = [&](size_t i, std::vector<uint32_t>* rows) {
        const RowFilter* const allowed = filter.Of(i);
        peer.graph->Search(w_.query(i), allowed == nullptr ? k : ef, ef, rows);
        if (allowed != nullptr) {
          size_t num_kept = 0;
          for (size_t r = 0; r < rows->size() && num_kept < k; ++r) {
            if (allowed->Allows((*rows)[r])) (*rows)[num_kept++] = (*rows)[r];
          }
          rows->resize(num_kept);
        }
        return RetrievalStats{};
      };
      const Measurement m = Measure(w_.num_queries, ef < kSlowEf ? 3 : 1, search, truth);
      report_.Line(peer.name, absl::StrCat("ef ", ef), k, m);
      const bool is_stuck = ef >= kStuckEf && m.recall - last_recall < kStuckGain;
      if (m.recall >= kEnoughRecall || m.p50_us > kSlowestUs || is_stuck) break;
      last_recall = m.recall;
    }
  }

  const Flags flags_;
  const Workload w_;
  AlignedVector<Bf16> bf16_items_;
  const ItemMatrix items_;
  AlignedVector<float> inverse_norms_;
  Report report_;
  std::optional<BoundIndexData> index_;
  std::optional<BoundRetriever> bound_;
  std::optional<ExactRetriever> exact_;
  BoundScale approximate_;
  std::vector<Peer> peers_;
  RetrievalScratch scratch_;
  std::vector<ScoredRow> results_;
  AlignedVector<float> all_scores_;
  size_t num_wrong_ = 0;
};

int Main(const Flags& flags) {
  const auto run = [&]() -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(Workload workload, MakeWorkload(flags));
    if (flags.bf16) {
      for (float& x : workload.items) x = ToFloat(ToBf16(x));
    }
    return Bench(flags, std::move(workload)).Run();
  };
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::fprintf(stderr, "retrieval_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace swiftlet::bench

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  swiftlet::bench::Flags flags;
  CLI::App app("Top-k search over one workload, by every method");
  app.add_option("--name", flags.name, "of the workload, in records");
  app.add_option("--json", flags.json, "append a record of JSON for each line to this file");
  app.add_option("--items", flags.model.num_items, "of the factor model");
  app.add_option("--dim", flags.model.dim, "a multiple of 16")->check(CLI::Range(16, 512));
  app.add_option("--sigma", flags.model.sigma, "deviation of the norms' logarithms");
  app.add_option("--within", flags.model.within, "deviation inside clusters over that between them");
  app.add_option("--queries", flags.model.num_queries)->check(CLI::Range(1, 1'000'000));
  app.add_option("--snapshot", flags.snapshot.snapshot, "take items from this snapshot instead");
  app.add_option("--events", flags.snapshot.events, "and queries from these events' users");
  app.add_option("--expand", flags.expand, "grow the snapshot's items to so many (workload.h)");
  app.add_option("--k", flags.ks)->delimiter(',')->check(CLI::Range(1, 100'000));
  app.add_option("--filters", flags.filters,
                 "none, allowed:0.1, seen:200, categories:20; all but the first with the first k only")
      ->delimiter(',');
  app.add_flag("--bias", flags.with_bias);
  app.add_flag("--bf16", flags.bf16, "rows of bf16; peers get the rounded rows as float32");
  app.add_option("--bound-scales", flags.bound_scales)->delimiter(',');
  app.add_option("--hnsw", flags.hnsw, "graphs, as M:efConstruction; or none")->delimiter(',');
  app.add_option("--ef", flags.efs)->delimiter(',');
  app.add_option("--cache", flags.cache_dir, "keep graphs here: building them takes minutes");
  app.add_flag("--only-build", flags.only_build, "build and keep the graphs, measure nothing");
  app.add_option("--export", flags.export_dir, "write vectors, queries and truth here, for peers.py");
  app.add_option("--exact-queries", flags.exact_queries, "that the full scan is timed on");
  app.add_option("--clusters", flags.clusters, "of the index; 0: it chooses");
  app.add_option("--threads", flags.threads, "for building")->check(CLI::Range(1, 256));
  CLI11_PARSE(app, argc, argv);
  return swiftlet::bench::Main(flags);
}

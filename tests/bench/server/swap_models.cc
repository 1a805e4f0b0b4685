// Writes a model directory to swap under load: versions of synthetic vectors that resemble learned ones, all
// of the same items, and with a long-term vector for every user. The same options make the same vectors.
//
//   swap_models --models DIR [--versions 2] [--items 1000000] [--users 1000000] [--dim 64]
//
// Users are those of swiftlet-load (load-user-0, load-user-1, ...). The last version is CURRENT.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/model_directory.h"
#include "storage/user_vector_file.h"
#include "tests/bench/engine/retrieval/workload.h"
#include "tests/testing/random_snapshot.h"

namespace swiftlet::bench {
namespace {

struct Options {
  std::string models;
  int versions = 2;
  uint32_t items = 1'000'000, dim = 64;
  uint64_t users = 1'000'000;
  uint64_t seed = 1;
  bool bf16 = false;
  bool no_bias = false;
};

// vectors: [users, dim].
absl::Status WriteUserVectors(const std::string& path, size_t dim, const AlignedVector<float>& vectors) {
  std::vector<std::pair<std::string, size_t>> users;  // with the row
  for (size_t i = 0; i < vectors.size() / dim; ++i) users.emplace_back(absl::StrCat("load-user-", i), i);
  std::sort(users.begin(), users.end());
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<UserVectorFileWriter> writer,
                            UserVectorFileWriter::Create(path, static_cast<uint32_t>(dim)));
  for (const auto& [id, row] : users) SWIFTLET_RETURN_IF_ERROR(writer->Add(id, {&vectors[row * dim], dim}));
  return writer->Finish();
}

absl::Status Publish(const ModelDirectory& models, const Options& options) {
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t version, models.NextVersion());
  const uint64_t seed = options.seed + static_cast<uint64_t>(version);
  const Workload workload = FactorModel({.num_items = options.items,
                                         .dim = options.dim,
                                         .num_queries = static_cast<size_t>(options.users),
                                         .seed = seed});
  SnapshotContents contents =
      testing::RandomSnapshot({.num_items = options.items,
                               .dim = options.dim,
                               .seed = seed,
                               .version = version,
                               .with_bias = !options.no_bias,
                               .with_input_vectors = false,
                               .embedding_space = "swap",
                               .row_type = options.bf16 ? RowType::kBf16 : RowType::kFloat32});
  contents.item_vectors.assign(workload.items.begin(), workload.items.end());
  contents.sample_user_vectors.assign(workload.held_out.begin(), workload.held_out.end());
  contents.manifest.num_users = options.users;
  contents.index = IndexMode::kAlways;
  SWIFTLET_ASSIGN_OR_RETURN(const std::string staging, models.CreateStaging());
  if (options.users > 0) {
    SWIFTLET_RETURN_IF_ERROR(
        WriteUserVectors(absl::StrCat(staging, "/", kUserVectorsFile), options.dim, workload.queries));
  }
  SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(staging, contents));
  SWIFTLET_RETURN_IF_ERROR(models.Publish(staging, version));
  std::printf("%s: %u items of dimension %u, %llu users\n", models.VersionPath(version).c_str(),
              options.items, options.dim, static_cast<unsigned long long>(options.users));
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  const ModelDirectory models(options.models);
  SWIFTLET_RETURN_IF_ERROR(models.Create());
  for (int i = 0; i < options.versions; ++i) SWIFTLET_RETURN_IF_ERROR(Publish(models, options));
  return absl::OkStatus();
}

}  // namespace
}  // namespace swiftlet::bench

int main(int argc, char** argv) {
  swiftlet::bench::Options options;
  CLI::App app{"Writes a model directory to swap under load"};
  app.option_defaults()->always_capture_default();
  app.add_option("--models", options.models, "Model directory to publish into")->required();
  app.add_option("--versions", options.versions)->check(CLI::Range(1, 100));
  app.add_option("--items", options.items)->check(CLI::Range(1, 100'000'000));
  app.add_option("--dim", options.dim, "A multiple of 16")->check(CLI::Range(16, 2048));
  app.add_option("--users", options.users);
  app.add_option("--seed", options.seed);
  app.add_flag("--bf16", options.bf16, "Store item vectors as bf16");
  app.add_flag(
      "--no-bias", options.no_bias,
      "Items have no bias (random ones are as large as scores, which leaves searches more to look at)");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = swiftlet::bench::Run(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/input.h"
#include "engine/trainer/recommend_users.h"

namespace swiftlet {
namespace {

struct RecommendOptions {
  InputOptions input;
  RecommendUsersOptions recommend;
  uint32_t threads = 0;
  std::string snapshot_dir, output_path = "-";
};

absl::Status RunRecommend(const RecommendOptions& options) {
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> snapshot,
                            ModelSnapshot::Load(options.snapshot_dir, {}));
  SWIFTLET_ASSIGN_OR_RETURN(UserVectors users, LoadUserVectors(*snapshot));
  LiveState live;
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, LoadInput(options.input, &progress, &live));
  MaskErasedUsers(live, snapshot->manifest().trained_through_ms, &users);
  const std::unique_ptr<ThreadPool> pool = MakePool(options.threads);

  const auto failed = [&] {
    return absl::UnavailableError(absl::StrCat(options.output_path, ": ", std::strerror(errno)));
  };
  const bool to_stdout = options.output_path == "-";
  const auto close = [](std::FILE* file) { std::fclose(file); };
  std::unique_ptr<std::FILE, decltype(close)> file(nullptr, close);
  if (!to_stdout) {
    file.reset(std::fopen(options.output_path.c_str(), "wb"));
    if (file == nullptr) return failed();
  }
  std::FILE* const out = to_stdout ? stdout : file.get();
  const auto write = [&](const std::string& text) {
    return std::fwrite(text.data(), 1, text.size(), out) == text.size() ? absl::OkStatus() : failed();
  };
  SWIFTLET_RETURN_IF_ERROR(write("user\trank\titem\tscore\n"));
  SWIFTLET_RETURN_IF_ERROR(
      RecommendUsers(*snapshot, users, data, live.catalog, options.recommend, pool.get(), write));
  if (std::fflush(out) != 0) return failed();
  progress.Say(absl::StrCat("wrote the first ", options.recommend.k, " items of ",
                            WithCommas(data.num_users()), " users by snapshot ", snapshot->version()));
  return absl::OkStatus();
}

}  // namespace

void AddRecommendCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<RecommendOptions>();
  CLI::App* command = app->add_subcommand(
      "recommend", "Write the first k items of every user, as a server with these events would answer");
  command->footer(
      "Examples:\n"
      "  swiftlet-trainer recommend --snapshot models/1 --events ratings.csv --k 10 --output recs.tsv\n"
      "  swiftlet-trainer recommend --snapshot models/1 --data-dir /var/lib/swiftlet/data > recs.tsv");
  command->add_option("--snapshot", options->snapshot_dir, "Snapshot directory")->required();
  command->add_option("--k", options->recommend.k, "Items of a user")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      ->add_option("--max-history", options->recommend.max_history,
                   "Newest events of a user that count; a server keeps 200 (0: all)")
      ->capture_default_str();
  command
      ->add_option("--output", options->output_path, "TSV file: user, rank, item, score; -: standard output")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "0: one for each core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  AddInputFlags(command, &options->input);
  command->callback([options, run] { *run = [options] { return RunRecommend(*options); }; });
}

}  // namespace swiftlet

#include "engine/trainer/experiment.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <system_error>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/fit_size.h"
#include "engine/trainer/popularity.h"
#include "engine/trainer/rating_evaluation.h"
#include "engine/trainer/rating_training.h"
#include "engine/trainer/report.h"
#include "engine/trainer/results.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

absl::StatusOr<TrainedSnapshot> LoadSnapshot(const std::string& directory) {
  TrainedSnapshot loaded;
  SWIFTLET_ASSIGN_OR_RETURN(loaded.snapshot, ModelSnapshot::Load(directory, {}));
  SWIFTLET_ASSIGN_OR_RETURN(loaded.users, LoadUserVectors(*loaded.snapshot));
  return loaded;
}

// A new directory that an evaluated snapshot stays in.
absl::Status MakeSaveDirectory(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::create_directories(path, error) && !error &&
      !std::filesystem::is_empty(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat("--save: ", path, " exists and is not empty"));
  }
  if (error) return absl::UnavailableError(absl::StrCat("--save: ", path, ": ", error.message()));
  return absl::OkStatus();
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

// A ranker and the snapshot that it ranks with.
struct Ranked {
  std::shared_ptr<const ModelSnapshot> snapshot;
  UserVectors users;
  EvaluationOptions options;
};

// The users of the report: half of them drawn from those for whom any ranker has a target among its first k.
std::vector<size_t> DrawExamples(std::span<const TestUser> test, std::span<const NamedResult> results,
                                 uint32_t k, const ExperimentOptions& options) {
  std::vector<size_t> hits, all;
  for (size_t u = 0; u < test.size(); ++u) {
    if (test[u].history.empty()) continue;
    all.push_back(u);
    const bool hit = std::any_of(results.begin(), results.end(), [&](const NamedResult& r) {
      return !r.is_validation && r.result.users.at(k)[u].hit_rate > 0;
    });
    if (hit) hits.push_back(u);
  }
  std::mt19937_64 random(options.seed);
  std::vector<size_t> drawn;
  const auto draw = [&](std::vector<size_t>& from, size_t count) {
    while (drawn.size() < count && !from.empty()) {
      std::swap(from.back(), from[random() % from.size()]);
      if (std::find(drawn.begin(), drawn.end(), from.back()) == drawn.end()) drawn.push_back(from.back());
      from.pop_back();
    }
  };
  draw(hits, options.num_examples / 2);
  draw(all, options.num_examples);
  return drawn;
}

using Labels = absl::flat_hash_map<ItemKey, std::string>;

Labels LabelsOf(const Dataset& data) {
  Labels labels;
  labels.reserve(data.num_items());
  for (size_t i = 0; i < data.num_items(); ++i) {
    const bool titled = !data.item_titles.empty() && !data.item_titles[i].empty();
    labels.emplace(ItemKeyOf(data.item_ids[i]), titled ? data.item_titles[i] : data.item_ids[i]);
  }
  return labels;
}

absl::StatusOr<std::vector<ExampleUser>> MakeExamples(std::span<const TestUser> test,
                                                      std::span<const size_t> drawn,
                                                      std::span<const Ranked> rankers, const Labels& labels,
                                                      uint32_t k) {
  constexpr size_t kMaxHistory = 8;
  const auto label = [&](ItemKey key) {
    const auto it = labels.find(key);
    return it == labels.end() ? std::string("(unknown item)") : it->second;
  };
  std::vector<const TestUser*> users;
  std::vector<ExampleUser> examples;
  for (const size_t u : drawn) {
    const TestUser& user = test[u];
    users.push_back(&user);
    ExampleUser& example = examples.emplace_back();
    example.user_id = user.user_id;
    example.num_events = user.history.size();
    for (size_t e = user.history.size(); e-- > 0 && example.history.size() < kMaxHistory;) {
      example.history.push_back(label(user.history[e].item_key));
    }
    for (const ItemKey target : user.targets) example.targets.push_back({.label = label(target)});
  }
  for (const Ranked& ranker : rankers) {
    SWIFTLET_ASSIGN_OR_RETURN(const auto lists,
                              TopItems(*ranker.snapshot, ranker.users, users, k, ranker.options));
    for (size_t u = 0; u < users.size(); ++u) {
      std::vector<ExampleItem>& list = examples[u].lists.emplace_back();
      for (const ItemKey key : lists[u]) {
        const auto& targets = users[u]->targets;
        list.push_back({label(key), std::find(targets.begin(), targets.end(), key) != targets.end()});
      }
    }
  }
  return examples;
}

// Not a part of a blend: its vectors are one model's.
bool IsPlainAttention(const Manifest& manifest) {
  return manifest.model_kind == kAttentionModelKind && manifest.encoders.empty() &&
         !manifest.neighbours.has_value();
}

std::string UniqueName(std::string name, std::span<const NamedResult> results) {
  const auto taken = [&](const std::string& n) {
    return std::any_of(results.begin(), results.end(), [&](const NamedResult& r) { return r.name == n; });
  };
  if (!taken(name)) return name;
  int n = 2;
  while (taken(absl::StrCat(name, " #", n))) ++n;
  return absl::StrCat(name, " #", n);
}

}  // namespace

void AddExperimentFlags(CLI::App* app, ExperimentOptions* o) {
  app->add_option("--k", o->cutoffs, "Cut-offs, separated by commas; the report's plots are at the first")
      ->delimiter(',')
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app->add_option("--max-history", o->max_history,
                  "Newest events of a user that the engine is given; a server keeps 200 (0: all)")
      ->capture_default_str();
  app->add_option("--bootstrap", o->replicates, "Replicates of the confidence intervals")
      ->check(CLI::Range(10, 100000))
      ->capture_default_str();
  app->add_option("--examples", o->num_examples, "Users whose recommendations the report shows")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app->add_option("--popularity-half-life", o->popularity_half_life_days,
                  "Also rank by what is trending: an event counts half after this many days (0: do not)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_flag("--ratings,!--no-ratings", o->with_ratings,
                "Where the events hold ratings, also predict those that are held out: RMSE and MAE (default "
                "on)");
  app->add_option("--json", o->json_path, "Write the results to this file, too");
  app->add_option("--html", o->html_path, "Write a report with plots to this file (one page, no network)");
}

absl::Status RunExperiment(const InputOptions& input, const ProtocolOptions& protocol_options,
                           std::span<const Candidate> candidates, const ExperimentOptions& options,
                           uint32_t threads, Progress* progress) {
  if (candidates.empty()) return absl::InvalidArgumentError("there is nothing to evaluate");
  SWIFTLET_ASSIGN_OR_RETURN(Dataset data, LoadInput(input, progress));
  const Labels labels = options.html_path.empty() ? Labels() : LabelsOf(data);
  const std::string size =
      absl::StrCat(WithCommas(data.events.size()), " events of ", WithCommas(data.num_users()), " users and ",
                   WithCommas(data.num_items()), " items");
  SWIFTLET_ASSIGN_OR_RETURN(const Protocol protocol,
                            MakeProtocol(protocol_options, input, std::move(data), options.seed, progress));
  const Split& split = protocol.split;
  const ItemAudience audience(split.train);
  const std::unique_ptr<ThreadPool> pool = MakePool(threads);
  const EvaluationOptions evaluation{
      .cutoffs = options.cutoffs, .max_history = options.max_history, .audience = &audience};

  std::vector<std::unique_ptr<ScopedDirectory>> directories;
  const auto new_directory = [&]() -> absl::StatusOr<std::string> {
    SWIFTLET_ASSIGN_OR_RETURN(directories.emplace_back(), MakeTemporaryDirectory());
    return directories.back()->path();
  };
  std::vector<NamedResult> results, validations;
  std::vector<Ranked> rankers;
  const auto evaluate = [&](NamedResult named, Ranked ranker) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(
        named.result, Evaluate(*ranker.snapshot, ranker.users, split.test, ranker.options, pool.get()));
    named.name = UniqueName(named.name, results);
    results.push_back(std::move(named));
    rankers.push_back(std::move(ranker));
    return absl::OkStatus();
  };
  // A model, and what it combines as rankers of their own.
  const std::function<absl::Status(const std::string&, TrainedSnapshot)> measure =
      [&](const std::string& name, TrainedSnapshot model) -> absl::Status {
    NamedResult named{.name = name,
                      .train_seconds = model.train_seconds,
                      .epochs = model.epochs,
                      .curve = std::move(model.curve),
                      .parameters = model.snapshot->manifest().training_parameters};
    SWIFTLET_RETURN_IF_ERROR(
        evaluate(std::move(named), {model.snapshot, std::move(model.users), evaluation}));
    const std::string unique = results.back().name;
    if (model.validation.has_value()) {
      validations.push_back({.name = unique + " (validation)",
                             .result = *std::move(model.validation),
                             .curve = {},
                             .is_validation = true});
    }
    for (TrainedSnapshot::Part& part : model.parts) {
      SWIFTLET_RETURN_IF_ERROR(measure(absl::StrCat(unique, ": ", part.kind), std::move(part.snapshot)));
      directories.push_back(std::move(part.directory));
    }
    return absl::OkStatus();
  };
  // Of all models that are trained here: what train fits beside any kind.
  std::shared_ptr<const ModelSnapshot> ratings;
  const bool any_trained = std::any_of(candidates.begin(), candidates.end(),
                                       [](const Candidate& c) { return c.snapshot_dir.empty(); });
  if (options.with_ratings && any_trained) {
    RatingTrainingOptions rating{.data = {}, .fit = {}, .holdout = false};
    rating.fit.seed = options.seed;
    rating.memory_limit = candidates.front().model.training.memory_limit;
    SWIFTLET_ASSIGN_OR_RETURN(std::optional<TrainedRatings> trained,
                              TrainRatings(split.train, rating, pool.get(), progress));
    if (trained.has_value()) {
      SWIFTLET_ASSIGN_OR_RETURN(const std::string directory, new_directory());
      SWIFTLET_ASSIGN_OR_RETURN(ratings,
                                WriteRatingSnapshot(directory, split.train, std::move(trained->contents)));
    }
  }
  bool any_attention = false;
  for (const Candidate& candidate : candidates) {
    TrainedSnapshot model;
    if (!candidate.snapshot_dir.empty()) {
      SWIFTLET_ASSIGN_OR_RETURN(model, LoadSnapshot(candidate.snapshot_dir));
      progress->Say(absl::StrCat("snapshot ", model.snapshot->version(),
                                 " is evaluated as it is: the figures are honest only if "
                                 "it was trained without the held-out events"));
    } else {
      SWIFTLET_ASSIGN_OR_RETURN(TrainingOptions training,
                                FinishTrainingOptions(candidate.model, split.train.event_types));
      training.keep_parts = true;
      SWIFTLET_RETURN_IF_ERROR(SaySizes(split.train, training, progress));
      if (!candidate.save_dir.empty()) SWIFTLET_RETURN_IF_ERROR(MakeSaveDirectory(candidate.save_dir));
      std::string directory = candidate.save_dir;
      if (directory.empty()) {
        SWIFTLET_ASSIGN_OR_RETURN(directory, new_directory());
      }
      SWIFTLET_ASSIGN_OR_RETURN(
          model, TrainByProtocol(protocol, training, evaluation, directory, pool.get(), progress));
      progress->Say(absl::StrFormat("%s: trained in %.1f s%s", training.kind, model.train_seconds,
                                    model.epochs > 0 ? absl::StrCat(", ", model.epochs, " epochs") : ""));
    }
    const Manifest& manifest = model.snapshot->manifest();
    any_attention |= IsPlainAttention(manifest);
    std::string kind = manifest.model_kind;
    if (candidate.snapshot_dir.empty()) {
      kind = candidate.model.training.kind;
    } else if (manifest.model_kind == kNoVectorKind && manifest.neighbours.has_value()) {
      kind = manifest.neighbours->kind;
    }
    const size_t own = results.size();
    const std::shared_ptr<const ModelSnapshot> own_snapshot = model.snapshot;
    SWIFTLET_RETURN_IF_ERROR(measure(candidate.name.empty() ? kind : candidate.name, std::move(model)));
    const ModelSnapshot* const predicts = candidate.snapshot_dir.empty() ? ratings.get() : own_snapshot.get();
    if (options.with_ratings && predicts != nullptr && predicts->manifest().rating.has_value()) {
      SWIFTLET_ASSIGN_OR_RETURN(
          const HeldOutRatings held_out,
          EvaluateHeldOutRatings(*predicts, split.test, options.max_history, pool.get()));
      if (held_out.count > 0) {
        results[own].result.extra = {{"rmse", held_out.errors.rmse},
                                     {"mae", held_out.errors.mae},
                                     {"ratings", static_cast<double>(held_out.count)}};
      }
    }
    const EvaluationResult& result = results[own].result;
    progress->Say(absl::StrCat("ranked all items for ", WithCommas(result.num_users), " users; ",
                               WithCommas(result.num_without_history), " of them are unknown to the model"));
  }
  if (any_attention) {
    SWIFTLET_ASSIGN_OR_RETURN(const std::string directory, new_directory());
    const auto attention = std::find_if(rankers.begin(), rankers.end(), [](const Ranked& r) {
      return IsPlainAttention(r.snapshot->manifest());
    });
    SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(
        directory, MeanOfHistoryContents(*attention->snapshot, absl::ToUnixMillis(absl::Now()))));
    SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> mean,
                              ModelSnapshot::Load(directory, {}));
    SWIFTLET_RETURN_IF_ERROR(
        evaluate({.name = "mean of history", .result = {}, .curve = {}}, {mean, {}, evaluation}));
  }
  EvaluationOptions popular = evaluation;
  popular.ranker = Ranker::kPopularity;
  SWIFTLET_RETURN_IF_ERROR(
      evaluate({.name = "popularity", .result = {}, .curve = {}}, {rankers[0].snapshot, {}, popular}));
  if (options.popularity_half_life_days > 0) {
    SnapshotContents contents = ContentsWithoutVectors(split.train, absl::ToUnixMillis(absl::Now()));
    contents.item_popularity =
        TrendingPopularity(split.train, options.popularity_half_life_days * kMillisecondsADay);
    SWIFTLET_ASSIGN_OR_RETURN(const std::string directory, new_directory());
    SWIFTLET_RETURN_IF_ERROR(WriteSnapshot(directory, contents));
    SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> trending,
                              ModelSnapshot::Load(directory, {}));
    SWIFTLET_RETURN_IF_ERROR(evaluate(
        {.name = absl::StrFormat("trending, %g days", options.popularity_half_life_days), .curve = {}},
        {trending, {}, popular}));
  }
  for (NamedResult& validation : validations) results.push_back(std::move(validation));

  const std::vector<Analysis> analyses =
      Analyse(results, {.replicates = options.replicates, .seed = options.seed});
  std::fputs(FormatResults(results).c_str(), stdout);
  std::fputs(("\n" + FormatDetails(results, analyses)).c_str(), stdout);
  if (!options.json_path.empty()) {
    const Provenance provenance{
        .split = protocol.name,
        .data = size,
        .fingerprint = Fingerprint(split.train),
        .items_fingerprint = FingerprintOfItems(split.train),
        .seed = options.seed,
        .threads = pool == nullptr ? 1 : static_cast<uint32_t>(pool->num_threads() + 1),
        .flags = options.flags};
    SWIFTLET_RETURN_IF_ERROR(WriteText(options.json_path, ResultsToJson(results, analyses, provenance)));
  }
  if (options.html_path.empty()) return absl::OkStatus();
  Report report;
  report.k = options.cutoffs.front();
  report.results = results;
  report.analyses = analyses;
  report.title = candidates.size() == 1 ? absl::StrCat("Evaluation of ", results[0].name)
                                        : absl::StrCat("Comparison of ", candidates.size(), " models");
  report.summary = absl::StrCat(
      size, " from ",
      std::filesystem::path(input.events.path.empty() ? input.data_dir : input.events.path)
          .filename()
          .string(),
      "; split: ", protocol.name, ". ", WithCommas(split.test.size()),
      " users are tested, every item that a user has not seen is ranked, and nothing is fitted to the test.");
  for (size_t r = 0; r < rankers.size(); ++r) report.example_names.push_back(results[r].name);
  SWIFTLET_ASSIGN_OR_RETURN(
      report.examples,
      MakeExamples(split.test,
                   DrawExamples(split.test, std::span(results).first(rankers.size()), report.k, options),
                   rankers, labels, std::min(report.k, 10u)));
  return WriteText(options.html_path, ReportHtml(report));
}

}  // namespace swiftlet

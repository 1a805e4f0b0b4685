#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/config_file.h"
#include "engine/trainer/fit_size.h"
#include "engine/trainer/input.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/protocol.h"
#include "engine/trainer/search_space.h"
#include "engine/trainer/write_model.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

using Json = nlohmann::ordered_json;

struct TuneOptions {
  InputOptions input;
  ModelOptions model;
  ProtocolOptions protocol;
  std::string budget = "10m", output, state;
  uint32_t max_trials = 1000, k = 10;
  std::vector<std::string> search;
  ConfigFlags given;  // model flags of the command line: they are kept, and not searched
};

struct Trial {
  Configuration configuration;
  double ndcg = 0, seconds = 0;
  uint32_t epochs = 0;
  std::string error;  // not empty: it failed
};

Json ToJson(const Configuration& configuration) {
  Json json = Json::object();
  for (const auto& [flag, value] : configuration) json[flag] = value;
  return json;
}

// A search that can be taken up again: a line for what is searched, then one for each trial.
class TrialLog {
 public:
  // Reads what is there; FAILED_PRECONDITION for the log of another search.
  static absl::StatusOr<std::unique_ptr<TrialLog>> Open(const std::string& path, const Json& search) {
    std::unique_ptr<TrialLog> log(new TrialLog(path));
    std::ifstream in(path, std::ios::binary);
    std::string line;
    if (in && std::getline(in, line)) {
      if (Json::parse(line, nullptr, false) != search) {
        return absl::FailedPreconditionError(
            absl::StrCat(path,
                         ": holds the trials of another search (other data, flags or seed); remove it or "
                         "name another --state"));
      }
      std::string kept = line + "\n";
      while (std::getline(in, line) && !in.eof()) {  // the last line may have been cut off by a crash
        const Json json = Json::parse(line, nullptr, false);
        Trial trial;
        try {
          trial.ndcg = json.at("ndcg").get<double>();
          trial.seconds = json.at("seconds").get<double>();
          trial.epochs = json.at("epochs").get<uint32_t>();
          trial.error = json.at("error").get<std::string>();
          for (const auto& [flag, value] : json.at("flags").items())
            trial.configuration[flag] = value.get<std::string>();
        } catch (const Json::exception&) {
          return absl::DataLossError(absl::StrCat(path, ":", log->trials_.size() + 2,
                                                  ": this is not a trial; remove the file to begin anew"));
        }
        log->trials_.push_back(std::move(trial));
        absl::StrAppend(&kept, line, "\n");
      }
      in.close();
      SWIFTLET_RETURN_IF_ERROR(log->Write(kept, std::ios::trunc));
    } else {
      SWIFTLET_RETURN_IF_ERROR(log->Write(search.dump() + "\n", std::ios::trunc));
    }
    return log;
  }
  const std::vector<Trial>& trials() const { return trials_; }
  absl::Status Add(Trial trial) {
    const Json json = {{"flags", ToJson(trial.configuration)},
                       {"ndcg", trial.ndcg},
                       {"seconds", trial.seconds},
                       {"epochs", trial.epochs},
                       {"error", trial.error}};
    trials_.push_back(std::move(trial));
    return Write(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", std::ios::app);
  }

 private:
  explicit TrialLog(std::string path) : path_(std::move(path)) {}
  absl::Status Write(const std::string& text, std::ios::openmode mode) {
    std::ofstream out(path_, std::ios::binary | mode);
    out << text;
    out.close();
    return out ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(path_, ": cannot be written"));
  }

  const std::string path_;
  std::vector<Trial> trials_;
};

const Trial* BestOf(const std::vector<Trial>& trials) {
  const Trial* best = nullptr;
  for (const Trial& trial : trials) {
    if (trial.error.empty() && (best == nullptr || trial.ndcg > best->ndcg)) best = &trial;
  }
  return best;
}

absl::StatusOr<std::vector<SearchDimension>> SpaceOf(const TuneOptions& options) {
  std::vector<SearchDimension> space;
  const auto is_given = [&](const std::string& flag) {
    return std::any_of(options.given.begin(), options.given.end(),
                       [&](const auto& g) { return g.first == flag; });
  };
  if (options.search.empty()) {
    for (SearchDimension& d : DefaultSearchSpace(options.model.training.kind)) {
      if (!is_given(d.flag)) space.push_back(std::move(d));
    }
  }
  for (const std::string& text : options.search) {
    SWIFTLET_ASSIGN_OR_RETURN(SearchDimension dimension, ParseSearchDimension(text));
    space.push_back(std::move(dimension));
  }
  if (space.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("kind \"", options.model.training.kind,
                                                   "\" has no usual search space; name flags with --search"));
  }
  // Every flag must be one, with its ends: better now than in the middle of the night.
  for (const SearchDimension& d : space) {
    ConfigFlags probe;
    if (d.choices.empty()) {
      probe = {{d.flag, d.integer ? absl::StrCat(std::llround(d.low)) : absl::StrFormat("%.4g", d.low)}};
    } else {
      probe = {{d.flag, d.choices.front()}};
    }
    SWIFTLET_RETURN_IF_ERROR(WithFlags(options.model, probe, "--search").status());
  }
  return space;
}

// A flag that is there several times has a list of its values.
Json FlagsToJson(const ConfigFlags& flags) {
  Json json = Json::object();
  for (const auto& [flag, value] : flags) {
    if (!json.contains(flag)) {
      json[flag] = value;
    } else if (json[flag].is_array()) {
      json[flag].push_back(value);
    } else {
      json[flag] = {json[flag], value};
    }
  }
  return json;
}

absl::Status WriteBest(const TuneOptions& options, const Trial& best, const std::vector<Trial>& trials,
                       const std::string& protocol) {
  Json flags = FlagsToJson(options.given);
  flags["model"] = options.model.training.kind;
  for (const auto& [flag, value] : best.configuration) flags[flag] = value;
  double seconds = 0;
  for (const Trial& trial : trials) seconds += trial.seconds;
  const Json json = {{"flags", flags},
                     {"found",
                      {{"validation_metric", absl::StrCat("ndcg@", options.k)},
                       {"validation", best.ndcg},
                       {"defaults", trials.front().ndcg},
                       {"trials", trials.size()},
                       {"seconds", seconds},
                       {"seed", options.model.seed},
                       {"split", protocol}}}};
  const std::string temporary = options.output + ".tmp";
  std::ofstream file(temporary, std::ios::trunc);
  file << json.dump(2) << "\n";
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(temporary, options.output, error);
  if (!file || error) return absl::UnavailableError(absl::StrCat(options.output, ": cannot be written"));
  return absl::OkStatus();
}

absl::StatusOr<Trial> RunTrial(const TuneOptions& options, const Protocol& protocol,
                               Configuration configuration, ThreadPool* pool, Progress* progress) {
  Trial trial;
  trial.configuration = std::move(configuration);
  const absl::Time begin = absl::Now();
  const auto run = [&]() -> absl::Status {
    const ConfigFlags flags(trial.configuration.begin(), trial.configuration.end());
    SWIFTLET_ASSIGN_OR_RETURN(const ModelOptions model, WithFlags(options.model, flags, "trial"));
    SWIFTLET_ASSIGN_OR_RETURN(TrainingOptions training,
                              FinishTrainingOptions(model, protocol.split.train.event_types));
    training.checkpoint_dir.clear();  // of another configuration
    SWIFTLET_RETURN_IF_ERROR(SaySizes(protocol.split.train, training, progress));
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> directory, MakeTemporaryDirectory());
    SWIFTLET_ASSIGN_OR_RETURN(
        const TrainedSnapshot trained,
        TrainByProtocol(protocol, training, {.cutoffs = {options.k}}, directory->path(), pool, progress));
    trial.ndcg = trained.validation->at.at(options.k).ndcg;
    trial.epochs = trained.epochs;
    return absl::OkStatus();
  };
  const absl::Status status = run();
  if (absl::IsCancelled(status)) return status;
  if (!status.ok()) trial.error = std::string(status.message());
  trial.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  return trial;
}

absl::Status RunTune(const TuneOptions& options) {
  absl::Duration budget;
  if (!absl::ParseDuration(options.budget, &budget) || budget <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--budget: \"", options.budget, "\" is not a duration above 0, such as 90s, 10m or 2h"));
  }
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<SearchDimension> space, SpaceOf(options));
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(Dataset data, LoadInput(options.input, &progress));
  const std::string fingerprint = Fingerprint(data), items = FingerprintOfItems(data);
  const auto seed = static_cast<uint64_t>(options.model.seed);
  SWIFTLET_ASSIGN_OR_RETURN(Protocol protocol,
                            MakeProtocol(options.protocol, options.input, std::move(data), seed, &progress));
  // Nothing here looks at the test.
  if (protocol.choosing.has_value()) {
    protocol.split = *std::move(protocol.choosing);
    protocol.choosing.reset();
  }
  protocol.split.test.clear();
  if (protocol.split.validation.empty()) {
    return absl::InvalidArgumentError(
        "tune needs events to choose by: --split leave-one-out, or --test-events with a "
        "--validation-fraction");
  }

  Json search = {{"model", options.model.training.kind},
                 {"data", fingerprint},
                 {"items", items},
                 {"split", protocol.name},
                 {"seed", options.model.seed},
                 {"k", options.k},
                 {"flags", FlagsToJson(options.given)},
                 {"space", Json::array()}};
  for (const SearchDimension& d : space) {
    search["space"].push_back({d.flag, d.choices, d.low, d.high, d.logarithmic, d.integer});
  }
  const std::string state = options.state.empty() ? options.output + ".trials" : options.state;
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<TrialLog> log, TrialLog::Open(state, search));
  const std::vector<Trial>& trials = log->trials();
  double spent = 0;
  for (const Trial& trial : trials) spent += trial.seconds;
  if (!trials.empty()) {
    progress.Say(absl::StrFormat("taking up %d trials of %.0f s from %s", trials.size(), spent, state));
    if (const Trial* best = BestOf(trials)) {
      SWIFTLET_RETURN_IF_ERROR(WriteBest(options, *best, trials, protocol.name));
    }
  }
  const std::unique_ptr<ThreadPool> pool = MakePool(options.model.threads);
  const double allowed = absl::ToDoubleSeconds(budget);
  while (trials.size() < options.max_trials) {
    // One more trial, if it is likely to end in time.
    const double likely = trials.empty() ? 0 : spent / static_cast<double>(trials.size());
    if (!trials.empty() && spent + likely > allowed) break;
    const Trial* best = BestOf(trials);
    Configuration configuration = DrawConfiguration(space, seed, static_cast<uint32_t>(trials.size()),
                                                    best == nullptr ? Configuration() : best->configuration);
    // The first, that of the defaults, is what all others are compared with: it is run to its end.
    const ScopedTimeLimit limit(trials.empty() ? absl::InfiniteFuture()
                                               : absl::Now() + absl::Seconds(allowed - spent));
    absl::StatusOr<Trial> run = RunTrial(options, protocol, std::move(configuration), pool.get(), &progress);
    if (absl::IsCancelled(run.status()) && limit.IsOver()) {
      progress.Say(
          absl::StrFormat("trial %d was stopped: the budget of %.0f s is spent", trials.size() + 1, allowed));
      break;
    }
    SWIFTLET_RETURN_IF_ERROR(run.status());
    Trial trial = *std::move(run);
    spent += trial.seconds;
    std::string flags;
    for (const auto& [flag, value] : trial.configuration) absl::StrAppend(&flags, " --", flag, " ", value);
    if (flags.empty()) flags = " the defaults";
    const bool failed = !trial.error.empty();
    const std::string outcome =
        failed ? "failed, " + trial.error : absl::StrFormat("NDCG@%d %.4f", options.k, trial.ndcg);
    SWIFTLET_RETURN_IF_ERROR(log->Add(std::move(trial)));
    best = BestOf(trials);
    progress.Say(absl::StrFormat("trial %d, %.0f s of %.0f: %s (best %.4f):%s", trials.size(), spent, allowed,
                                 outcome, best == nullptr ? 0 : best->ndcg, flags));
    if (best == &trials.back()) {
      SWIFTLET_RETURN_IF_ERROR(WriteBest(options, *best, trials, protocol.name));
    }
  }
  const Trial* best = BestOf(trials);
  if (best == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("all ", trials.size(), " trials failed; the first: ", trials.front().error));
  }
  SWIFTLET_RETURN_IF_ERROR(WriteBest(options, *best, trials, protocol.name));
  std::printf("best of %zu trials: validation NDCG@%u %.4f (the defaults: %.4f); wrote %s\n", trials.size(),
              options.k, best->ndcg, trials.front().ndcg, options.output.c_str());
  return absl::OkStatus();
}

// The model flags that the command line gives, but for those that say how to run, not what.
ConfigFlags GivenModelFlags(const CLI::App& command) {
  ConfigFlags flags;
  for (const CLI::Option* option : command.get_options()) {
    const std::string& group = option->get_group();
    if (group == "Input" || group == "Split" || group == "Options") continue;  // tune's own are in the last
    if (option->count() == 0 || option->get_lnames().empty()) continue;
    const std::string& name = option->get_lnames().front();
    if (name == "model" || name == "seed" || name == "threads" || name == "config" ||
        name == "checkpoint-dir")
      continue;
    for (const std::string& value : option->results()) flags.emplace_back(name, value);
  }
  return flags;
}

}  // namespace

void AddTuneCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<TuneOptions>();
  options->protocol.split = "leave-one-out";
  CLI::App* command = app->add_subcommand(
      "tune", "Search hyper-parameters of a kind of model, on validation, within a time budget");
  command->footer(
      "Begins with the defaults. What was tried is kept beside --output: the same command goes on from "
      "there, also with a "
      "larger budget.\n"
      "Examples:\n"
      "  swiftlet-trainer tune --events ratings.csv --budget 30m --output tuned.json\n"
      "  swiftlet-trainer tune --events ratings.csv --search dim=32,64 --search learning-rate=0.001:0.01:log "
      "--output "
      "tuned.json\n"
      "  swiftlet-trainer train --events ratings.csv --config tuned.json --models models");
  command->add_option("--budget", options->budget, "Time for all trials together, such as 90s, 10m or 2h")
      ->capture_default_str();
  command->add_option("--trials", options->max_trials, "Most trials")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command
      ->add_option("--output", options->output,
                   "The best configuration so far, for train and evaluate by --config")
      ->required();
  command->add_option("--state", options->state,
                      "What was tried (default: the output's name and \".trials\")");
  command->add_option(
      "--search", options->search,
      "A flag to search, as FLAG=LOW:HIGH, FLAG=LOW:HIGH:log (or int, or log,int) or FLAG=A,B,C; repeatable "
      "(default: the usual flags of the kind that are not given)");
  command->add_option("--k", options->k, "Cut-off of the validation NDCG")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddProtocolFlags(command, &options->protocol);
  AddInputFlags(command, &options->input);
  AddModelFlags(command, &options->model);
  AddConfigFlag(command);
  command->callback([options, command, run] {
    options->given = GivenModelFlags(*command);
    *run = [options] { return RunTune(*options); };
  });
}

}  // namespace swiftlet

#include "engine/trainer/protocol.h"

#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

absl::StatusOr<TrainedSnapshot> WriteAndLoad(const std::string& directory, TrainedModel model,
                                             const Dataset& data) {
  TrainedSnapshot trained;
  trained.epochs = model.epochs;
  trained.curve = model.curve;
  for (TrainedModel::Part& part : model.parts) {
    TrainedSnapshot::Part written{.kind = part.kind, .snapshot = {}, .directory = nullptr};
    SWIFTLET_ASSIGN_OR_RETURN(written.directory, MakeTemporaryDirectory());
    SWIFTLET_ASSIGN_OR_RETURN(written.snapshot,
                              WriteAndLoad(written.directory->path(), std::move(part.model), data));
    written.snapshot.train_seconds = part.train_seconds;
    trained.parts.push_back(std::move(written));
  }
  SWIFTLET_RETURN_IF_ERROR(
      WriteTrainedModel(directory, std::move(model), data, 1, absl::ToUnixMillis(absl::Now())));
  SWIFTLET_ASSIGN_OR_RETURN(trained.snapshot, ModelSnapshot::Load(directory, {}));
  SWIFTLET_ASSIGN_OR_RETURN(trained.users, LoadUserVectors(*trained.snapshot));
  return trained;
}

// Measures the model and its parts on validation.
absl::Status Validate(const Split& split, const EvaluationOptions& options, ThreadPool* pool,
                      TrainedSnapshot* trained) {
  SWIFTLET_ASSIGN_OR_RETURN(trained->validation,
                            Evaluate(*trained->snapshot, trained->users, split.validation, options, pool));
  for (TrainedSnapshot::Part& part : trained->parts) {
    SWIFTLET_RETURN_IF_ERROR(Validate(split, options, pool, &part.snapshot));
  }
  return absl::OkStatus();
}

// What was measured of the model that was chosen, and its time, for the one that was fitted to everything.
void TakeChoosing(TrainedSnapshot chosen, TrainedSnapshot* final) {
  final->curve = std::move(chosen.curve);
  final->validation = std::move(chosen.validation);
  final->train_seconds += chosen.train_seconds;
  for (size_t k = 0; k < final->parts.size() && k < chosen.parts.size(); ++k)
    TakeChoosing(std::move(chosen.parts[k].snapshot), &final->parts[k].snapshot);
}

}  // namespace

void AddProtocolFlags(CLI::App* app, ProtocolOptions* o) {
  const std::string group = "Split";
  app->add_option("--split", o->split,
                  "What is held out: leave-last-out (each user's last event), leave-one-out (the last event "
                  "for the test, the one before it to choose by: nothing is fitted to it, the test's "
                  "histories have it) or time")
      ->check(CLI::IsMember({"leave-last-out", "leave-one-out", "time"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--test-fraction", o->test_fraction, "Split by time: the newest events that are held out")
      ->capture_default_str()
      ->group(group);
  app->add_option("--test-events", o->test_events,
                  "Test with the events of this file, read as --events is, instead of a split: all of "
                  "--events is trained on")
      ->group(group);
  app->add_option("--validation-fraction", o->validation_fraction,
                  "With --test-events: share of each user's training events that the model is chosen by "
                  "before it is fitted anew to all (drawn at random where events have no time); 0: none")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str()
      ->group(group);
}

absl::StatusOr<Protocol> MakeProtocol(const ProtocolOptions& options, const InputOptions& input, Dataset data,
                                      uint64_t seed, Progress* progress) {
  Protocol protocol;
  if (!options.test_events.empty()) {
    protocol.name = "given test events";
    InputOptions test_input = input;
    test_input.events.path = options.test_events;
    test_input.items.path.clear();
    test_input.data_dir.clear();
    SWIFTLET_ASSIGN_OR_RETURN(const Dataset test, LoadInput(test_input, progress));
    SWIFTLET_ASSIGN_OR_RETURN(protocol.split, MakeGivenSplit(std::move(data), test));
    if (options.validation_fraction > 0) {
      SWIFTLET_ASSIGN_OR_RETURN(protocol.choosing,
                                CarveValidation(protocol.split.train, options.validation_fraction, seed));
    }
  } else {
    protocol.name = options.split;
    const SplitKind kind = options.split == "time"            ? SplitKind::kTime
                           : options.split == "leave-one-out" ? SplitKind::kLeaveOneOut
                                                              : SplitKind::kLeaveLastOut;
    SWIFTLET_ASSIGN_OR_RETURN(protocol.split, MakeSplit(data, kind, options.test_fraction));
  }
  const Split& split = protocol.split;
  const Split& chosen_by = protocol.choosing.has_value() ? *protocol.choosing : split;
  progress->Say(
      absl::StrCat(protocol.name, ": ", WithCommas(split.train.events.size()), " events to train on, ",
                   chosen_by.validation.empty()
                       ? ""
                       : absl::StrCat(WithCommas(chosen_by.num_validation),
                                      protocol.choosing.has_value() ? " of them" : "", " to choose by (",
                                      WithCommas(chosen_by.validation.size()), " users), "),
                   WithCommas(split.num_held_out), " held out, ", WithCommas(split.test.size()),
                   " users to test with (not counted: ", WithCommas(split.num_seen),
                   " held-out events of items that the user had before, ", WithCommas(split.num_negative),
                   " that count against their item, ", WithCommas(split.num_repeated), " repeated)"));
  return protocol;
}

absl::StatusOr<TrainedSnapshot> TrainByProtocol(const Protocol& protocol, const TrainingOptions& options,
                                                const EvaluationOptions& validate_with,
                                                const std::string& directory, ThreadPool* pool,
                                                Progress* progress) {
  const Split& split = protocol.split;
  const absl::Time begin = absl::Now();
  if (!protocol.choosing.has_value()) {
    SWIFTLET_ASSIGN_OR_RETURN(
        TrainedModel model,
        TrainModel({.data = &split.train, .validation = split.validation}, options, pool, progress));
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    SWIFTLET_ASSIGN_OR_RETURN(TrainedSnapshot trained,
                              WriteAndLoad(directory, std::move(model), split.train));
    trained.train_seconds = seconds;
    if (!split.validation.empty()) SWIFTLET_RETURN_IF_ERROR(Validate(split, validate_with, pool, &trained));
    return trained;
  }

  const Split& choosing = *protocol.choosing;
  SWIFTLET_ASSIGN_OR_RETURN(
      TrainedModel model,
      TrainModel({.data = &choosing.train, .validation = choosing.validation}, options, pool, progress));
  const TrainingOptions refit = OptionsForRefit(options, model);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<ScopedDirectory> scratch, MakeTemporaryDirectory());
  SWIFTLET_ASSIGN_OR_RETURN(TrainedSnapshot chosen,
                            WriteAndLoad(scratch->path(), std::move(model), choosing.train));
  chosen.train_seconds = seconds;
  SWIFTLET_RETURN_IF_ERROR(Validate(choosing, validate_with, pool, &chosen));
  chosen.snapshot.reset();
  progress->Say(refit.epochs > 0 ? absl::StrCat("the chosen model is fitted to all training events, ",
                                                refit.epochs, " epochs")
                                 : std::string("the chosen model is fitted to all training events"));
  const absl::Time refit_begin = absl::Now();
  SWIFTLET_ASSIGN_OR_RETURN(model, TrainModel({.data = &split.train}, refit, pool, progress));
  const double refit_seconds = absl::ToDoubleSeconds(absl::Now() - refit_begin);
  SWIFTLET_ASSIGN_OR_RETURN(TrainedSnapshot trained, WriteAndLoad(directory, std::move(model), split.train));
  trained.train_seconds = refit_seconds;
  TakeChoosing(std::move(chosen), &trained);
  return trained;
}

}  // namespace swiftlet

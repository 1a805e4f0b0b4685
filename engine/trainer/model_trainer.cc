#include "engine/trainer/model_trainer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/blend.h"
#include "engine/trainer/factor_models.h"
#include "engine/trainer/linear_models.h"
#include "engine/trainer/torch_library.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

using TrainFunction = absl::StatusOr<TrainedModel> (*)(const TrainingData&, const TrainingOptions&,
                                                       ThreadPool*, Progress*);

// `data` with the first known target of every validation user after the user's events, like the newest of
// them otherwise; `events` are their indices. Users, items and their order stay.
Dataset WithValidationEvents(const Dataset& data, std::span<const TestUser> validation,
                             std::vector<size_t>* events) {
  absl::flat_hash_map<ItemKey, uint32_t> item_of;
  item_of.reserve(data.num_items());
  for (uint32_t i = 0; i < data.num_items(); ++i) item_of.emplace(ItemKeyOf(data.item_ids[i]), i);
  absl::flat_hash_map<std::string_view, const TestUser*> users;
  for (const TestUser& user : validation) users.emplace(user.user_id, &user);
  Dataset merged = data;
  merged.events.clear();
  for (size_t u = 0; u < data.num_users(); ++u) {
    merged.user_begin[u] = merged.events.size();
    const auto own = data.EventsOf(u);
    merged.events.insert(merged.events.end(), own.begin(), own.end());
    const auto user = users.find(data.user_ids[u]);
    if (user == users.end() || own.empty()) continue;
    for (const ItemKey target : user->second->targets) {
      const auto item = item_of.find(target);
      if (item == item_of.end()) continue;
      TrainingEvent event = own.back();
      event.item = item->second;
      events->push_back(merged.events.size());
      merged.events.push_back(event);
      break;
    }
  }
  merged.user_begin[data.num_users()] = merged.events.size();
  return merged;
}

absl::StatusOr<TrainedModel> TrainAttention(const TrainingData& training, const TrainingOptions& options,
                                            ThreadPool* pool, Progress* progress) {
  // Of the fit, once it is known: it may be 0, where no epoch is better than the start.
  constexpr char kEpochs[] = "fit_epochs";
  FitOptions fit = options.attention;
  fit.als.seed = fit.attention.seed = options.seed;
  std::optional<uint32_t> epochs;
  if (options.epochs != 0) {
    epochs = options.epochs;
  } else if (const auto it = options.chosen.find(kEpochs); it != options.chosen.end()) {
    epochs = static_cast<uint32_t>(it->second);
  }
  const auto trained_model = [&](FittedModel model) {
    TrainedModel trained;
    trained.contents = ContentsOf(*training.data, model, fit, 1, 0);
    trained.epochs = model.fit.epochs;
    trained.chosen[kEpochs] = model.fit.epochs;
    trained.validation_ndcg = model.fit.validation_ndcg;
    trained.curve = std::move(model.fit.curve);
    trained.long_term = std::move(model.long_term);
    return trained;
  };
  if (!epochs.has_value() && !training.validation.empty()) {
    std::vector<size_t> events;
    const Dataset merged = WithValidationEvents(*training.data, training.validation, &events);
    SWIFTLET_ASSIGN_OR_RETURN(FittedModel model, FitModelWithValidation(merged, events, fit, pool, progress));
    return trained_model(std::move(model));
  }
  if (!epochs.has_value()) {
    progress->Say("finding the number of epochs, on the last event of every user");
    SWIFTLET_ASSIGN_OR_RETURN(const FittedModel found, FitModel(*training.data, {}, 0, fit, pool, progress));
    epochs = found.fit.epochs;
    progress->Say(absl::StrCat("fit on all events, ", *epochs, " epochs"));
  }
  absl::StatusOr<FittedModel> model;
  if (*epochs == 0) {
    fit.attention.max_epochs = 0;
    model = FitModelWithValidation(*training.data, {}, fit, pool, progress);
  } else {
    model = FitModel(*training.data, {}, *epochs, fit, pool, progress);
  }
  SWIFTLET_RETURN_IF_ERROR(model.status());
  return trained_model(*std::move(model));
}

struct Kind {
  std::string_view name;
  TrainFunction train;
};
constexpr std::array<Kind, 9> kKinds = {{{"attention", TrainAttention},
                                         {"transformer", TrainWithTorch},
                                         {"ials", TrainIals},
                                         {"ease", TrainEase},
                                         {"item-knn", TrainItemKnn},
                                         {"user-knn", TrainUserKnn},
                                         {"pure-svd", TrainPureSvd},
                                         {"nmf", TrainNmf},
                                         {"blend", TrainBlend}}};

}  // namespace

std::span<const std::string_view> ModelKinds() {
  static constexpr auto kNames = [] {
    std::array<std::string_view, kKinds.size()> names;
    for (size_t i = 0; i < kKinds.size(); ++i) names[i] = kKinds[i].name;
    return names;
  }();
  return kNames;
}

absl::StatusOr<TrainedModel> TrainModel(const TrainingData& training, const TrainingOptions& options,
                                        ThreadPool* pool, Progress* progress) {
  for (const Kind& kind : kKinds) {
    if (kind.name == options.kind) return kind.train(training, options, pool, progress);
  }
  const auto append = [](std::string* out, std::string_view name) { out->append(name); };
  return absl::InvalidArgumentError(
      absl::StrCat("model kind \"", options.kind,
                   "\" is not known; there are: ", absl::StrJoin(ModelKinds(), ", ", append)));
}

TrainingOptions OptionsForRefit(TrainingOptions options, const TrainedModel& chosen) {
  if (chosen.epochs > 0) options.epochs = chosen.epochs;
  options.chosen = chosen.chosen;
  if (!options.checkpoint_dir.empty()) options.checkpoint_dir += "/refit";
  return options;
}

absl::Status WriteTrainedModel(const std::string& directory, TrainedModel model, const Dataset& data,
                               int64_t version, int64_t now_ms) {
  Manifest& m = model.contents.manifest;
  m.version = version;
  m.created_ms = now_ms;
  m.trained_through_ms = data.trained_through_ms > 0 ? data.trained_through_ms : now_ms;
  if (m.model_kind.empty()) {
    std::vector<ManifestEncoder> encoders;
    for (const EncoderContents& encoder : model.contents.encoders) encoders.push_back(encoder.encoder);
    m.model_kind = ModelKindOf(encoders);
  }
  m.embedding_space = NewEmbeddingSpace(m.model_kind == "attention" ? "als" : m.model_kind, version,
                                        m.training_fingerprint, now_ms);
  return WriteModel(directory, std::move(model.contents), data.user_ids, model.long_term);
}

}  // namespace swiftlet

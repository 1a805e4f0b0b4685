#include "engine/trainer/linear_models.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/memory_limit.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/als.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"
#include "engine/trainer/neighbour_fit.h"
#include "engine/trainer/user_knn.h"
#include "engine/trainer/value_search.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxValidationUsers = 4000;
constexpr uint32_t kMaxEvents = 1024;  // of a history that count; a server keeps 200
constexpr size_t kNumPositions = 256;  // with weights of their own
constexpr float kRecencyExponents[] = {0, 0.25f, 0.5f, 0.75f, 1, 1.5f};
constexpr float kHalfLives[] = {0, 64, 32, 16, 8, 4};  // events; 0: no end

// Of rows of neighbours, which are not all that a fit needs.
double MaxBytes(const TrainingOptions& options) {
  return 0.7 * static_cast<double>(options.memory_limit > 0 ? options.memory_limit : MemoryLimit());
}

// The data and users to choose by: training's own, or a part carved out of its data.
struct Choosing {
  Split carved;
  const Dataset* data = nullptr;
  std::span<const TestUser> users;
};
absl::StatusOr<Choosing> MakeChoosing(const TrainingData& training, uint64_t seed) {
  Choosing choosing;
  if (!training.validation.empty()) {
    choosing.data = training.data;
    choosing.users = training.validation;
    return choosing;
  }
  absl::StatusOr<Split> carved = CarveValidation(*training.data, 0.1, seed);
  if (absl::IsFailedPrecondition(carved.status())) {
    choosing.data = training.data;  // too little of it to choose by: the defaults stay
    return choosing;
  }
  SWIFTLET_RETURN_IF_ERROR(carved.status());
  choosing.carved = *std::move(carved);
  return choosing;
}
// After the last move of `choosing`.
void Point(Choosing& choosing) {
  if (choosing.data != nullptr) return;
  choosing.data = &choosing.carved.train;
  choosing.users = choosing.carved.validation;
}

SnapshotContents Describe(const Dataset& data, const TrainingOptions& options, std::string_view kind,
                          const std::vector<EventClass>& classes, const Choice& choice) {
  SnapshotContents contents = DescribeItems(data, 1, 0);
  contents.manifest.model_kind.clear();  // the writer's
  contents.manifest.event_classes = classes;
  contents.manifest.max_events = kMaxEvents;
  contents.manifest.row_type = options.attention.row_type;
  for (const auto& [name, value] : choice) {
    contents.manifest.training_parameters[absl::StrCat(std::string(kind), ".", name)] = absl::StrCat(value);
  }
  contents.manifest.training_parameters["seed"] = absl::StrCat(options.seed);
  return contents;
}

// Mean NDCG@10 of ranking all items by item vectors for users who are folded in.
double AlsNdcg(const AlsModel& model, const AlsOptions& options, std::span<const RankingUser> users,
               ThreadPool* pool) {
  SparseRows rows;
  rows.begin.push_back(0);
  for (const RankingUser& user : users) {
    for (size_t j = 0; j < user.items.size(); ++j) {
      if (user.signs[j] < 0) continue;
      rows.columns.push_back(user.items[j]);
      rows.weights.push_back(user.weights[j]);
    }
    rows.begin.push_back(rows.columns.size());
  }
  MatrixF vectors;
  SolveAlsSide(rows, model.items, options, pool, &vectors);
  return RankingNdcg(
      model.items,
      [&](size_t begin, size_t count) -> MatrixF {
        return vectors.middleRows(static_cast<Eigen::Index>(begin), static_cast<Eigen::Index>(count));
      },
      users, pool);
}

// Of a choice: see PositionWeights.
std::vector<float> PositionWeightsOf(const Choice& choice) {
  const auto value = [&](const char* name) {
    const auto it = choice.find(name);
    return it == choice.end() ? 0.0f : static_cast<float>(it->second);
  };
  return PositionWeights(value("recency"), value("half_life"), kNumPositions);
}

void SetNeighbours(std::string_view kind, FittedNeighbours fitted, const Choice& choice, size_t num_items,
                   SnapshotContents* contents) {
  contents->encoders.push_back(
      {.encoder = {.kind = kNoVectorKind, .dim = 1, .weight = 1, .parameters = {}}, .tensors = {}});
  contents->dim = 1;
  contents->item_vectors.assign(num_items, 0.0f);
  NeighbourContents& neighbours = contents->neighbours.emplace();
  neighbours.neighbours.kind = kind;
  neighbours.offsets = std::move(fitted.rows.offsets);
  neighbours.rows = std::move(fitted.rows.rows);
  neighbours.weights = std::move(fitted.rows.weights);
  neighbours.position_weights = PositionWeightsOf(choice);
  if (!fitted.users.has_value()) return;
  neighbours.neighbours.users = fitted.users->parameters;
  neighbours.user_offsets = std::move(fitted.users->offsets);
  neighbours.user_items = std::move(fitted.users->items);
}

// positives: of `data`.
using FitNeighbours = std::function<absl::StatusOr<FittedNeighbours>(
    const Dataset& data, const SparseRows& positives, const Choice& choice, bool quickly)>;
struct Tried {
  std::string name;
  std::initializer_list<double> values;
};

// The common course of the kinds with neighbours: choose values, the weights of positions and the length of
// rows, then fit.
absl::StatusOr<TrainedModel> TrainNeighbours(std::string_view kind, const TrainingData& training,
                                             const TrainingOptions& options, Choice choice,
                                             std::span<const Tried> tried, const FitNeighbours& fit,
                                             ThreadPool* pool, Progress* progress) {
  TrainedModel model;
  for (const auto& [name, value] : options.chosen) choice[name] = value;
  if (!options.chosen.contains("recency")) {
    SWIFTLET_ASSIGN_OR_RETURN(Choosing choosing, MakeChoosing(training, options.seed));
    Point(choosing);
    const std::vector<EventClass> classes = ClassesOfAllTypes(*choosing.data, options.attention.value_edges);
    const std::vector<RankingUser> users =
        MakeRankingUsers(*choosing.data, classes, choosing.users, kMaxValidationUsers);
    if (!users.empty()) {
      const SparseRows positives = MakePositives(*choosing.data, classes, {});
      const auto best_recency = [&](const FittedNeighbours& fitted, std::span<const float> half_lives,
                                    Choice* c) {
        double best = -1;
        for (const float half_life : half_lives) {
          for (const float exponent : kRecencyExponents) {
            const double ndcg =
                RankingNdcg(fitted, PositionWeights(exponent, half_life, kNumPositions), users, 10, pool);
            if (ndcg <= best) continue;
            best = ndcg;
            (*c)["recency"] = double{exponent};
            (*c)["half_life"] = double{half_life};
          }
        }
        return best;
      };
      const auto measure = [&](Choice* c) -> absl::StatusOr<double> {
        SWIFTLET_ASSIGN_OR_RETURN(const FittedNeighbours fitted, fit(*choosing.data, positives, *c, true));
        return best_recency(fitted, std::span(kHalfLives).first(1), c);
      };
      double ndcg = -1;
      for (const Tried& t : tried) {
        SWIFTLET_RETURN_IF_ERROR(TryValues(t.name, t.values, measure, &choice, &ndcg));
        progress->Say(absl::StrFormat("%s: validation NDCG@10 %.4f with %s", kind, ndcg, Shown(choice)));
      }
      SWIFTLET_ASSIGN_OR_RETURN(FittedNeighbours fitted, fit(*choosing.data, positives, choice, false));
      const double all = best_recency(fitted, kHalfLives, &choice);
      const ItemRows rows = std::move(fitted.rows);
      const std::vector<float> positions = PositionWeightsOf(choice);
      for (const uint32_t length : {100u, 200u, 400u, 800u, 1600u, 3200u}) {
        choice["row_length"] = length;
        fitted.rows = Truncate(rows, length);
        model.validation_ndcg = RankingNdcg(fitted, positions, users, 10, pool);
        if (model.validation_ndcg >= 0.998 * all || fitted.rows.rows.size() == rows.rows.size()) break;
      }
      progress->Say(absl::StrFormat("%s: rows of %g: validation NDCG@10 %.4f, %.4f with all entries", kind,
                                    choice["row_length"], model.validation_ndcg, all));
    }
  }
  const Dataset& data = *training.data;
  const std::vector<EventClass> classes = ClassesOfAllTypes(data, options.attention.value_edges);
  SWIFTLET_ASSIGN_OR_RETURN(FittedNeighbours fitted,
                            fit(data, MakePositives(data, classes, {}), choice, false));
  fitted.rows = Truncate(fitted.rows,
                         choice.contains("row_length") ? static_cast<uint32_t>(choice["row_length"]) : 400);
  progress->Say(
      absl::StrFormat("%s: %d entries of %d items", kind, fitted.rows.rows.size(), data.num_items()));
  if (fitted.users.has_value()) {
    DropUnusedUsers(&fitted);
    progress->Say(absl::StrFormat("%s: %d users of %d items in all", kind, fitted.users->offsets.size() - 1,
                                  fitted.users->items.size()));
  }
  model.contents = Describe(data, options, kind, classes, choice);
  SetNeighbours(kind, std::move(fitted), choice, data.num_items(), &model.contents);
  model.chosen = std::move(choice);
  return model;
}

}  // namespace

std::vector<EventClass> ClassesOfAllTypes(const Dataset& data, std::span<const ValueEdges> edges) {
  std::vector<EventClass> classes = MakeEventClasses(data, edges);
  for (const EventType& type : data.event_types.types()) {
    const bool has_one =
        std::any_of(classes.begin(), classes.end(), [&](const EventClass& c) { return c.type == type.id; });
    if (has_one) continue;
    classes.push_back({type.id, -std::numeric_limits<float>::infinity(), type.weight < 0 ? -1.0f : 1.0f});
  }
  return classes;
}

absl::StatusOr<TrainedModel> TrainIals(const TrainingData& training, const TrainingOptions& options,
                                       ThreadPool* pool, Progress* progress) {
  AlsOptions als = options.attention.als;
  als.seed = options.seed;
  if (options.epochs > 0) als.epochs = options.epochs;
  Choice choice = {{"alpha0", 0.03}, {"lambda", 0.003}};
  for (const auto& [name, value] : options.chosen) choice[name] = value;
  TrainedModel model;
  const auto with = [&](const Choice& c) {
    AlsOptions made = als;
    made.alpha0 = static_cast<float>(c.at("alpha0"));
    made.lambda = static_cast<float>(c.at("lambda"));
    return made;
  };
  // What is given by hand is not searched for.
  const bool lambda_given = als.lambda > 0, alpha0_given = lambda_given || options.als_alpha0_given;
  if (!options.chosen.contains("lambda")) {
    if (lambda_given) choice["lambda"] = double{als.lambda};
    if (alpha0_given) choice["alpha0"] = double{als.alpha0};
  }
  if (!options.chosen.contains("lambda") && !lambda_given) {
    SWIFTLET_ASSIGN_OR_RETURN(Choosing choosing, MakeChoosing(training, options.seed));
    Point(choosing);
    const std::vector<EventClass> classes = ClassesOfAllTypes(*choosing.data, options.attention.value_edges);
    const std::vector<RankingUser> users =
        MakeRankingUsers(*choosing.data, classes, choosing.users, kMaxValidationUsers);
    if (!users.empty()) {
      const SparseRows positives = MakePositives(*choosing.data, classes, {});
      Progress silent(nullptr);
      const auto measure = [&](Choice* c) -> absl::StatusOr<double> {
        AlsOptions quick = with(*c);
        quick.epochs = std::min(quick.epochs, 8u);
        SWIFTLET_ASSIGN_OR_RETURN(const AlsModel fitted,
                                  TrainAls(positives, choosing.data->num_items(), quick, pool, &silent));
        const double ndcg = AlsNdcg(fitted, quick, users, pool);
        progress->Say(absl::StrFormat("ials: validation NDCG@10 %.4f with %s", ndcg, Shown(*c)));
        return ndcg;
      };
      double ndcg = -1;
      if (!alpha0_given) {
        SWIFTLET_RETURN_IF_ERROR(Climb("alpha0", 0.3, 1e-5, 1, measure, &choice, &ndcg));
      }
      SWIFTLET_RETURN_IF_ERROR(Climb("lambda", 0.3, 1e-6, 1, measure, &choice, &ndcg));
      model.validation_ndcg = ndcg;
    }
  }
  als = with(choice);

  const Dataset& data = *training.data;
  const std::vector<EventClass> classes = ClassesOfAllTypes(data, options.attention.value_edges);
  const std::vector<RankingUser> users =
      MakeRankingUsers(data, classes, training.validation, kMaxValidationUsers);
  const absl::Time begin = absl::Now();
  const auto after_epoch = [&](uint32_t epoch, const AlsModel& now) {
    if (users.empty()) return;
    model.curve.push_back(
        {absl::ToDoubleSeconds(absl::Now() - begin), epoch, AlsNdcg(now, als, users, pool)});
  };
  SWIFTLET_ASSIGN_OR_RETURN(AlsModel fitted, TrainAls(MakePositives(data, classes, {}), data.num_items(), als,
                                                      pool, progress, after_epoch));
  // Along the principal axes of the items the fold-in's Gram matrix is diagonal; all scores stay as they are.
  const Eigensystem axes = DecomposeSymmetric(GramOfColumns(fitted.items, pool));
  const MatrixF items = Multiply(fitted.items, axes.vectors, pool);
  const MatrixF user_vectors = Multiply(fitted.users, axes.vectors, pool);

  SnapshotContents& contents = model.contents;
  contents = Describe(data, options, "ials", classes, choice);
  contents.dim = static_cast<uint32_t>(items.cols());
  contents.item_vectors.assign(items.data(), items.data() + items.size());
  EncoderContents encoder{.encoder = {.kind = "ials",
                                      .dim = contents.dim,
                                      .weight = 1,
                                      .parameters = {{"lambda", als.lambda},
                                                     {"alpha0", als.alpha0},
                                                     {"nu", als.nu},
                                                     {"num_items", static_cast<double>(data.num_items())}}},
                          .tensors = {}};
  EncoderTensor gram{.shape = {contents.dim}, .values = {}}, weights{.shape = {classes.size()}, .values = {}};
  for (const float value : axes.values) gram.values.push_back(als.alpha0 * std::max(value, 0.0f));
  for (const EventClass& c : classes) {
    const EventType* const type = data.event_types.FindById(c.type);
    weights.values.push_back(c.sign < 0 ? 0.0f : type == nullptr ? 1.0f : std::fabs(type->weight));
  }
  encoder.tensors = {{"gram", std::move(gram)}, {"class_weights", std::move(weights)}};
  contents.encoders.push_back(std::move(encoder));
  // To try the index with; the users themselves are not stored, as fold-in makes them anew.
  const Eigen::Index sample = std::min<Eigen::Index>(user_vectors.rows(), 256);
  for (Eigen::Index k = 0; k < sample; ++k) {
    const auto row = user_vectors.row(k * user_vectors.rows() / sample);
    if (!row.isZero(0)) {
      contents.sample_user_vectors.insert(contents.sample_user_vectors.end(), row.data(),
                                          row.data() + row.size());
    }
  }
  model.epochs = als.epochs;
  model.chosen = std::move(choice);
  return model;
}

absl::StatusOr<TrainedModel> TrainEase(const TrainingData& training, const TrainingOptions& options,
                                       ThreadPool* pool, Progress* progress) {
  bool said = false;
  const auto fit = [&](const Dataset& data, const SparseRows& positives, const Choice& c,
                       bool quickly) -> absl::StatusOr<FittedNeighbours> {
    const size_t num_items = data.num_items();
    EaseOptions ease{.lambda = static_cast<float>(c.at("lambda")),
                     .user_exponent = static_cast<float>(c.at("user_exponent")),
                     .item_exponent = static_cast<float>(c.at("item_exponent")),
                     .neighbours = options.neighbours};
    // A search of fewer neighbours finds the same values, sooner; but not where the fit after it is too
    // large.
    const bool fits = EaseBytes(positives, num_items, ease) <= MaxBytes(options);
    if (quickly && fits && (ease.neighbours == 0 || ease.neighbours > 100)) ease.neighbours = 100;
    if (!quickly && !std::exchange(said, true)) {
      progress->Say(absl::StrFormat("ease: fitting takes about %.0f MB of memory",
                                    EaseBytes(positives, num_items, ease) / 1e6));
    }
    SWIFTLET_ASSIGN_OR_RETURN(ItemRows rows, FitEase(positives, num_items, ease, MaxBytes(options), pool));
    if (!quickly && ease.neighbours > 0) {
      progress->Say(
          absl::StrFormat("ease: columns of %d neighbours differ by %.3f of their length from those of "
                          "all items, on average",
                          ease.neighbours, EaseError(positives, num_items, ease, rows, 8)));
    }
    return FittedNeighbours{.rows = std::move(rows)};
  };
  const Tried tried[] = {{"lambda", {100, 30, 300, 1000}},
                         {"item_exponent", {0.5, 0.0}},
                         {"user_exponent", {0.5, 0.0, 0.75}},
                         {"lambda", {10, 30, 60, 100, 200, 300, 500}}};
  return TrainNeighbours("ease", training, options,
                         {{"lambda", 100}, {"item_exponent", 0.5}, {"user_exponent", 0.5}, {"recency", 0}},
                         tried, fit, pool, progress);
}

absl::StatusOr<TrainedModel> TrainItemKnn(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress) {
  const auto fit = [&](const Dataset& data, const SparseRows& positives, const Choice& c,
                       bool /*quickly*/) -> absl::StatusOr<FittedNeighbours> {
    const size_t num_items = data.num_items();
    const ItemKnnOptions knn{.shrinkage = static_cast<float>(c.at("shrinkage")),
                             .user_exponent = static_cast<float>(c.at("user_exponent")),
                             .power = static_cast<float>(c.at("power")),
                             .neighbours = std::max(options.neighbours, 1u)};
    EaseOptions counting{.neighbours = knn.neighbours};
    if (const double bytes = EaseBytes(positives, num_items, counting); bytes > MaxBytes(options)) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "item-knn over %d items needs about %.3g GB; leave out items or users with very many events",
          num_items, bytes / 1e9));
    }
    SWIFTLET_ASSIGN_OR_RETURN(ItemRows rows, FitItemKnn(positives, num_items, knn, pool));
    return FittedNeighbours{.rows = std::move(rows)};
  };
  const Tried tried[] = {
      {"power", {1, 0.7, 0.5, 1.5}}, {"user_exponent", {0.5, 0.0, 1.0}}, {"shrinkage", {10, 0.0, 50}}};
  return TrainNeighbours("item-knn", training, options,
                         {{"power", 1}, {"user_exponent", 0.5}, {"shrinkage", 10}, {"recency", 0}}, tried,
                         fit, pool, progress);
}

absl::StatusOr<TrainedModel> TrainUserKnn(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress) {
  bool said = false;
  const auto fit = [&](const Dataset& data, const SparseRows& positives, const Choice& c,
                       bool /*quickly*/) -> absl::StatusOr<FittedNeighbours> {
    const UserKnnOptions knn{.nearest = static_cast<uint32_t>(c.at("nearest")),
                             .shrinkage = static_cast<float>(c.at("shrinkage")),
                             .item_exponent = static_cast<float>(c.at("item_exponent"))};
    const double bytes = UserKnnBytes(positives, knn);
    if (!std::exchange(said, true)) {
      progress->Say(absl::StrFormat("user-knn: fitting takes about %.0f MB of memory", bytes / 1e6));
    }
    if (bytes > MaxBytes(options)) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "user-knn over %d users needs about %.3g GB, more than the %.3g GB allowed; leave out users, or "
          "old events",
          data.num_users(), bytes / 1e9, MaxBytes(options) / 1e9));
    }
    std::vector<int64_t> newest_ms;
    newest_ms.reserve(data.num_users());
    for (size_t u = 0; u < data.num_users(); ++u) newest_ms.push_back(data.EventsOf(u).back().timestamp_ms);
    return FitUserKnn(positives, data.num_items(), newest_ms, knn);
  };
  const Tried tried[] = {
      {"nearest", {100, 50, 200, 400}}, {"item_exponent", {0.5, 0.0}}, {"shrinkage", {0.0, 10, 50}}};
  return TrainNeighbours("user-knn", training, options,
                         {{"nearest", 100}, {"item_exponent", 0.5}, {"shrinkage", 0}, {"recency", 0}}, tried,
                         fit, pool, progress);
}

}  // namespace swiftlet

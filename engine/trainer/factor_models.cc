#include "engine/trainer/factor_models.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "Eigen/Cholesky"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/factorisation.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/linear_algebra.h"
#include "engine/trainer/linear_models.h"
#include "engine/trainer/neighbour_fit.h"
#include "engine/trainer/value_search.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxValidationUsers = 4000;
constexpr uint32_t kMaxEvents = 1024;  // of a history that count; a server keeps 200
constexpr size_t kNumPositions = 256;  // with weights of their own
constexpr float kRecencyExponents[] = {0, 0.25f, 0.5f, 0.75f, 1, 1.5f};

using Fit = std::function<absl::StatusOr<ItemFactors>(const SparseRows& positives, size_t num_items,
                                                      const Choice& choice)>;

ItemFactors OfRank(const ItemFactors& factors, Eigen::Index rank) {
  return {factors.items.leftCols(rank), factors.inputs.leftCols(rank)};
}

// Mean NDCG@10 of ranking by <sum of the history's inputs, item>, as the engine would.
double Ndcg(const ItemFactors& factors, std::span<const float> position_weights,
            std::span<const RankingUser> users, ThreadPool* pool) {
  const auto vectors_of = [&](size_t begin, size_t count) {
    MatrixF vectors = MatrixF::Zero(static_cast<Eigen::Index>(count), factors.items.cols());
    for (size_t r = 0; r < count; ++r) {
      const RankingUser& user = users[begin + r];
      for (size_t j = 0; j < user.items.size(); ++j) {
        const size_t position = std::min<size_t>(user.positions[j], position_weights.size() - 1);
        vectors.row(static_cast<Eigen::Index>(r)) +=
            user.signs[j] * user.weights[j] * position_weights[position] * factors.inputs.row(user.items[j]);
      }
    }
    return vectors;
  };
  return RankingNdcg(factors.items, vectors_of, users, pool);
}

// x = M v for items that come later, by least squares over the items that there are.
std::vector<float> InputMap(const ItemFactors& factors) {
  Eigen::MatrixXf gram = factors.items.transpose() * factors.items;
  gram.diagonal().array() += 1e-6f * std::max(gram.trace() / static_cast<float>(gram.rows()), 1e-6f);
  const MatrixF cross = factors.items.transpose() * factors.inputs;
  const MatrixF map = gram.llt().solve(cross).transpose();
  return {map.data(), map.data() + map.size()};
}

// Attention whose logits are the logs of fixed weights: the user vector is the weighted mean of the history's
// inputs, and ranks as their sum.
void SetContents(const Dataset& data, const ItemFactors& factors, std::span<const EventClass> classes,
                 double recency, SnapshotContents* contents) {
  contents->dim = static_cast<uint32_t>(factors.items.cols());
  contents->item_vectors.assign(factors.items.data(), factors.items.data() + factors.items.size());
  contents->item_input_vectors.assign(factors.inputs.data(), factors.inputs.data() + factors.inputs.size());
  contents->input_map = InputMap(factors);
  SetUniformAttention(kMaxEvents, contents);
  contents->manifest.event_classes.assign(classes.begin(), classes.end());
  contents->class_logits.clear();
  for (const EventClass& c : classes) {
    const EventType* const type = data.event_types.FindById(c.type);
    const float weight = type == nullptr ? 1.0f : std::fabs(type->weight);
    contents->class_logits.push_back(std::log(std::max(weight, 1e-6f)));
  }
  contents->position_logits.clear();
  for (const float weight : PositionWeights(static_cast<float>(recency), 0, kNumPositions)) {
    contents->position_logits.push_back(std::log(weight));
  }
}

// Chooses the rank and what `grid` lists (each name with its values, one after the other) by validation, then
// fits to everything. The factors' leading columns must be those of a smaller rank where `truncates`.
absl::StatusOr<TrainedModel> TrainFactors(std::string_view kind, const TrainingData& training,
                                          const TrainingOptions& options, Choice choice,
                                          std::span<const std::pair<std::string, std::vector<double>>> grid,
                                          bool truncates, const Fit& fit, ThreadPool* pool,
                                          Progress* progress) {
  TrainedModel model;
  for (const auto& [name, value] : options.chosen) choice[name] = value;
  if (!options.chosen.contains("rank")) {
    Split carved;
    const Dataset* data = training.data;
    std::span<const TestUser> test_users = training.validation;
    if (test_users.empty()) {
      absl::StatusOr<Split> made = CarveValidation(*training.data, 0.1, options.seed);
      if (made.ok()) {
        carved = *std::move(made);
        data = &carved.train;
        test_users = carved.validation;
      } else if (!absl::IsFailedPrecondition(made.status())) {
        return made.status();
      }
    }
    const std::vector<EventClass> classes = ClassesOfAllTypes(*data, options.attention.value_edges);
    const std::vector<RankingUser> users = MakeRankingUsers(*data, classes, test_users, kMaxValidationUsers);
    if (!users.empty()) {
      const SparseRows positives = MakePositives(*data, classes, {});
      double best = -1;
      const auto try_choice = [&](Choice tried) -> absl::Status {
        SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
        SWIFTLET_ASSIGN_OR_RETURN(const ItemFactors factors, fit(positives, data->num_items(), tried));
        const Eigen::Index dim = factors.items.cols();
        Eigen::Index best_rank = dim;
        double best_of_these = -1;
        const auto measure = [&](Eigen::Index rank, float exponent) {
          const double ndcg =
              Ndcg(OfRank(factors, rank), PositionWeights(exponent, 0, kNumPositions), users, pool);
          if (ndcg <= best_of_these) return;
          best_of_these = ndcg;
          best_rank = rank;
          tried["rank"] = static_cast<double>(rank);
          tried["recency"] = double{exponent};
        };
        for (Eigen::Index rank = dim; rank >= std::min<Eigen::Index>(dim, 8); rank /= 2) {
          measure(rank, static_cast<float>(choice["recency"]));
          if (!truncates) break;
        }
        for (const float exponent : kRecencyExponents) measure(best_rank, exponent);
        if (best_of_these > best) {
          best = best_of_these;
          choice = tried;
        }
        return absl::OkStatus();
      };
      for (const auto& [name, values] : grid) {
        for (const double value : values) {
          if (best >= 0 && choice[name] == value) continue;
          Choice tried = choice;
          tried[name] = value;
          SWIFTLET_RETURN_IF_ERROR(try_choice(std::move(tried)));
        }
        std::string shown;
        for (const auto& [key, value] : choice) absl::StrAppendFormat(&shown, " %s %g", key, value);
        progress->Say(absl::StrFormat("%s: validation NDCG@10 %.4f with%s", kind, best, shown));
      }
      model.validation_ndcg = best;
    }
  }
  const Dataset& data = *training.data;
  const std::vector<EventClass> classes = ClassesOfAllTypes(data, options.attention.value_edges);
  SWIFTLET_ASSIGN_OR_RETURN(ItemFactors factors,
                            fit(MakePositives(data, classes, {}), data.num_items(), choice));
  if (truncates && choice.contains("rank")) {
    factors = OfRank(factors,
                     std::min<Eigen::Index>(factors.items.cols(), static_cast<Eigen::Index>(choice["rank"])));
  }
  model.contents = DescribeItems(data, 1, 0);
  model.contents.manifest.row_type = options.attention.row_type;
  SetContents(data, factors, classes, choice["recency"], &model.contents);
  std::map<std::string, std::string>& parameters = model.contents.manifest.training_parameters;
  parameters["factors"] = std::string(kind);
  parameters["seed"] = absl::StrCat(options.seed);
  for (const auto& [name, value] : choice) {
    parameters[absl::StrCat(std::string(kind), ".", name)] = absl::StrCat(value);
  }
  model.chosen = std::move(choice);
  return model;
}

}  // namespace

absl::StatusOr<TrainedModel> TrainPureSvd(const TrainingData& training, const TrainingOptions& options,
                                          ThreadPool* pool, Progress* progress) {
  const auto fit = [&](const SparseRows& positives, size_t num_items, const Choice& choice) {
    return FactorSvd(positives, num_items,
                     {.dim = options.attention.als.dim,
                      .item_exponent = static_cast<float>(choice.at("item_exponent")),
                      .seed = options.seed},
                     pool);
  };
  const std::pair<std::string, std::vector<double>> grid[] = {{"item_exponent", {0, 0.25, 0.5}}};
  return TrainFactors("pure-svd", training, options, {{"item_exponent", 0}, {"recency", 0}}, grid,
                      /*truncates=*/true, fit, pool, progress);
}

absl::StatusOr<TrainedModel> TrainNmf(const TrainingData& training, const TrainingOptions& options,
                                      ThreadPool* pool, Progress* progress) {
  const auto fit = [&](const SparseRows& positives, size_t num_items, const Choice& choice) {
    NmfOptions nmf{.dim = options.attention.als.dim,
                   .lambda = static_cast<float>(choice.at("lambda")),
                   .seed = options.seed};
    if (options.epochs > 0) nmf.epochs = options.epochs;
    return FactorNmf(positives, num_items, nmf, pool);
  };
  const std::pair<std::string, std::vector<double>> grid[] = {{"lambda", {1, 0.1, 10}}};
  return TrainFactors("nmf", training, options, {{"lambda", 1}, {"recency", 0}}, grid, /*truncates=*/false,
                      fit, pool, progress);
}

}  // namespace swiftlet

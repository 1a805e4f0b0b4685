#include "tests/testing/random_snapshot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/attention.h"

namespace swiftlet::testing {
namespace {

using Random = std::mt19937_64;

std::vector<float> Normals(Random& random, size_t n, double deviation) {
  std::normal_distribution<double> normal(0.0, deviation);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(normal(random));
  return values;
}

std::vector<float> ItemVectors(Random& random, size_t n, size_t dim) {
  std::vector<float> vectors = Normals(random, n * dim, 1.0 / std::sqrt(static_cast<double>(dim)));
  std::normal_distribution<double> log_norm(0.0, 0.35);
  for (size_t i = 0; i < n; ++i) {
    const auto scale = static_cast<float>(std::exp(log_norm(random)));
    for (size_t j = 0; j < dim; ++j) vectors[i * dim + j] *= scale;
  }
  return vectors;
}

std::vector<EventClass> DefaultClasses(const std::vector<EventType>& types) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<EventClass> classes;
  for (const EventType& t : types) {
    classes.push_back({.type = t.id, .min_value = -kInfinity, .sign = t.weight < 0 ? -1.0f : 1.0f});
    if (t.name == "rating") {
      classes.back().sign = -1.0f;
      classes.push_back({.type = t.id, .min_value = 3.5f, .sign = 1.0f});
    }
  }
  return classes;
}

RatingContents RandomRatingModel(Random& random, size_t num_items) {
  constexpr uint32_t kDim = 7;
  RatingContents r;
  r.parameters = {.event_type = 6, .dim = kDim, .mean = 3.5f, .min = 1, .max = 5};
  r.items = Normals(random, num_items * (kDim + 1), 0.5);
  r.item_variances = Normals(random, num_items * (kDim + 1), 0.3);
  for (float& v : r.item_variances) v *= v;
  r.implicit = Normals(random, num_items * (kDim + 1), 0.1);
  r.ridge = {5, 2, 2, 3, 3, 4, 4, 4};
  for (size_t i = 0; i < num_items; ++i) r.counts.push_back(i + 10 < num_items ? 1 + random() % 100 : 0);
  return r;
}

absl::Status MakeDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
  return absl::OkStatus();
}

}  // namespace

SnapshotContents RandomSnapshot(const RandomSnapshotOptions& options) {
  Random random(options.seed);
  const size_t n = options.num_items, dim = options.dim;
  SnapshotContents c;
  c.manifest.version = options.version;
  c.manifest.created_ms = 1'700'000'100'000;
  c.manifest.trained_through_ms = options.trained_through_ms;
  c.manifest.model_kind = "attention";
  c.manifest.embedding_space = options.embedding_space;
  c.manifest.max_events = options.max_events;
  c.manifest.row_type = options.row_type;
  c.manifest.event_types = options.event_types;
  if (options.event_types.empty()) {
    const EventTypeTable table = EventTypeTable::Default();
    c.manifest.event_types.assign(table.types().begin(), table.types().end());
  }
  c.manifest.event_classes =
      options.event_classes.empty() ? DefaultClasses(c.manifest.event_types) : options.event_classes;
  c.manifest.training_fingerprint = absl::StrCat("random-", options.seed);
  c.manifest.num_training_events = 10 * n;
  c.manifest.training_parameters = {{"seed", absl::StrCat(options.seed)}};
  c.manifest.metrics = {{"ndcg@10", 0.125}};
  c.dim = options.dim;
  c.item_vectors = ItemVectors(random, n, dim);
  if (options.with_input_vectors) {
    c.item_input_vectors = ItemVectors(random, n, dim);
    c.input_map = Normals(random, dim * dim, 1.0 / std::sqrt(static_cast<double>(dim)));
  }
  if (options.with_bias) c.item_bias = Normals(random, n, 0.1);
  if (options.with_attention_logits) c.item_attention_logits = Normals(random, n, 0.5);
  for (size_t i = 0; i < n; ++i) {
    c.item_ids.push_back(absl::StrCat("item-", i));
    if (options.with_titles) c.item_titles.push_back(absl::StrCat("Title ", i));
    c.item_popularity.push_back(static_cast<float>(random() % 1000));
    if (options.num_categories > 0) {
      std::vector<std::string>& categories = c.item_categories.emplace_back();
      categories.push_back(absl::StrCat("cat-", i % options.num_categories));
      if (const uint64_t other = random() % options.num_categories; other != i % options.num_categories) {
        categories.push_back(absl::StrCat("cat-", other));
      }
    }
  }
  c.class_logits = Normals(random, c.manifest.event_classes.size(), 0.5);
  c.position_logits = Normals(random, 20, 0.5);
  c.recency_logits = Normals(random, kNumRecencyBuckets, 0.5);
  c.long_term_logit = 0.25f;
  c.context_logit = -0.25f;
  if (options.with_rating_model) c.rating = RandomRatingModel(random, n);
  return c;
}

absl::Status WriteRandomSnapshot(const std::string& directory, const RandomSnapshotOptions& options) {
  SWIFTLET_RETURN_IF_ERROR(MakeDirectory(directory));
  SnapshotContents contents = RandomSnapshot(options);
  if (options.num_users > 0) {
    if (!options.write_user_vectors) {
      return absl::InvalidArgumentError("num_users: needs write_user_vectors");
    }
    SWIFTLET_RETURN_IF_ERROR(
        options.write_user_vectors(absl::StrCat(directory, "/", kUserVectorsFile), options.dim));
    contents.manifest.num_users = options.num_users;
  }
  return WriteSnapshot(directory, contents);
}

std::shared_ptr<const ModelSnapshot> WriteAndLoad(const std::string& directory,
                                                  const SnapshotContents& contents) {
  absl::Status status = MakeDirectory(directory);
  if (status.ok()) status = WriteSnapshot(directory, contents);
  if (status.ok()) {
    absl::StatusOr<std::shared_ptr<const ModelSnapshot>> snapshot = ModelSnapshot::Load(directory, {});
    if (snapshot.ok()) return *std::move(snapshot);
    status = snapshot.status();
  }
  std::fprintf(stderr, "WriteAndLoad: %s\n", status.ToString().c_str());
  std::abort();
}

absl::Status PublishRandomSnapshot(const ModelDirectory& models, const RandomSnapshotOptions& options) {
  SWIFTLET_RETURN_IF_ERROR(models.Create());
  SWIFTLET_ASSIGN_OR_RETURN(const std::string staging, models.CreateStaging());
  SWIFTLET_RETURN_IF_ERROR(WriteRandomSnapshot(staging, options));
  return models.Publish(staging, options.version);
}

}  // namespace swiftlet::testing

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/kernels/dot.h"
#include "engine/recommender.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/evaluate.h"
#include "engine/trainer/load_events.h"
#include "tests/bench/engine/retrieval/random.h"
#include "tests/bench/engine/retrieval/workload.h"

namespace swiftlet::bench {
namespace {

constexpr size_t kMaxHistory = 200;  // the server's default

AlignedVector<float> MeansOfItems(const Workload& w, size_t count, Random& random) {
  AlignedVector<float> means(count * w.dim);
  for (size_t q = 0; q < count; ++q) {
    const size_t num_parts = 3 + random.Below(6);
    for (size_t p = 0; p < num_parts; ++p) {
      AddScaled(1.0f / static_cast<float>(num_parts), &w.items[random.Below(w.num_items) * w.dim], w.dim,
                &means[q * w.dim]);
    }
  }
  return means;
}

// The user vectors that Recommend makes, as a server would.
absl::Status AddUsers(const ModelSnapshot& snapshot, const SnapshotWorkloadOptions& options, Random& random,
                      Workload* w) {
  DatasetBuilder builder(EventTypeTable::Default());
  EventFileOptions file;
  file.path = options.events;
  SWIFTLET_RETURN_IF_ERROR(LoadEventFile(file, &builder).status());
  SWIFTLET_ASSIGN_OR_RETURN(const Dataset data, builder.Build());
  SWIFTLET_ASSIGN_OR_RETURN(const UserVectors long_term, LoadUserVectors(snapshot));
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(snapshot, {});
  std::vector<size_t> users(data.num_users());
  std::iota(users.begin(), users.end(), size_t{0});
  for (size_t i = users.size(); i > 1; --i) std::swap(users[i - 1], users[random.Below(i)]);

  Scratch scratch;
  Recommendation recommendation;
  for (const size_t u : users) {
    if (w->held_out.size() == options.num_held_out * w->dim) break;
    std::span<const TrainingEvent> events = data.EventsOf(u);
    if (events.size() > kMaxHistory) events = events.last(kMaxHistory);
    std::vector<HistoryEvent> history;
    std::vector<uint32_t> seen;
    for (const TrainingEvent& e : events) {
      const ItemKey key = ItemKeyOf(data.item_ids[e.item]);
      history.push_back({key, e.timestamp_ms, e.value, e.type});
      if (const std::optional<uint32_t> row = view->FindRow(key); row.has_value()) seen.push_back(*row);
    }
    UserState state{.history = history};
    if (const auto it = long_term.find(data.user_ids[u]); it != long_term.end()) state.long_term = it->second;
    RecommendQuery query;
    query.k = 1;
    SWIFTLET_RETURN_IF_ERROR(Recommend(snapshot, *view, query, state, scratch, &recommendation));
    if (recommendation.source == ItemSource::kPopular) continue;  // no user vector
    scratch.user_vector.resize(w->dim);                           // pads it to the stride
    const bool is_query = w->seen.size() < options.num_queries;
    AlignedVector<float>& vectors = is_query ? w->queries : w->held_out;
    vectors.insert(vectors.end(), scratch.user_vector.begin(), scratch.user_vector.end());
    if (is_query) w->seen.push_back(std::move(seen));
  }
  w->num_queries = w->seen.size();
  if (w->num_queries == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.events, ": the snapshot knows none of its users and items"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Workload> FromSnapshot(const SnapshotWorkloadOptions& options) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> snapshot,
                            ModelSnapshot::Load(options.snapshot, {}));
  Workload w;
  w.num_items = snapshot->num_items();
  w.dim = snapshot->stride();
  w.items.resize(w.num_items * w.dim);
  for (size_t i = 0; i < w.num_items; ++i) {
    float* const to = &w.items[i * w.dim];
    const float* const from = snapshot->items().Row(i).Floats(to);
    if (from != to) std::copy_n(from, snapshot->dim(), to);
  }
  w.bias.resize(w.num_items);
  for (size_t i = 0; i < w.num_items; ++i) w.bias[i] = snapshot->Bias(static_cast<uint32_t>(i));
  Random random(1);
  if (options.events.empty()) {
    w.num_queries = options.num_queries;
    w.queries = MeansOfItems(w, options.num_queries, random);
    w.held_out = MeansOfItems(w, options.num_held_out, random);
  } else {
    SWIFTLET_RETURN_IF_ERROR(AddUsers(*snapshot, options, random, &w));
  }
  return w;
}

}  // namespace swiftlet::bench

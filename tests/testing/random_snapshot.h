// Snapshots of random vectors, the same for the same options.
//
//   TempDir dir;
//   auto snapshot = WriteAndLoad(dir.path() + "/model", RandomSnapshot({.num_items = 100, .dim = 8}));
//
//   ModelDirectory models(dir.path() + "/models");
//   PublishRandomSnapshot(models, {.version = 1});
#ifndef SWIFTLET_TESTS_TESTING_RANDOM_SNAPSHOT_H_
#define SWIFTLET_TESTS_TESTING_RANDOM_SNAPSHOT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event_types.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/snapshot_writer.h"

namespace swiftlet::testing {

struct RandomSnapshotOptions {
  uint32_t num_items = 100;
  uint32_t dim = 16;
  uint32_t num_categories = 5;  // 0: items have none
  uint64_t seed = 1;
  int64_t version = 1;
  bool with_bias = true;
  bool with_input_vectors = true;  // and an input map
  bool with_attention_logits = true;
  bool with_titles = true;
  std::string embedding_space = "test-space";
  int64_t trained_through_ms = 1'700'000'000'000;
  uint32_t max_events = 50;
  RowType row_type = RowType::kFloat32;
  // Empty: EventTypeTable::Default().
  std::vector<EventType> event_types = {};
  // Empty: one class for each type, with the sign of its weight, and ratings (type 6) of 3.5 and more apart.
  std::vector<EventClass> event_classes = {};
  // Ratings (type 6) of 1 to 5, with 7 factors; items but for the last ten were rated.
  bool with_rating_model = false;

  // Long-term vectors: writes user_vectors.sst to `path`, for example RandomUserVectors of
  // random_user_vectors.h. Called by WriteRandomSnapshot and PublishRandomSnapshot when num_users > 0.
  uint64_t num_users = 0;
  std::function<absl::Status(const std::string& path, uint32_t dim)> write_user_vectors = {};
};

// Items "item-0" .. "item-<N-1>" with titles "Title 0" .., each in one or two of the categories "cat-0" ..
// "cat-<C-1>"; components of vectors are normal with standard deviation 1 / sqrt(dim), norms spread about 1.
// manifest.num_users is 0.
SnapshotContents RandomSnapshot(const RandomSnapshotOptions& options);

// A snapshot in the directory, which is created when missing.
absl::Status WriteRandomSnapshot(const std::string& directory, const RandomSnapshotOptions& options);

// Writes into the directory (created when missing) and loads with all checks. Ends the process on an error,
// which it prints.
std::shared_ptr<const ModelSnapshot> WriteAndLoad(const std::string& directory,
                                                  const SnapshotContents& contents);

// Stages, writes and publishes options.version; creates the model directory when missing.
absl::Status PublishRandomSnapshot(const ModelDirectory& models, const RandomSnapshotOptions& options);

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_TESTING_RANDOM_SNAPSHOT_H_

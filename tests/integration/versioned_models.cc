#include "tests/integration/versioned_models.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/snapshot_writer.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"

namespace swiftlet::testing {

void PublishVersion(const std::string& model_dir, int64_t version, const VersionedModelOptions& options,
                    const std::function<void(const std::string&)>& damage) {
  const ModelDirectory models(model_dir);
  ASSERT_TRUE(models.Create().ok());
  const absl::StatusOr<std::string> staging = models.CreateStaging();
  ASSERT_TRUE(staging.ok());
  SnapshotContents contents = RandomSnapshot({.num_items = options.num_items,
                                              .dim = options.dim,
                                              .seed = static_cast<uint64_t>(version),
                                              .version = version});
  for (std::string& id : contents.item_ids) id = absl::StrCat("v", version, "-", id);
  const auto write_users = RandomUserVectors(options.num_users, static_cast<uint64_t>(version));
  ASSERT_TRUE(write_users(*staging + "/" + kUserVectorsFile, options.dim).ok());
  contents.manifest.num_users = options.num_users;
  const absl::Status written = WriteSnapshot(*staging, contents);
  ASSERT_TRUE(written.ok()) << written.ToString();
  if (damage) damage(*staging);
  absl::Status published = models.Publish(*staging, version);
  if (damage && absl::IsDataLoss(published)) {
    // The publisher sees what is wrong with a manifest; another one might not.
    std::filesystem::rename(*staging, models.VersionPath(version));
    std::ofstream(model_dir + "/CURRENT.test") << version << "\n";
    std::filesystem::rename(model_dir + "/CURRENT.test", model_dir + "/CURRENT");
    published = absl::OkStatus();
  }
  ASSERT_TRUE(published.ok()) << published.ToString();
}

void ExpectedAnswers::Add(const std::string& directory, int64_t version,
                          const VersionedModelOptions& options) {
  const auto snapshot = ModelSnapshot::Load(directory, {});
  ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(**snapshot, {});
  Scratch scratch;
  Recommendation result;
  RecommendQuery query;
  query.k = kNumItems;
  for (uint64_t user = 0; user < options.num_users; ++user) {
    const std::vector<float> vector = RandomUserVector(user, static_cast<uint64_t>(version), options.dim);
    ASSERT_TRUE(
        Recommend(**snapshot, *view, query, {.history = {}, .long_term = vector}, scratch, &result).ok());
    MutexLock lock(mu_);
    auto& items = answers_[{version, user}];
    for (const RecommendedItem& item : result.items) items.emplace_back(view->ItemId(item.row), item.score);
  }
}

std::string ExpectedAnswers::Compare(uint64_t user, const v1::RecommendResponse& response) const {
  MutexLock lock(mu_);
  const auto it = answers_.find({response.snapshot_version(), user});
  if (it == answers_.end()) return absl::StrCat("version ", response.snapshot_version(), "?");
  if (response.items_size() != static_cast<int>(it->second.size())) return "another number of items";
  for (int i = 0; i < response.items_size(); ++i) {
    const auto& [id, score] = it->second[static_cast<size_t>(i)];
    if (response.items(i).item_id() != id || response.items(i).score() != score) {
      return absl::StrCat("version ", response.snapshot_version(), " item ", i, ": ",
                          response.items(i).item_id(), " ", response.items(i).score(), ", expected ", id, " ",
                          score);
    }
  }
  return "";
}

}  // namespace swiftlet::testing

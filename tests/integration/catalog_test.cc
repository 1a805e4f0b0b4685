// UpsertItems, DeleteItems and GetItems, over restarts and swaps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kDim = 16;

void Publish(const std::string& model_dir, int64_t version, const std::string& space = "test-space") {
  const absl::Status status = PublishRandomSnapshot(
      ModelDirectory(model_dir),
      {.num_items = 100, .dim = kDim, .seed = 1, .version = version, .embedding_space = space});
  ASSERT_TRUE(status.ok()) << status.ToString();
}

v1::Item MakeItem(const std::string& id, const std::vector<float>& vector) {
  v1::Item item;
  item.set_item_id(id);
  item.mutable_vector()->Add(vector.begin(), vector.end());
  return item;
}

v1::RecommendRequest Session(int k) {
  v1::RecommendRequest request;
  *request.mutable_history()->add_events() = MakeEvent("", "item-1", "like");
  *request.mutable_history()->add_events() = MakeEvent("", "item-2", "purchase");
  request.set_k(k);
  request.set_include_metadata(true);
  return request;
}

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Publish(dir_.path() + "/models", 1);
    Start();
  }
  void Start() {
    server_ = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir_.path()});
    ASSERT_TRUE(server_->running());
    ASSERT_TRUE(server_->WaitForVersion(1));
  }
  void TearDown() override {
    if (server_ != nullptr && server_->running()) {
      EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    }
  }
  void Upsert(const v1::Item& item) {
    v1::UpsertItemsRequest request;
    *request.add_items() = item;
    v1::UpsertItemsResponse response;
    ASSERT_OK(server_->UpsertItems(request, &response));
    EXPECT_EQ(response.num_upserted(), 1);
  }
  int Delete(const std::vector<std::string>& ids) {
    v1::DeleteItemsRequest request;
    for (const std::string& id : ids) request.add_item_ids(id);
    v1::DeleteItemsResponse response;
    const grpc::Status status = server_->DeleteItems(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.num_deleted();
  }
  // Absent for an unknown item.
  std::optional<v1::Item> Get(const std::string& id) {
    v1::GetItemsRequest request;
    request.add_item_ids(id);
    request.set_include_vectors(true);
    v1::GetItemsResponse response;
    const grpc::Status status = server_->GetItems(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.items_size() + response.unknown_item_ids_size(), 1);
    return response.items_size() == 1 ? std::optional(response.items(0)) : std::nullopt;
  }
  std::vector<std::string> Recommended(int k = 200) {
    v1::RecommendResponse response;
    const grpc::Status status = server_->Recommend(Session(k), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::vector<std::string> ids;
    for (const v1::ScoredItem& item : response.items()) ids.push_back(item.item_id());
    return ids;
  }
  // A vector that Session likes more than anything in the snapshot.
  std::vector<float> BestVector() {
    const std::optional<v1::Item> best = Get(Recommended(1).at(0));
    std::vector<float> vector(best->vector().begin(), best->vector().end());
    for (float& v : vector) v *= 50;
    return vector;
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(CatalogTest, AnUpsertedItemIsRecommendableAtOnce) {
  v1::Item item = MakeItem("brand new", BestVector());
  item.mutable_metadata()->set_title("Brand New");
  item.mutable_metadata()->add_categories("fresh");
  item.mutable_metadata()->add_categories("cat-1");
  ASSERT_NO_FATAL_FAILURE(Upsert(item));
  v1::RecommendRequest request = Session(3);
  request.set_explain(true);
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_EQ(response.items(0).item_id(), "brand new");
  EXPECT_EQ(response.items(0).metadata().title(), "Brand New");
  EXPECT_THAT(response.items(0).metadata().categories(), ElementsAre("fresh", "cat-1"));
  double sum = 0;
  for (const v1::Contribution& term : response.items(0).explanation()) sum += term.score();
  EXPECT_NEAR(sum, response.items(0).score(), 1e-3);

  // Its category can be asked for, and events with it count.
  request.mutable_filter()->add_any_of_categories("fresh");
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_THAT(response.items(), SizeIs(1));
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("u", "brand new", "like")}), &recorded));
  ASSERT_OK(server_->Recommend(UserRequest("u", 100), &response));
  EXPECT_EQ(response.num_history_events_used(), 1);
  EXPECT_THAT(response.items(), SizeIs(100));  // all but the seen one
  EXPECT_EQ(server_->GetStatus().num_overlay_items(), 1);
}

TEST_F(CatalogTest, AnUpsertKeepsWhatItDoesNotName) {
  ASSERT_NO_FATAL_FAILURE(Upsert(MakeItem("thing", std::vector<float>(kDim, 0.5f))));
  v1::Item metadata;
  metadata.set_item_id("thing");
  metadata.mutable_metadata()->set_title("A Thing");
  ASSERT_NO_FATAL_FAILURE(Upsert(metadata));
  std::optional<v1::Item> got = Get("thing");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->status(), v1::Item::STATUS_RECOMMENDABLE);
  EXPECT_EQ(got->metadata().title(), "A Thing");
  EXPECT_THAT(got->vector(), SizeIs(kDim));
  EXPECT_TRUE(got->changed_since_snapshot());
  ASSERT_NO_FATAL_FAILURE(Upsert(MakeItem("thing", std::vector<float>(kDim, -1.0f))));
  got = Get("thing");
  EXPECT_EQ(got->metadata().title(), "A Thing");
  EXPECT_THAT(got->vector(), ::testing::Each(-1.0f));

  // A snapshot's item keeps its own vector when only its title changes.
  const std::optional<v1::Item> before = Get("item-5");
  EXPECT_FALSE(before->changed_since_snapshot());
  v1::Item renamed;
  renamed.set_item_id("item-5");
  renamed.mutable_metadata()->set_title("Renamed");
  ASSERT_NO_FATAL_FAILURE(Upsert(renamed));
  const std::optional<v1::Item> after = Get("item-5");
  EXPECT_EQ(after->metadata().title(), "Renamed");
  EXPECT_THAT(after->metadata().categories(), IsEmpty());  // replaced as a whole
  EXPECT_EQ(std::vector<float>(after->vector().begin(), after->vector().end()),
            std::vector<float>(before->vector().begin(), before->vector().end()));
  EXPECT_TRUE(after->changed_since_snapshot());
}

TEST_F(CatalogTest, ADeletedItemNeverAppears) {
  const std::string best = Recommended(1).at(0);
  EXPECT_EQ(Delete({best, "unknown item"}), 1);
  EXPECT_EQ(Delete({best}), 0);
  auto expect_gone = [&] {
    EXPECT_THAT(Recommended(), ::testing::Not(::testing::Contains(best)));
    EXPECT_EQ(Get(best)->status(), v1::Item::STATUS_DELETED);
    v1::SimilarItemsRequest similar;
    similar.set_item_id(best);
    similar.set_k(5);
    v1::SimilarItemsResponse similar_response;
    EXPECT_CODE(server_->SimilarItems(similar, &similar_response), grpc::StatusCode::NOT_FOUND, best);
    similar.set_item_id("item-1");
    similar.set_k(100);
    ASSERT_OK(server_->SimilarItems(similar, &similar_response));
    for (const v1::ScoredItem& item : similar_response.items()) EXPECT_NE(item.item_id(), best);
    v1::ScoreItemsRequest score;
    *score.mutable_history() = Session(1).history();
    score.add_item_ids(best);
    v1::ScoreItemsResponse scored;
    ASSERT_OK(server_->ScoreItems(score, &scored));
    EXPECT_THAT(scored.unknown_item_ids(), ElementsAre(best));
  };
  expect_gone();
  EXPECT_EQ(server_->Terminate(), 0);
  ASSERT_NO_FATAL_FAILURE(Start());
  expect_gone();
  Publish(server_->model_dir(), 2);
  ASSERT_TRUE(server_->WaitForVersion(2));
  expect_gone();

  v1::Item again;
  again.set_item_id(best);
  ASSERT_NO_FATAL_FAILURE(Upsert(again));
  EXPECT_EQ(Recommended(1).at(0), best);
}

TEST_F(CatalogTest, ChangesSurviveARestartAndASwapWithinTheSpace) {
  v1::Item item = MakeItem("kept", BestVector());
  item.mutable_metadata()->set_title("Kept");
  ASSERT_NO_FATAL_FAILURE(Upsert(item));
  EXPECT_EQ(server_->Terminate(), 0);
  ASSERT_NO_FATAL_FAILURE(Start());
  EXPECT_EQ(Recommended(1).at(0), "kept");
  Publish(server_->model_dir(), 2);
  ASSERT_TRUE(server_->WaitForVersion(2));
  EXPECT_EQ(Recommended(1).at(0), "kept");

  // In another space its numbers mean nothing: known, but without a vector.
  Publish(server_->model_dir(), 3, "another-space");
  ASSERT_TRUE(server_->WaitForVersion(3));
  EXPECT_THAT(Recommended(), ::testing::Not(::testing::Contains("kept")));
  const std::optional<v1::Item> got = Get("kept");
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->status(), v1::Item::STATUS_NO_VECTOR);
  EXPECT_EQ(got->metadata().title(), "Kept");
  EXPECT_THAT(got->vector(), IsEmpty());
  EXPECT_EQ(server_->GetStatus().num_items_without_vector(), 1);
}

TEST_F(CatalogTest, AnItemWithoutAVectorIsRecommendedByItsCategories) {
  // To whom the items of one category are recommended, it is too: it is better than some of them, and worse
  // than some.
  v1::Item item;
  item.set_item_id("unseen");
  item.mutable_metadata()->set_title("Unseen");
  item.mutable_metadata()->add_categories("cat-2");
  ASSERT_NO_FATAL_FAILURE(Upsert(item));
  const auto expect_by_category = [&](const std::string& category) {
    v1::RecommendRequest request = Session(200);
    request.mutable_filter()->add_any_of_categories(category);
    request.set_explain(true);
    v1::RecommendResponse response;
    ASSERT_OK(server_->Recommend(request, &response));
    EXPECT_TRUE(response.proven_exact());
    double sum = 0, mean = 0;
    int rank = -1;
    for (int i = 0; i < response.items_size(); ++i) {
      double terms = 0;
      for (const v1::Contribution& term : response.items(i).explanation()) terms += double{term.score()};
      EXPECT_NEAR(terms, response.items(i).score(), 1e-4) << response.items(i).item_id();
      if (response.items(i).item_id() == "unseen") {
        rank = i;
        mean = double{response.items(i).score()};
      } else {
        sum += double{response.items(i).score()};
      }
    }
    ASSERT_GT(rank, 0);
    EXPECT_LT(rank, response.items_size() - 1);
    // The session's own items count in the mean, and are not in the answer.
    v1::ScoreItemsRequest score;
    *score.mutable_history() = request.history();
    int count = response.items_size() - 1;
    for (const char* seen : {"item-1", "item-2"}) {
      const std::optional<v1::Item> got = Get(seen);
      const auto& categories = got->metadata().categories();
      if (std::find(categories.begin(), categories.end(), category) == categories.end()) continue;
      score.add_item_ids(seen);
      ++count;
    }
    if (score.item_ids_size() > 0) {
      v1::ScoreItemsResponse scored;
      ASSERT_OK(server_->ScoreItems(score, &scored));
      for (const v1::ScoredItem& seen : scored.items()) sum += double{seen.score()};
    }
    EXPECT_NEAR(mean, sum / count, 1e-4) << "an average item of its category";
    const std::optional<v1::Item> got = Get("unseen");
    EXPECT_EQ(got->status(), v1::Item::STATUS_RECOMMENDABLE);
    EXPECT_TRUE(got->vector_from_categories());
    EXPECT_THAT(got->vector(), SizeIs(kDim));
  };
  ASSERT_NO_FATAL_FAILURE(expect_by_category("cat-2"));
  EXPECT_EQ(server_->GetStatus().num_items_without_vector(), 0);
  EXPECT_EQ(server_->Metric("swiftlet_items_with_category_vector"), 1);
  const std::optional<v1::Item> before = Get("unseen");

  // Its events count; other categories move it; a restart changes nothing.
  v1::RecordEventsResponse recorded;
  ASSERT_OK(server_->RecordEvents(Batch({MakeEvent("u", "unseen", "like")}), &recorded));
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(UserRequest("u", 5), &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_HISTORY);
  item.mutable_metadata()->set_categories(0, "cat-3");
  ASSERT_NO_FATAL_FAILURE(Upsert(item));
  ASSERT_NO_FATAL_FAILURE(expect_by_category("cat-3"));
  const std::optional<v1::Item> moved = Get("unseen");
  EXPECT_NE(moved->vector(0), before->vector(0));
  EXPECT_EQ(server_->Terminate(), 0);
  ASSERT_NO_FATAL_FAILURE(Start());
  ASSERT_NO_FATAL_FAILURE(expect_by_category("cat-3"));
  EXPECT_EQ(Get("unseen")->vector(0), moved->vector(0));

  // The next snapshot has other means.
  ASSERT_TRUE(PublishRandomSnapshot(ModelDirectory(server_->model_dir()),
                                    {.num_items = 100, .dim = kDim, .seed = 2, .version = 2})
                  .ok());
  ASSERT_TRUE(server_->WaitForVersion(2));
  ASSERT_NO_FATAL_FAILURE(expect_by_category("cat-3"));
  EXPECT_NE(Get("unseen")->vector(0), moved->vector(0));

  // A vector wins, deletion takes it away, and a category that no item has is worth nothing.
  ASSERT_NO_FATAL_FAILURE(Upsert(MakeItem("unseen", BestVector())));
  EXPECT_EQ(Recommended(1).at(0), "unseen");
  EXPECT_FALSE(Get("unseen")->vector_from_categories());
  v1::Item other;
  other.set_item_id("other");
  other.mutable_metadata()->add_categories("cat-1");
  ASSERT_NO_FATAL_FAILURE(Upsert(other));
  EXPECT_THAT(Recommended(), ::testing::Contains("other"));
  EXPECT_EQ(Delete({"other"}), 1);
  EXPECT_THAT(Recommended(), ::testing::Not(::testing::Contains("other")));
  ASSERT_NO_FATAL_FAILURE(Upsert(other));
  EXPECT_THAT(Recommended(), ::testing::Contains("other"));
  other.mutable_metadata()->set_categories(0, "never heard of");
  ASSERT_NO_FATAL_FAILURE(Upsert(other));
  EXPECT_EQ(Get("other")->status(), v1::Item::STATUS_NO_VECTOR);
  EXPECT_THAT(Recommended(1000), ::testing::Not(::testing::Contains("other")));
}

TEST_F(CatalogTest, VectorsAreCheckedAgainstTheSnapshot) {
  v1::UpsertItemsRequest request;
  *request.add_items() = MakeItem("good", std::vector<float>(kDim, 1.0f));
  *request.add_items() = MakeItem("bad", std::vector<float>(kDim + 1, 1.0f));
  v1::UpsertItemsResponse response;
  EXPECT_CODE(server_->UpsertItems(request, &response), grpc::StatusCode::INVALID_ARGUMENT,
              "items[1].vector: dimension 17, the serving snapshot has dimension 16");
  EXPECT_FALSE(Get("good").has_value()) << "all of the batch or none";

  TempDir empty;
  ServerProcess server({.dir = empty.path()});
  ASSERT_TRUE(server.running());
  v1::UpsertItemsRequest with_vector;
  *with_vector.add_items() = MakeItem("early", std::vector<float>(kDim, 1.0f));
  EXPECT_CODE(server.UpsertItems(with_vector, &response), grpc::StatusCode::FAILED_PRECONDITION,
              "no snapshot");
  v1::UpsertItemsRequest metadata;
  metadata.add_items()->set_item_id("early");
  metadata.mutable_items(0)->mutable_metadata()->set_title("Early");
  ASSERT_OK(server.UpsertItems(metadata, &response));
  v1::GetItemsRequest get;
  get.add_item_ids("early");
  get.add_item_ids("item-1");
  v1::GetItemsResponse got;
  ASSERT_OK(server.GetItems(get, &got));
  ASSERT_THAT(got.items(), SizeIs(1));
  EXPECT_EQ(got.items(0).status(), v1::Item::STATUS_NO_VECTOR);
  EXPECT_EQ(got.items(0).metadata().title(), "Early");
  EXPECT_THAT(got.unknown_item_ids(), ElementsAre("item-1"));
  EXPECT_EQ(got.snapshot_version(), 0);
}

TEST_F(CatalogTest, AChangeDuringALoadIsNotLost) {
  std::atomic<bool> stop{false};
  std::vector<std::string> acknowledged;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string id = "added-" + std::to_string(i);
      v1::UpsertItemsRequest request;
      *request.add_items() = MakeItem(id, std::vector<float>(kDim, 0.01f * static_cast<float>(i % 100)));
      v1::UpsertItemsResponse response;
      if (!server_->UpsertItems(request, &response).ok()) break;
      acknowledged.push_back(id);
    }
  });
  for (int64_t version = 2; version <= 6; ++version) {
    Publish(server_->model_dir(), version);
    EXPECT_TRUE(server_->WaitForVersion(version)) << server_->Log();
  }
  stop = true;
  writer.join();
  EXPECT_THAT(acknowledged, ::testing::Not(IsEmpty()));
  // How many depends on the machine: more than one Recommend can answer on a fast one, and than one
  // ScoreItems in theory.
  constexpr size_t kBatch = 10'000;
  for (size_t begin = 0; begin < acknowledged.size(); begin += kBatch) {
    v1::ScoreItemsRequest request;
    *request.mutable_history() = Session(1).history();
    const size_t end = std::min(begin + kBatch, acknowledged.size());
    for (size_t i = begin; i < end; ++i) request.add_item_ids(acknowledged[i]);
    v1::ScoreItemsResponse response;
    ASSERT_OK(server_->ScoreItems(request, &response));
    EXPECT_EQ(response.snapshot_version(), 6);
    EXPECT_THAT(response.unknown_item_ids(), IsEmpty()) << "of " << acknowledged.size();
    EXPECT_EQ(response.items_size(), static_cast<int>(end - begin));
  }
}

}  // namespace
}  // namespace swiftlet::testing

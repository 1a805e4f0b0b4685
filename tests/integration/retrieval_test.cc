// How items are searched for: modes, budgets, proofs, and the recall that the server measures itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/snapshot_writer.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

constexpr uint32_t kNumItems = 9000;  // enough for an index
constexpr int kNumRequests = 40;

// scale: of the bounds in approximate searches, in place of what was calibrated; 0: as it was.
void PublishIndexed(const std::string& model_dir, int64_t version, double scale = 0) {
  const ModelDirectory models(model_dir);
  ASSERT_TRUE(models.Create().ok());
  const absl::StatusOr<std::string> staging = models.CreateStaging();
  ASSERT_TRUE(staging.ok());
  SnapshotContents contents = RandomSnapshot({.num_items = kNumItems, .dim = 32, .version = version});
  contents.index = IndexMode::kAlways;
  ASSERT_TRUE(WriteSnapshot(*staging, contents).ok());
  if (scale != 0) {
    absl::StatusOr<Manifest> manifest = ReadManifest(*staging);
    ASSERT_TRUE(manifest.ok() && manifest->index.has_value());
    for (ManifestCalibration* c : {&manifest->index->dot, &manifest->index->cosine}) {
      c->box_scale = c->code_scale = scale;
    }
    std::ofstream(*staging + "/" + kManifestFile) << FormatManifest(*manifest);
  }
  const absl::Status published = models.Publish(*staging, version);
  ASSERT_TRUE(published.ok()) << published;
}

v1::RecommendRequest Session(int n) {
  v1::RecommendRequest request;
  for (int i = 0; i < 3; ++i) {
    *request.mutable_history()->add_events() = MakeEvent("", absl::StrCat("item-", 100 * n + i), "like");
  }
  request.set_k(10);
  return request;
}

class RetrievalTest : public ::testing::Test {
 protected:
  void Start(const std::string& retrieval_config, double scale = 0,
             const std::vector<std::string>& args = {}) {
    ASSERT_NO_FATAL_FAILURE(PublishIndexed(dir_.path() + "/models", 1, scale));
    server_ = std::make_unique<ServerProcess>(ServerProcess::Options{
        .dir = dir_.path(), .config = absl::StrCat("retrieval { ", retrieval_config, " }"), .args = args});
    ASSERT_TRUE(server_->running());
  }
  void TearDown() override {
    if (server_ != nullptr && server_->running()) {
      EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
    }
  }
  // How many of kNumRequests answers of each method are proven exact. Each has k items.
  int AskRecommend(const v1::Search& search = {}) {
    int num_proven = 0;
    for (int n = 0; n < kNumRequests; ++n) {
      v1::RecommendRequest request = Session(n);
      *request.mutable_search() = search;
      v1::RecommendResponse response;
      const grpc::Status status = server_->Recommend(request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.items_size(), 10);
      num_proven += response.proven_exact();
    }
    return num_proven;
  }
  int AskSimilarItems(const v1::Search& search = {}) {
    int num_proven = 0;
    for (int n = 0; n < kNumRequests; ++n) {
      v1::SimilarItemsRequest request;
      request.set_item_id(absl::StrCat("item-", n));
      request.set_k(10);
      *request.mutable_search() = search;
      v1::SimilarItemsResponse response;
      const grpc::Status status = server_->SimilarItems(request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.items_size(), 10);
      num_proven += response.proven_exact();
    }
    return num_proven;
  }
  double Metric(const std::string& name, const std::string& method) {
    return server_->Metric(absl::StrCat(name, "{method=\"", method, "\"}"));
  }
  // The mean recall of at least `at_least` samples; asks on until there are so many.
  double MeasuredRecall(const std::string& method, int at_least) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (Metric("swiftlet_recall_at_k_count", method) < at_least) {
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << server_->Metrics();
        return -1;
      }
      method == "Recommend" ? AskRecommend() : AskSimilarItems();
    }
    // The count before the sum: a sample that comes in between makes the mean no smaller.
    const double count = Metric("swiftlet_recall_at_k_count", method);
    return Metric("swiftlet_recall_at_k_sum", method) / count;
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(RetrievalTest, ByDefaultAnswersAreProvenAndDoNotLookAtEveryItem) {
  ASSERT_NO_FATAL_FAILURE(Start("recall_sample_rate: 1"));
  EXPECT_EQ(AskRecommend(), kNumRequests);
  EXPECT_EQ(AskSimilarItems(), kNumRequests);
  for (const char* method : {"Recommend", "SimilarItems"}) {
    SCOPED_TRACE(method);
    EXPECT_EQ(Metric("swiftlet_answers_not_proven_exact_total", method), 0);
    const double scanned = Metric("swiftlet_search_rows_scanned_total", method);
    EXPECT_GT(scanned, 10 * kNumRequests);
    EXPECT_LE(Metric("swiftlet_search_rows_scored_total", method), scanned);
    EXPECT_GE(MeasuredRecall(method, 10), 1);
    EXPECT_EQ(Metric("swiftlet_answers_not_proven_exact_total", method), 0);
  }
  // Popular items are what they are, whatever the mode and the budget.
  v1::RecommendRequest request = UserRequest("nobody", 10);
  request.mutable_search()->set_mode(v1::Search::MODE_APPROXIMATE);
  request.mutable_search()->set_budget_rows(1);
  v1::RecommendResponse response;
  ASSERT_OK(server_->Recommend(request, &response));
  EXPECT_EQ(response.items(0).source(), v1::SOURCE_POPULAR);
  EXPECT_TRUE(response.proven_exact());
}

TEST_F(RetrievalTest, ABudgetBoundsTheSearchAndTheMetricsSayWhatItCosts) {
  ASSERT_NO_FATAL_FAILURE(Start("budget_rows: 1 recall_sample_rate: 1"));
  EXPECT_EQ(AskRecommend(), 0);
  EXPECT_EQ(AskSimilarItems(), 0);
  for (const char* method : {"Recommend", "SimilarItems"}) {
    SCOPED_TRACE(method);
    EXPECT_EQ(Metric("swiftlet_answers_not_proven_exact_total", method), kNumRequests);
    EXPECT_LT(Metric("swiftlet_search_rows_scanned_total", method), kNumRequests * (kNumItems / 4));
    const double recall = MeasuredRecall(method, 10);
    EXPECT_GT(recall, 0);
    EXPECT_LT(recall, 0.95);
  }
  // A request cannot lift it.
  v1::Search search;
  search.set_mode(v1::Search::MODE_EXACT);
  search.set_budget_rows(1'000'000);
  EXPECT_EQ(AskRecommend(search), 0);
}

TEST_F(RetrievalTest, ARequestMayAskForLess) {
  ASSERT_NO_FATAL_FAILURE(Start("recall_sample_rate: 0"));
  v1::Search search;
  search.set_budget_rows(1);
  EXPECT_EQ(AskRecommend(search), 0);
  EXPECT_EQ(AskSimilarItems(search), 0);
  EXPECT_EQ(AskRecommend(), kNumRequests);
  search.Clear();
  search.set_budget_us(10'000'000);
  EXPECT_EQ(AskRecommend(search), kNumRequests);
  EXPECT_EQ(Metric("swiftlet_recall_at_k_count", "Recommend"), 0) << "no sampling";

  v1::RecommendRequest bad = Session(1);
  bad.mutable_search()->set_budget_us(-1);
  v1::RecommendResponse response;
  EXPECT_CODE(server_->Recommend(bad, &response), grpc::StatusCode::INVALID_ARGUMENT,
              "search.budget_us: -1 is negative");
}

TEST_F(RetrievalTest, ApproximateSearchesTakeTheScalesOfTheSnapshot) {
  ASSERT_NO_FATAL_FAILURE(
      Start("", /*scale=*/0.02, {"--retrieval-mode", "approximate", "--recall-sample-rate", "1"}));
  EXPECT_LT(AskRecommend(), kNumRequests);
  const double recall = MeasuredRecall("Recommend", 10);
  EXPECT_GT(recall, 0);
  EXPECT_LT(recall, 1);
  EXPECT_GT(Metric("swiftlet_answers_not_proven_exact_total", "Recommend"), 0);
  v1::Search exact;
  exact.set_mode(v1::Search::MODE_EXACT);
  EXPECT_EQ(AskRecommend(exact), kNumRequests);
  EXPECT_EQ(AskSimilarItems(exact), kNumRequests);
}

TEST_F(RetrievalTest, AsCalibratedByTheWriterTheyFindAlmostEverything) {
  ASSERT_NO_FATAL_FAILURE(Start("mode: \"approximate\" recall_sample_rate: 1"));
  EXPECT_GE(MeasuredRecall("Recommend", 30), 0.95);
}

}  // namespace
}  // namespace swiftlet::testing

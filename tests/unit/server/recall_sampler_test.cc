#include "server/recall_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using Items = std::vector<RecommendedItem>;

TEST(RecallAtK, IsTheShareOfTheBestThatWasFound) {
  const Items exact = {
      {.row = 7, .score = 4}, {.row = 3, .score = 3}, {.row = 9, .score = 2}, {.row = 1, .score = 1}};
  EXPECT_EQ(RecallAtK(exact, exact), 1);
  EXPECT_EQ(RecallAtK({}, exact), 0);
  EXPECT_EQ(RecallAtK({}, {}), 1);
  EXPECT_EQ(RecallAtK(Items{{.row = 1, .score = 1}, {.row = 7, .score = 4}}, exact), 0.5) << "in any order";
  EXPECT_EQ(
      RecallAtK(Items{{.row = 7, .score = 4}, {.row = 2, .score = 0.5f}, {.row = 4, .score = 0.25f}}, exact),
      0.25);
  // Other rows with the score of the last one are as good as that one.
  EXPECT_EQ(
      RecallAtK(
          Items{
              {.row = 7, .score = 4}, {.row = 3, .score = 3}, {.row = 9, .score = 2}, {.row = 8, .score = 1}},
          exact),
      1);
  EXPECT_EQ(RecallAtK(Items{{.row = 8, .score = 9}, {.row = 7, .score = 4}}, exact), 0.25)
      << "better than the best: what should not be in the answer";
  const Items equal = {{.row = 1, .score = 5}, {.row = 2, .score = 5}};
  EXPECT_EQ(RecallAtK(Items{{.row = 8, .score = 5}, {.row = 9, .score = 5}}, equal), 1);
}

class RecallSamplerTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kDim = 8;

  RecallSamplerTest() : metrics_("test", [] { return int64_t{0}; }) {
    database_ = *Database::Open({.path = dir_.File("data")}, EventTypeTable::Default());
    catalog_ = std::make_unique<CatalogManager>(database_.get(), &reaper_);
    Serve(1);
    for (uint32_t i = 0; i < kDim; ++i) long_term_.push_back(i % 2 == 0 ? 0.5f : -0.25f);
  }
  ~RecallSamplerTest() override {
    sampler_.reset();
    catalog_->Clear();
  }
  void Serve(int64_t version) {
    auto snapshot = testing::WriteAndLoad(
        dir_.File(absl::StrCat("model-", version)),
        testing::RandomSnapshot({.dim = kDim, .seed = static_cast<uint64_t>(version), .version = version}));
    absl::StatusOr<std::shared_ptr<const ServingState>> state =
        catalog_->Prepare(NeverFreedByRequests(std::move(snapshot), "a snapshot"));
    ASSERT_TRUE(state.ok());
    catalog_->Publish(*std::move(state));
  }
  void StartSampler(RecallSampler::Options options) {
    sampler_ = std::make_unique<RecallSampler>(std::move(options), catalog_.get(), &metrics_);
  }
  // A request for ten items whose answer has lost the best `num_lost` of them.
  void Ask(size_t num_lost = 0) {
    const RequestScope scope;
    const std::shared_ptr<const ServingState> state = catalog_->Acquire();
    const UserState user = {.history = {}, .long_term = long_term_};
    Recommendation result;
    const RecommendQuery query{.k = 10};
    ASSERT_TRUE(Recommend(*state->snapshot, *state->view, query, user, scratch_, &result).ok());
    ASSERT_EQ(result.items.size(), 10u);
    result.items.erase(result.items.begin(), result.items.begin() + static_cast<ptrdiff_t>(num_lost));
    sampler_->AddRecommend(state, query, user, result);
  }
  double Metric(const std::string& series) const {
    const std::string page = "\n" + metrics_.Text();
    const size_t at = page.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::atof(page.c_str() + at + series.size() + 2);
  }
  double Measured() const { return Metric("swiftlet_recall_at_k_count{method=\"Recommend\"}"); }
  double Dropped(const std::string& reason) const {
    return Metric("swiftlet_recall_samples_dropped_total{reason=\"" + reason + "\"}");
  }
  template <typename Condition>
  void WaitUntil(const Condition& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(condition());
  }

  testing::TempDir dir_;
  ServerMetrics metrics_;
  std::unique_ptr<Database> database_;
  Reaper reaper_;
  std::unique_ptr<CatalogManager> catalog_;
  std::vector<float> long_term_;
  Scratch scratch_;
  std::unique_ptr<RecallSampler> sampler_;
};

TEST_F(RecallSamplerTest, ChoosesAtTheRate) {
  const auto chosen = [&](double rate) {
    StartSampler({.rate = rate});
    int count = 0;
    for (int i = 0; i < 100'000; ++i) count += sampler_->Chosen();
    return count;
  };
  EXPECT_EQ(chosen(0), 0);
  EXPECT_EQ(chosen(1), 100'000);
  EXPECT_NEAR(chosen(0.1), 10'000, 600);  // six standard deviations
  EXPECT_NEAR(chosen(0.001), 100, 60);
}

TEST_F(RecallSamplerTest, MeasuresWhatAnAnswerHolds) {
  StartSampler({.rate = 1, .max_share = 1});
  const auto sum = [&] { return Metric("swiftlet_recall_at_k_sum{method=\"Recommend\"}"); };
  EXPECT_EQ(Measured(), 0);
  Ask();
  WaitUntil([&] { return Measured() == 1; });
  EXPECT_EQ(sum(), 1);
  EXPECT_EQ(Metric("swiftlet_recall_at_k_bucket{method=\"Recommend\",le=\"0.999\"}"), 0);
  Ask(/*num_lost=*/3);
  WaitUntil([&] { return Measured() == 2; });
  EXPECT_DOUBLE_EQ(sum(), 1.7);
  EXPECT_EQ(Metric("swiftlet_recall_at_k_bucket{method=\"Recommend\",le=\"0.7\"}"), 1);
  EXPECT_EQ(Dropped("busy"), 0);
  EXPECT_EQ(Dropped("swapped"), 0);
}

TEST_F(RecallSamplerTest, AsksWhatTheRequestAsked) {
  StartSampler({.rate = 1, .max_share = 1});
  const std::shared_ptr<const ServingState> state = catalog_->Acquire();
  const auto rows = [](const Recommendation& result) {
    std::vector<uint32_t> rows;
    for (const RecommendedItem& item : result.items) rows.push_back(item.row);
    return rows;
  };
  Recommendation plain, result;
  double num_samples = 0;
  const auto sample = [&](const RecommendQuery& query, const UserState& user) {
    ASSERT_TRUE(Recommend(*state->snapshot, *state->view, query, user, scratch_, &result).ok());
    ASSERT_EQ(result.items.size(), query.k);
    sampler_->AddRecommend(state, query, user, result);
    ++num_samples;
    WaitUntil([&] { return Measured() == num_samples; });
    EXPECT_EQ(Metric("swiftlet_recall_at_k_sum{method=\"Recommend\"}"), num_samples);
  };
  {
    // Gone before the last sample is measured.
    const std::vector<HistoryEvent> history = {
        {.item_key = ItemKeyOf("item-1"), .timestamp_ms = 1, .type = 1},
        {.item_key = ItemKeyOf("item-2"), .timestamp_ms = 2, .type = 3}};
    const UserState user = {.history = history, .long_term = long_term_};
    const RecommendQuery all{.k = 98};
    ASSERT_NO_FATAL_FAILURE(sample(all, user));
    // What each field changes in the answer would be missed if the sampler forgot the field.
    RecommendQuery query{.k = 10};
    ASSERT_NO_FATAL_FAILURE(sample(query, user));
    plain = result;
    const auto sample_other = [&](const RecommendQuery& other, const UserState& other_user) {
      sample(other, other_user);
      EXPECT_NE(rows(result), rows(plain));
    };
    const std::vector<ItemKey> best = {state->snapshot->Key(plain.items[0].row),
                                       state->snapshot->Key(plain.items[3].row)};
    query.exclude_items = best;
    ASSERT_NO_FATAL_FAILURE(sample_other(query, user));
    query = {.k = 10, .context_items = best};
    ASSERT_NO_FATAL_FAILURE(sample_other(query, user));
    const std::string category = "cat-1";
    const std::vector<std::string_view> categories = {category};
    query = {.k = 10, .any_of_categories = categories};
    ASSERT_NO_FATAL_FAILURE(sample_other(query, user));
    query = {.k = 10, .none_of_categories = categories};
    ASSERT_NO_FATAL_FAILURE(sample_other(query, user));
    query = {.k = 10};
    ASSERT_NO_FATAL_FAILURE(sample_other(query, {.history = history, .long_term = {}}));
    ASSERT_NO_FATAL_FAILURE(sample_other(query, {.history = {}, .long_term = long_term_}));
    const std::vector<HistoryEvent> of_best = {{.item_key = best[0], .timestamp_ms = 1, .type = 1}};
    ASSERT_NO_FATAL_FAILURE(sample({.k = 10}, {.history = of_best, .long_term = long_term_}));
    plain = result;
    ASSERT_NO_FATAL_FAILURE(
        sample_other({.k = 10, .exclude_seen = false}, {.history = of_best, .long_term = long_term_}));
    const RecommendQuery similar{.k = 20, .exclude_items = best, .none_of_categories = categories};
    ASSERT_TRUE(SimilarItems(*state->snapshot, *state->view, similar, 9, scratch_, &result).ok());
    sampler_->AddSimilarItems(state, similar, 9, result);
  }
  WaitUntil([&] { return Metric("swiftlet_recall_at_k_count{method=\"SimilarItems\"}") == 1; });
  EXPECT_EQ(Metric("swiftlet_recall_at_k_sum{method=\"SimilarItems\"}"), 1);

  // Of another item the neighbours are others.
  const RecommendQuery query{.k = 20};
  ASSERT_TRUE(SimilarItems(*state->snapshot, *state->view, query, 9, scratch_, &result).ok());
  sampler_->AddSimilarItems(state, query, 10, result);
  WaitUntil([&] { return Metric("swiftlet_recall_at_k_count{method=\"SimilarItems\"}") == 2; });
  EXPECT_LT(Metric("swiftlet_recall_at_k_sum{method=\"SimilarItems\"}"), 2);
}

TEST_F(RecallSamplerTest, AnswersThatWereNotSearchedForAreNoSamples) {
  StartSampler({.rate = 1, .max_share = 1});
  const std::shared_ptr<const ServingState> state = catalog_->Acquire();
  Recommendation popular;
  const RecommendQuery query{.k = 10};
  ASSERT_TRUE(Recommend(*state->snapshot, *state->view, query, {}, scratch_, &popular).ok());
  sampler_->AddRecommend(state, query, {}, popular);
  Ask();
  WaitUntil([&] { return Measured() == 1; });
  sampler_->Stop();
  EXPECT_EQ(Measured(), 1);
  EXPECT_EQ(Dropped("busy"), 0);
}

TEST_F(RecallSamplerTest, ABusySamplerDropsAndNeverBlocks) {
  std::promise<void> started, release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<bool> first{true};
  StartSampler({.rate = 1, .max_queued = 2, .max_share = 1, .before_measuring = [&] {
                  if (first.exchange(false)) started.set_value();
                  released.wait();
                }});
  Ask();
  started.get_future().wait();
  for (int i = 0; i < 5; ++i) Ask();  // two of them find room
  EXPECT_EQ(Dropped("busy"), 3);
  EXPECT_EQ(Measured(), 0);
  release.set_value();
  WaitUntil([&] { return Measured() == 3; });
  Ask();
  WaitUntil([&] { return Measured() == 4; });
  EXPECT_EQ(Dropped("busy"), 3);
}

TEST_F(RecallSamplerTest, ItTakesItsShareOfTheTimeAndNoMore) {
  StartSampler({.rate = 1, .max_queued = 2, .max_share = 1e-6, .before_measuring = [] {
                  std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }});
  // Each has been measured or dropped before the next one comes: there is always room in the queue.
  for (int i = 1; i <= 50; ++i) {
    Ask();
    WaitUntil([&] { return Measured() + Dropped("busy") == i; });
  }
  // One was measured, perhaps one more before the rest began, which lasts for a quarter of an hour.
  EXPECT_LE(Measured(), 5);
  EXPECT_GE(Dropped("busy"), 45);
}

TEST_F(RecallSamplerTest, ASwapDropsTheSamplesOfTheOldSnapshotAndLetsItGo) {
  std::promise<void> started, release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<bool> first{true};
  StartSampler({.rate = 1, .max_queued = 2, .max_share = 1, .before_measuring = [&] {
                  if (first.exchange(false)) started.set_value();
                  released.wait();
                }});
  Ask();
  started.get_future().wait();
  Ask();
  const std::weak_ptr<const ModelSnapshot> old = catalog_->Acquire()->snapshot;
  Serve(2);
  Ask();
  EXPECT_FALSE(old.expired()) << "the samples hold it";
  release.set_value();
  WaitUntil([&] { return Measured() == 1; });
  EXPECT_EQ(Dropped("swapped"), 2);
  EXPECT_EQ(Metric("swiftlet_recall_at_k_sum{method=\"Recommend\"}"), 1) << "of the new one";
  WaitUntil([&] { return old.expired(); });
}

TEST_F(RecallSamplerTest, AChangedCatalogueIsAnotherStateOfTheSameSnapshot) {
  std::promise<void> started, release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<bool> first{true};
  StartSampler({.rate = 1, .max_queued = 2, .max_share = 1, .before_measuring = [&] {
                  if (first.exchange(false)) started.set_value();
                  released.wait();
                }});
  Ask();
  started.get_future().wait();
  // Better than all others, for the next requests.
  std::vector<float> best;
  for (const float v : long_term_) best.push_back(v * 100);
  const ItemChange change = {.item_id = "new", .vector = best};
  ASSERT_TRUE(catalog_->Upsert({&change, 1}).ok());
  Ask();
  release.set_value();
  WaitUntil([&] { return Measured() == 2; });
  EXPECT_EQ(Metric("swiftlet_recall_at_k_sum{method=\"Recommend\"}"), 2) << "each against its own catalogue";
  EXPECT_EQ(Dropped("swapped"), 0);
  WaitUntil([&] { return reaper_.num_waiting() == 0; });
}

TEST_F(RecallSamplerTest, StopDropsWhatWaits) {
  std::promise<void> started, release;
  std::shared_future<void> released = release.get_future().share();
  std::atomic<bool> first{true};
  StartSampler({.rate = 1, .max_queued = 2, .max_share = 1, .before_measuring = [&] {
                  if (first.exchange(false)) started.set_value();
                  released.wait();
                }});
  Ask();
  started.get_future().wait();
  Ask();
  Ask();
  std::thread stopper([&] { sampler_->Stop(); });
  // Until the sampler takes no more, it is full: both are drops.
  const double before = Dropped("busy");
  Ask();
  EXPECT_EQ(Dropped("busy"), before + 1);
  release.set_value();
  stopper.join();
  EXPECT_LE(Measured(), 3);
  const double measured = Measured();
  Ask();
  sampler_->Stop();
  EXPECT_EQ(Measured(), measured);
  EXPECT_EQ(Dropped("busy"), before + 2);
}

}  // namespace
}  // namespace swiftlet

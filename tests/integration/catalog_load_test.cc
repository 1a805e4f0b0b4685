// The catalogue changes while requests run and snapshots are swapped: every answer whose call began after the
// acknowledgement of a change, and ended before the next one began, shows it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/integration/server_process.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::testing {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr uint32_t kDim = 16;
constexpr int kSnapshotItems = 100;

// Every version has the same vectors in one space: upserted vectors outlive swaps, and scores stay.
void Publish(const std::string& model_dir, int64_t version) {
  const absl::Status status = PublishRandomSnapshot(
      ModelDirectory(model_dir), {.num_items = kSnapshotItems, .dim = kDim, .version = version});
  ASSERT_TRUE(status.ok()) << status.ToString();
}

v1::InlineHistory Session() {
  v1::InlineHistory history;
  *history.add_events() = MakeEvent("", "item-1", "like", 1000);
  *history.add_events() = MakeEvent("", "item-2", "purchase", 2000);
  return history;
}

v1::RecommendRequest Everything() {
  v1::RecommendRequest request;
  *request.mutable_history() = Session();
  request.set_k(1000);
  request.set_exclude_seen(false);
  return request;
}

template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  return (stub.*method)(&context, request, response);
}

// What an item is now.
struct ItemState {
  bool present = false;
  int scale = 0;     // its vector is that often the best vector; 0: the snapshot's own
  int category = 0;  // "hot-<category>"
};

// An item of one writer. Readers take the state before a call, and compare the answer when it is still the
// same one after the call.
class Tracked {
 public:
  Tracked(std::string id_in, ItemState state) : id(std::move(id_in)) { Set(state); }
  // Around a change.
  void Begin() { ++sequence_; }
  void End(ItemState state) {
    Set(state);
    ++sequence_;
  }
  struct Seen {
    uint64_t sequence;
    ItemState state;
  };
  Seen Look() const { return {sequence_, {present_, scale_, category_}}; }
  bool StillSo(const Seen& seen) const { return seen.sequence % 2 == 0 && sequence_ == seen.sequence; }

  const std::string id;

 private:
  void Set(const ItemState& state) {
    present_ = state.present;
    scale_ = state.scale;
    category_ = state.category;
  }
  std::atomic<uint64_t> sequence_{0};  // odd while it changes
  std::atomic<bool> present_;
  std::atomic<int> scale_, category_;
};

class CatalogLoadTest : public ::testing::Test {
 protected:
  void StartServer(const std::string& config = "") {
    Publish(dir_.path() + "/models", 1);
    server_ = std::make_unique<ServerProcess>(ServerProcess::Options{.dir = dir_.path(), .config = config});
    ASSERT_TRUE(server_->running());
    // The vector of the session's best item is a good direction: a multiple of it is better.
    v1::RecommendRequest request = Everything();
    request.set_k(1);
    v1::RecommendResponse response;
    ASSERT_OK(server_->Recommend(request, &response));
    v1::GetItemsRequest get;
    get.add_item_ids(response.items(0).item_id());
    get.set_include_vectors(true);
    v1::GetItemsResponse got;
    ASSERT_OK(server_->GetItems(get, &got));
    direction_.assign(got.items(0).vector().begin(), got.items(0).vector().end());
    // The score of the direction itself: without the bias of the item, which added items do not have.
    ASSERT_OK(Upsert({MakeItem("anchor", 1)}));
    v1::ScoreItemsRequest score;
    *score.mutable_history() = Session();
    score.add_item_ids("anchor");
    v1::ScoreItemsResponse scored;
    ASSERT_OK(server_->ScoreItems(score, &scored));
    unit_score_ = scored.items(0).score();
    ASSERT_GT(unit_score_, 0);
  }
  v1::Item MakeItem(const std::string& id, int scale) const {
    v1::Item item;
    item.set_item_id(id);
    for (const float x : direction_) item.add_vector(x * static_cast<float>(scale));
    return item;
  }
  grpc::Status Upsert(const std::vector<v1::Item>& items) {
    v1::UpsertItemsRequest request;
    for (const v1::Item& item : items) *request.add_items() = item;
    v1::UpsertItemsResponse response;
    return server_->UpsertItems(request, &response);
  }

  TempDir dir_;
  std::unique_ptr<ServerProcess> server_;
  std::vector<float> direction_;
  double unit_score_ = 0;
};

class Reader {
 public:
  Reader(const std::deque<Tracked>& items, double unit_score) : items_(items), unit_score_(unit_score) {}

  void Run(const std::shared_ptr<grpc::Channel>& channel, int first, const std::atomic<bool>& stop) {
    const auto recommendation = v1::RecommendationService::NewStub(channel);
    const auto catalog = v1::CatalogService::NewStub(channel);
    using Recommendation = v1::RecommendationService::Stub;
    for (int i = first; !stop && !::testing::Test::HasFailure(); ++i) {
      std::vector<Tracked::Seen> before;
      for (const Tracked& item : items_) before.push_back(item.Look());
      answer_.clear();
      grpc::Status status;
      const int kind = i % kNumKinds;
      switch (kind) {
        case 0:
        case 1: {
          v1::RecommendRequest request = Everything();
          if (kind == 1) request.mutable_filter()->add_any_of_categories("hot-1");
          v1::RecommendResponse response;
          status = Call(*recommendation, &Recommendation::Recommend, request, &response);
          for (const v1::ScoredItem& item : response.items()) answer_[item.item_id()] = item.score();
          break;
        }
        case 2: {
          v1::SimilarItemsRequest request;
          request.set_item_id("anchor");
          request.set_k(1000);
          v1::SimilarItemsResponse response;
          status = Call(*recommendation, &Recommendation::SimilarItems, request, &response);
          for (const v1::ScoredItem& item : response.items()) answer_[item.item_id()] = item.score();
          break;
        }
        case 3: {
          v1::ScoreItemsRequest request;
          *request.mutable_history() = Session();
          for (const Tracked& item : items_) request.add_item_ids(item.id);
          request.add_item_ids("ghost");
          v1::ScoreItemsResponse response;
          status = Call(*recommendation, &Recommendation::ScoreItems, request, &response);
          for (const v1::ScoredItem& item : response.items()) answer_[item.item_id()] = item.score();
          EXPECT_EQ(response.items_size() + response.unknown_item_ids_size(), request.item_ids_size());
          break;
        }
        case 4: {
          v1::GetItemsRequest request;
          for (const Tracked& item : items_) request.add_item_ids(item.id);
          request.add_item_ids("ghost");
          v1::GetItemsResponse response;
          status = Call(*catalog, &v1::CatalogService::Stub::GetItems, request, &response);
          for (const v1::Item& item : response.items()) {
            if (item.status() == v1::Item::STATUS_RECOMMENDABLE) answer_[item.item_id()] = 0;
          }
          break;
        }
      }
      ASSERT_TRUE(status.ok()) << "code " << status.error_code() << ": " << status.error_message();
      ASSERT_FALSE(answer_.contains("ghost")) << "an upsert that was refused";
      size_t n = 0;
      for (const Tracked& item : items_) {
        const Tracked::Seen& seen = before[n++];
        if (!item.StillSo(seen)) continue;
        ++num_compared_[seen.state.present ? 1 : 0];
        Compare(kind, item.id, seen.state);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  uint64_t num_compared(bool present) const { return num_compared_[present ? 1 : 0]; }

 private:
  static constexpr int kNumKinds = 5;

  void Compare(int kind, const std::string& id, const ItemState& state) {
    static constexpr std::array<const char*, kNumKinds> kNames = {"Recommend", "Recommend by category",
                                                                  "SimilarItems", "ScoreItems", "GetItems"};
    const bool expected = state.present && (kind != 1 || state.category == 1);
    const auto found = answer_.find(id);
    if ((found != answer_.end()) != expected) {
      ADD_FAILURE() << kNames[static_cast<size_t>(kind)] << ": " << id
                    << (expected ? " was added and is missing" : " was deleted and is there");
      return;
    }
    if (!expected || state.scale == 0 || kind == 4) return;
    const double score = kind == 2 ? 1 : state.scale * unit_score_;
    EXPECT_NEAR(found->second, score, 1e-4 * score)
        << kNames[static_cast<size_t>(kind)] << ": " << id << " by its present vector";
  }

  const std::deque<Tracked>& items_;
  const double unit_score_;
  std::map<std::string, double> answer_;
  std::array<uint64_t, 2> num_compared_ = {};
};

TEST_F(CatalogLoadTest, EveryAnswerShowsWhatWasAcknowledged) {
  constexpr int kWriters = 2, kReaders = 3, kItemsPerWriter = 4;
  constexpr int kChanges = kSanitized ? 40 : 200;  // of each writer
  constexpr int kSwaps = kSanitized ? 5 : 20;
  ASSERT_NO_FATAL_FAILURE(StartServer());
  // Of each writer's items the last is one of the snapshot's.
  std::deque<Tracked> items;
  for (int w = 0; w < kWriters; ++w) {
    for (int i = 0; i + 1 < kItemsPerWriter; ++i) {
      items.emplace_back(absl::StrCat("hot-", w, "-", i), ItemState());
    }
    items.emplace_back(absl::StrCat("item-", 50 + w), ItemState{.present = true});
  }
  std::atomic<bool> stop{false};
  std::atomic<int> writing{kWriters};
  std::deque<Reader> readers;
  std::vector<std::thread> threads;
  for (int r = 0; r < kReaders; ++r) {
    Reader& reader = readers.emplace_back(items, unit_score_);
    threads.emplace_back([&, r, channel = server_->NewChannel()] { reader.Run(channel, r, stop); });
  }
  std::atomic<bool> swapped{false};
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w, channel = server_->NewChannel()] {
      const auto stub = v1::CatalogService::NewStub(channel);
      using Catalog = v1::CatalogService::Stub;
      for (int c = 0; (c < kChanges || !swapped) && !HasFailure(); ++c) {
        Tracked& item = items[static_cast<size_t>(w * kItemsPerWriter + c % kItemsPerWriter)];
        const bool of_snapshot = c % kItemsPerWriter == kItemsPerWriter - 1;
        ItemState state = item.Look().state;
        // Added, changed twice, deleted, added again ..; the snapshot's item is deleted and comes back.
        const int step = c / kItemsPerWriter % 4;
        grpc::Status status;
        if (step == 3 || (of_snapshot && step == 1)) {
          state.present = false;
          v1::DeleteItemsRequest request;
          request.add_item_ids(item.id);
          v1::DeleteItemsResponse response;
          item.Begin();
          status = Call(*stub, &Catalog::DeleteItems, request, &response);
        } else {
          state.present = true;
          state.category = 1 - state.category;
          v1::UpsertItemsRequest request;
          if (of_snapshot) {
            request.add_items()->set_item_id(item.id);
          } else {
            state.scale = 2 + (c * 7 + w) % 50;
            *request.add_items() = MakeItem(item.id, state.scale);
          }
          request.mutable_items(0)->mutable_metadata()->add_categories(absl::StrCat("hot-", state.category));
          v1::UpsertItemsResponse response;
          item.Begin();
          status = Call(*stub, &Catalog::UpsertItems, request, &response);
        }
        ASSERT_TRUE(status.ok()) << status.error_message();
        item.End(state);
        if (c % 10 == 0) {  // all of a batch or none: the second one is bad
          v1::UpsertItemsRequest request;
          *request.add_items() = MakeItem("ghost", 100);
          *request.add_items() = MakeItem(item.id, 100);
          request.mutable_items(1)->mutable_vector()->Add(1);
          v1::UpsertItemsResponse response;
          EXPECT_EQ(Call(*stub, &Catalog::UpsertItems, request, &response).error_code(),
                    grpc::StatusCode::INVALID_ARGUMENT);
        }
      }
      --writing;
    });
  }
  int64_t version = 1;
  while ((version <= kSwaps || writing > 0) && !HasFailure()) {
    Publish(server_->model_dir(), ++version);
    EXPECT_TRUE(server_->WaitForVersion(version)) << server_->Log();
    if (version > kSwaps) swapped = true;
  }
  swapped = true;
  stop = true;
  for (std::thread& thread : threads) thread.join();
  uint64_t present = 0, absent = 0;
  for (const Reader& reader : readers) {
    present += reader.num_compared(true);
    absent += reader.num_compared(false);
  }
  std::printf("%lu times an item was there as it should, %lu times it was not; %ld swaps\n", present, absent,
              static_cast<long>(version - 1));
  EXPECT_GT(present, 100u);
  EXPECT_GT(absent, 100u);
  EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
}

// What one change costs does not grow with the number of changes before it.
TEST_F(CatalogLoadTest, ManyUpsertsStayFastWhileRequestsRun) {
  constexpr int kSingle = kSanitized ? 1'000 : 10'000;
  constexpr int kBatches = kSanitized ? 2 : 20, kBatch = 1'000;
  // The fsync would hide what is measured.
  ASSERT_NO_FATAL_FAILURE(StartServer("storage { sync_writes: false }"));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> num_reads{0};
  std::thread reader([&, channel = server_->NewChannel()] {
    const auto stub = v1::RecommendationService::NewStub(channel);
    v1::RecommendRequest request = Everything();
    request.set_k(10);
    for (; !stop; ++num_reads) {
      v1::RecommendResponse response;
      const grpc::Status status =
          Call(*stub, &v1::RecommendationService::Stub::Recommend, request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  });
  using Clock = std::chrono::steady_clock;
  const auto timed_us = [](const auto& fn) {
    const auto start = Clock::now();
    fn();
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  };
  const auto newest = [&] {
    v1::RecommendRequest request = Everything();
    request.set_k(1);
    v1::RecommendResponse response;
    EXPECT_TRUE(server_->Recommend(request, &response).ok());
    return response.items_size() == 0 ? "" : response.items(0).item_id();
  };
  std::vector<double> single_us;
  for (int i = 0; i < kSingle && !HasFailure(); ++i) {
    const v1::Item item = MakeItem(absl::StrCat("one-", i), 10 + i);
    single_us.push_back(timed_us([&] { EXPECT_TRUE(Upsert({item}).ok()); }));
    if (i % 500 == 0) {
      EXPECT_EQ(newest(), item.item_id());
    }
  }
  std::vector<double> batch_us;
  int number = 10 + kSingle;
  for (int b = 0; b < kBatches && !HasFailure(); ++b) {
    std::vector<v1::Item> items;
    for (int i = 0; i < kBatch; ++i, ++number)
      items.push_back(MakeItem(absl::StrCat("bulk-", number), number));
    batch_us.push_back(timed_us([&] { EXPECT_TRUE(Upsert(items).ok()); }));
    EXPECT_EQ(newest(), items.back().item_id());
  }
  const int total = kSingle + kBatches * kBatch + 1;
  EXPECT_EQ(server_->GetStatus().num_overlay_items(), total);
  // Single changes over all of them.
  std::vector<double> late_us;
  for (int i = 0; i < kSingle / 10 && !HasFailure(); ++i) {
    const v1::Item item = MakeItem(absl::StrCat("one-", i), ++number);
    late_us.push_back(timed_us([&] { EXPECT_TRUE(Upsert({item}).ok()); }));
  }
  stop = true;
  reader.join();

  const auto median = [](std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  };
  const auto tenth = static_cast<ptrdiff_t>(single_us.size() / 10);
  const double first = median({single_us.begin(), single_us.begin() + tenth});
  const double last = median({single_us.end() - tenth, single_us.end()});
  const double late = median(late_us);
  std::printf(
      "one upsert, median us: %.0f over the first %d items, %.0f at %d, %.0f at %d; a batch of %d: first "
      "%.0f, "
      "last %.0f; %lu answers meanwhile\n",
      first, kSingle / 10, last, kSingle, late, total, kBatch, batch_us.front(), batch_us.back(),
      num_reads.load());
  EXPECT_GT(num_reads, 0u);
  if (!kSanitized) {
    // Building the overlay anew for each change would cost 20 times as much in the end.
    EXPECT_LT(last, 4 * first);
    EXPECT_LT(late, 6 * first);
  }
  EXPECT_EQ(server_->Terminate(), 0) << server_->Log();
}

}  // namespace
}  // namespace swiftlet::testing

// New items from their first second: swiftlet-trainer learns what titles and categories tell, swiftlet-server
// places an item that is upserted, and recommends it to the right users.
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/server_process.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using testing::ServerProcess;
using testing::TempDir;

constexpr int kGroups = 4, kItemsOfGroup = 15;
constexpr const char* kWords[kGroups] = {"rocket", "waltz", "garden", "harbour"};

#define ASSERT_CALL(call)                               \
  do {                                                  \
    const grpc::Status status = (call);                 \
    ASSERT_TRUE(status.ok()) << status.error_message(); \
  } while (false)

std::string Title(int group, const std::string& rest) {
  return absl::StrCat("The ", kWords[group], " ", rest);
}
std::string Category(int group) { return absl::StrCat("group-", group); }

class ContentTest : public ::testing::Test {
 protected:
  // Users who stay within a group of items; item unseen-<group> is described and has no event.
  void SetUp() override {
    std::ofstream events(dir_.File("events.tsv")), items(dir_.File("items.tsv"));
    events << "user\titem\ttimestamp\n";
    items << "item\ttitle\tgenres\tyear\n";
    std::mt19937_64 random(1);
    for (int u = 0; u < 160; ++u) {
      for (int e = 0; e < 10; ++e) {
        events << "u" << u << "\ti"
               << u % kGroups * kItemsOfGroup + static_cast<int>(random() % kItemsOfGroup) << "\t"
               << 1'000'000'000 + e << "\n";
      }
    }
    for (int group = 0; group < kGroups; ++group) {
      for (int i = 0; i < kItemsOfGroup; ++i) {
        items << "i" << group * kItemsOfGroup + i << "\t" << Title(group, absl::StrCat("no ", i)) << "\t"
              << Category(group) << "\t" << 1950 + group << "\n";
      }
      items << "unseen-" << group << "\t" << Title(group, "unseen") << "\t" << Category(group) << "\t\n";
    }
    ASSERT_TRUE(events.flush().good() && items.flush().good());
  }
  void Train(const std::string& more) {
    const std::string log = dir_.File("trainer.log");
    const int code =
        std::system(absl::StrCat(SWIFTLET_TRAINER_BINARY, " train --events ", dir_.File("events.tsv"),
                                 " --items ", dir_.File("items.tsv"), " --models ", dir_.File("models"),
                                 " --dim 8 --epochs 3 --no-holdout --threads 1 ", more, " >", log, " 2>&1")
                        .c_str());
    std::stringstream said;
    said << std::ifstream(log).rdbuf();
    ASSERT_EQ(code, 0) << said.str();
  }
  static v1::RecommendRequest Request(int group, int k) {
    v1::RecommendRequest request;
    request.set_k(k);
    for (int i = 0; i < 3; ++i) {
      v1::Event* event = request.mutable_history()->add_events();
      event->set_item_id(absl::StrCat("i", group * kItemsOfGroup + i));
      event->set_type("view");
    }
    return request;
  }
  static std::vector<std::string> Ids(const v1::RecommendResponse& response) {
    std::vector<std::string> ids;
    for (const v1::ScoredItem& item : response.items()) ids.push_back(item.item_id());
    return ids;
  }

  TempDir dir_;
};

TEST_F(ContentTest, AnUpsertedItemIsRecommendedToTheRightUsersAtOnce) {
  ASSERT_NO_FATAL_FAILURE(Train("--attribute-columns year"));
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.WaitForVersion(1));
  for (int group = 0; group < kGroups; ++group) {
    const std::string id = absl::StrCat("brand-new-", group);
    v1::UpsertItemsRequest upsert;
    v1::Item* item = upsert.add_items();
    item->set_item_id(id);
    item->mutable_metadata()->set_title(Title(group, "that nobody has seen"));
    item->mutable_metadata()->add_categories(Category(group));
    (*item->mutable_metadata()->mutable_attributes())["year"] = absl::StrCat(1950 + group);
    v1::UpsertItemsResponse upserted;
    ASSERT_CALL(server.UpsertItems(upsert, &upserted));
    for (int other = 0; other < kGroups; ++other) {
      v1::RecommendResponse response;
      // As many as the group has besides the history, with the unseen one; of its own, the new one too.
      ASSERT_CALL(server.Recommend(Request(other, kItemsOfGroup - 3 + (other == group ? 2 : 1)), &response));
      const auto contains = ::testing::Contains(id);
      if (other == group) {
        EXPECT_THAT(Ids(response), contains);
      } else {
        EXPECT_THAT(Ids(response), ::testing::Not(contains)) << "a user of group " << other;
      }
    }
    v1::GetItemsRequest get;
    get.add_item_ids(id);
    v1::GetItemsResponse got;
    ASSERT_CALL(server.GetItems(get, &got));
    ASSERT_EQ(got.items_size(), 1);
    EXPECT_TRUE(got.items(0).vector_from_content());
    EXPECT_FALSE(got.items(0).vector_from_categories());
    EXPECT_EQ(got.items(0).metadata().attributes().at("year"), absl::StrCat(1950 + group));
  }
  // What it is made of outlives a restart, and its events count.
  EXPECT_EQ(server.Terminate(), 0);
  ServerProcess again({.dir = dir_.path()});
  ASSERT_TRUE(again.WaitForVersion(1));
  v1::RecommendRequest request;
  request.set_k(kItemsOfGroup);
  v1::Event* event = request.mutable_history()->add_events();
  event->set_item_id("brand-new-2");
  event->set_type("view");
  v1::RecommendResponse response;
  ASSERT_CALL(again.Recommend(request, &response));
  EXPECT_EQ(response.num_history_events_used(), 1);
  int of_group = 0;
  for (const std::string& id : Ids(response)) {
    of_group += id == "unseen-2" || (id[0] == 'i' && std::atoi(id.c_str() + 1) / kItemsOfGroup == 2) ? 1 : 0;
  }
  EXPECT_GE(of_group, kItemsOfGroup - 2);
}

TEST_F(ContentTest, TheServerPlacesAnItemWhereTheTrainerDoes) {
  ASSERT_NO_FATAL_FAILURE(Train(""));
  ServerProcess server({.dir = dir_.path()});
  ASSERT_TRUE(server.WaitForVersion(1));
  for (int group = 0; group < kGroups; ++group) {
    v1::UpsertItemsRequest upsert;
    v1::Item* item = upsert.add_items();
    item->set_item_id("twin");
    item->mutable_metadata()->set_title(Title(group, "unseen"));
    item->mutable_metadata()->add_categories(Category(group));
    v1::UpsertItemsResponse upserted;
    ASSERT_CALL(server.UpsertItems(upsert, &upserted));
    v1::GetItemsRequest get;
    get.add_item_ids("twin");
    get.add_item_ids(absl::StrCat("unseen-", group));
    get.set_include_vectors(true);
    v1::GetItemsResponse got;
    ASSERT_CALL(server.GetItems(get, &got));
    ASSERT_EQ(got.items_size(), 2);
    ASSERT_EQ(got.items(0).vector_size(), 8);
    ASSERT_EQ(got.items(1).vector_size(), 8);
    for (int j = 0; j < 8; ++j) EXPECT_NEAR(got.items(0).vector(j), got.items(1).vector(j), 1e-5);
    v1::ScoreItemsRequest score;
    *score.mutable_history() = Request(group, 1).history();
    score.add_item_ids("twin");
    score.add_item_ids(absl::StrCat("unseen-", group));
    v1::ScoreItemsResponse scored;
    ASSERT_CALL(server.ScoreItems(score, &scored));
    ASSERT_EQ(scored.items_size(), 2);
    EXPECT_NEAR(scored.items(0).score(), scored.items(1).score(), 1e-4);
  }
}

}  // namespace
}  // namespace swiftlet

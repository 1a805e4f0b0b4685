#include "client/cli/render.h"

#include <gtest/gtest.h>

#include <sstream>

namespace swiftlet::cli {
namespace {

void AddTerm(v1::ScoredItem& item, v1::Contribution::Kind kind, float score, const char* type = "",
             const char* title = "") {
  v1::Contribution& term = *item.add_explanation();
  term.set_kind(kind);
  term.set_score(score);
  term.set_event_type(type);
  term.set_item_id("i");
  term.set_item_title(title);
}

TEST(RenderTest, RecommendationsWithReasons) {
  v1::RecommendResponse response;
  v1::ScoredItem& first = *response.add_items();
  first.set_item_id("318");
  first.set_score(0.75f);
  first.set_source(v1::SOURCE_HISTORY);
  first.mutable_metadata()->set_title("Léon (1994)");
  first.mutable_metadata()->add_categories("Crime");
  first.mutable_metadata()->add_categories("Drama");
  AddTerm(first, v1::Contribution::KIND_LONG_TERM, 0.5f);
  AddTerm(first, v1::Contribution::KIND_EVENT, 0.3125f, "rating", "Toy Story (1995)");
  AddTerm(first, v1::Contribution::KIND_ITEM_BIAS, 0.0625f);
  AddTerm(first, v1::Contribution::KIND_EVENT, -0.125f, "dislike");
  v1::ScoredItem& second = *response.add_items();
  second.set_item_id("9");
  second.set_score(-1);
  second.set_source(v1::SOURCE_POPULAR);
  std::ostringstream out;
  PrintItems(response.items(), {}, out);
  EXPECT_EQ(out.str(),
            "#  Item  Title        Categories      Score  From\n"
            "1  318   Léon (1994)  Crime, Drama   0.7500  recent events\n"
            "    because of your long-term taste +0.5000\n"
            "    because you rated Toy Story (1995) +0.3125\n"
            "    although you disliked i -0.1250\n"
            "    and 1 smaller term +0.0625\n"
            "    4 terms add up to the score 0.7500\n"
            "2  9                                -1.0000  popular with everyone\n");
}

TEST(RenderTest, WithoutMetadataThereAreNoEmptyColumns) {
  v1::SimilarItemsResponse response;
  v1::ScoredItem& item = *response.add_items();
  item.set_item_id("7");
  item.set_score(0.5f);
  std::ostringstream out;
  PrintItems(response.items(), {.show_source = false, .score_header = "Cosine"}, out);
  EXPECT_EQ(out.str(), "#  Item  Cosine\n1  7     0.5000\n");
}

TEST(RenderTest, TermsThatDoNotAddUpAreCalledOut) {
  v1::ScoredItem item;
  item.set_score(0.5f);
  AddTerm(item, v1::Contribution::KIND_LONG_TERM, 0.4f);
  AddTerm(item, v1::Contribution::KIND_ITEM_BIAS, 0.0999f);
  EXPECT_EQ(SumText(item), "2 terms add up to 0.499900, NOT to the score 0.500000");
  item.mutable_explanation(1)->set_score(0.10001f);
  EXPECT_EQ(SumText(item), "2 terms add up to the score 0.5000");
}

TEST(RenderTest, EveryKindOfReasonHasWords) {
  v1::ScoredItem item;
  AddTerm(item, v1::Contribution::KIND_EVENT, 1, "purchase", "X");
  AddTerm(item, v1::Contribution::KIND_EVENT, 1, "wishlist", "X");
  AddTerm(item, v1::Contribution::KIND_CONTEXT, 1, "", "X");
  AddTerm(item, v1::Contribution::KIND_POPULARITY, 1);
  AddTerm(item, v1::Contribution::KIND_LONG_TERM, -1);
  EXPECT_EQ(ReasonText(item.explanation(0)), "because you bought X +1.0000");
  EXPECT_EQ(ReasonText(item.explanation(1)), "because you did \"wishlist\" with X +1.0000");
  EXPECT_EQ(ReasonText(item.explanation(2)), "because you are looking at X +1.0000");
  EXPECT_EQ(ReasonText(item.explanation(3)), "because it is popular with everyone +1.0000");
  EXPECT_EQ(ReasonText(item.explanation(4)), "although your long-term taste is another -1.0000");
}

}  // namespace
}  // namespace swiftlet::cli

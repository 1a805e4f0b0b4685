#include "server/response_builder.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "swiftlet/v1/recommendation.pb.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

v1::Contribution::Kind ToProto(ContributionKind kind) {
  switch (kind) {
    case ContributionKind::kEvent:
      return v1::Contribution::KIND_EVENT;
    case ContributionKind::kLongTerm:
      return v1::Contribution::KIND_LONG_TERM;
    case ContributionKind::kContext:
      return v1::Contribution::KIND_CONTEXT;
    case ContributionKind::kItemBias:
      return v1::Contribution::KIND_ITEM_BIAS;
    case ContributionKind::kPopularity:
      return v1::Contribution::KIND_POPULARITY;
    case ContributionKind::kHistory:
      return v1::Contribution::KIND_HISTORY;
  }
  return v1::Contribution::KIND_UNSPECIFIED;
}

class ResponseBuilderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string directory = dir_.File("model");
    snapshot_ = testing::WriteAndLoad(directory, testing::RandomSnapshot({.num_items = 200, .dim = 8}));
    // Some items without anything, some with a title or categories only, some with long ones.
    view_ = CatalogView::Build(*snapshot_, {});
    std::vector<CatalogItem> changes;
    for (int i = 0; i < 200; i += 2) {
      CatalogItem item{.item_id = absl::StrCat("item-", i)};
      item.has_metadata = true;
      if (i % 4 == 0) item.title = std::string(static_cast<size_t>(i) * 5, 't');
      if (i % 3 == 0) item.categories = {"cat-1", std::string(128, 'c'), "cat-2"};
      changes.push_back(item);
    }
    view_ = view_->With(changes);
    for (int i = 0; i < 20; ++i) {
      history_.push_back({.item_key = ItemKeyOf(absl::StrCat("item-", i * 7)),
                          .timestamp_ms = i == 0 ? 0 : int64_t{1'700'000'000'000} + i,
                          .value = 1,
                          .type = 1});
    }
  }
  void Run(bool explain, bool with_history, bool with_context, bool with_long_term) {
    RecommendQuery query;
    query.k = 50;
    query.explain = explain;
    const std::vector<ItemKey> context = {ItemKeyOf("item-3"), ItemKeyOf("item-4")};
    if (with_context) query.context_items = context;
    const std::vector<float> long_term(with_long_term ? 8 : 0, .25f);
    UserState user;
    if (with_history) user.history = history_;
    user.long_term = long_term;
    ASSERT_TRUE(Recommend(*snapshot_, *view_, query, user, scratch_, &result_).ok());
    ASSERT_EQ(result_.items.size(), 50u);
  }
  // What the answer says, field by field.
  v1::RecommendResponse Expected(const ItemFormat& format) const {
    v1::RecommendResponse response;
    for (const RecommendedItem& item : result_.items) {
      v1::ScoredItem* to = response.add_items();
      to->set_item_id(std::string(view_->ItemId(item.row)));
      to->set_score(item.score);
      if (format.include_source) {
        switch (result_.source) {
          case ItemSource::kHistory:
            to->set_source(v1::SOURCE_HISTORY);
            break;
          case ItemSource::kLongTerm:
            to->set_source(v1::SOURCE_LONG_TERM);
            break;
          case ItemSource::kContext:
            to->set_source(v1::SOURCE_CONTEXT);
            break;
          case ItemSource::kPopular:
            to->set_source(v1::SOURCE_POPULAR);
            break;
        }
      }
      if (format.include_metadata) {
        if (const auto title = view_->Title(item.row); !title.empty()) {
          to->mutable_metadata()->set_title(std::string(title));
        }
        for (const uint32_t category : view_->CategoriesOf(item.row)) {
          to->mutable_metadata()->add_categories(std::string(view_->CategoryName(category)));
        }
      }
      if (!format.explain) continue;
      for (const Contribution& term : result_.ExplanationOf(item)) {
        v1::Contribution* out = to->add_explanation();
        out->set_kind(ToProto(term.kind));
        out->set_weight(term.weight);
        out->set_score(term.score);
        if (term.kind == ContributionKind::kEvent) {
          out->set_event_timestamp_ms(history_[term.history_index].timestamp_ms);
          out->set_event_type(types_.FindById(history_[term.history_index].type)->name);
        }
        if (term.kind != ContributionKind::kEvent && term.kind != ContributionKind::kContext) continue;
        out->set_item_id(std::string(view_->ItemId(term.row)));
        if (format.include_metadata) out->set_item_title(std::string(view_->Title(term.row)));
      }
    }
    return response;
  }

  testing::TempDir dir_;
  const EventTypeTable types_ = EventTypeTable::Default();
  std::shared_ptr<const ModelSnapshot> snapshot_;
  std::shared_ptr<const CatalogView> view_;
  std::vector<HistoryEvent> history_;
  Scratch scratch_;
  Recommendation result_;
};

TEST_F(ResponseBuilderTest, WritesTheBytesOfTheMessage) {
  WireWriter writer;
  std::set<ItemSource> sources;
  std::set<ContributionKind> kinds;
  for (int mask = 0; mask < 64; ++mask) {
    const ItemFormat format{
        .explain = (mask & 1) != 0, .include_metadata = (mask & 2) != 0, .include_source = (mask & 4) != 0};
    Run(format.explain, (mask & 8) != 0, (mask & 16) != 0, (mask & 32) != 0);
    sources.insert(result_.source);
    for (const Contribution& term : result_.contributions) kinds.insert(term.kind);
    writer.Clear();
    AddItems(*view_, types_, result_, history_, format, v1::RecommendResponse::kItemsFieldNumber, &writer);
    const v1::RecommendResponse expected = Expected(format);
    EXPECT_TRUE(writer.bytes() == expected.SerializeAsString()) << mask;
    v1::RecommendResponse parsed;
    ASSERT_TRUE(parsed.ParseFromArray(writer.bytes().data(), static_cast<int>(writer.size())));
    EXPECT_EQ(parsed.DebugString(), expected.DebugString()) << mask;
  }
  EXPECT_EQ(sources.size(), 4u) << "all that there are";
  EXPECT_EQ(kinds.size(), 5u) << "all that there are";
}

TEST_F(ResponseBuilderTest, NothingIsWrittenForNoItem) {
  WireWriter writer;
  AddItems(*view_, types_, {}, {}, {}, v1::RecommendResponse::kItemsFieldNumber, &writer);
  EXPECT_EQ(writer.bytes(), "");
}

// The three answers have their items in a field of the same meaning, which need not have the same number.
TEST_F(ResponseBuilderTest, ItemsGoToTheFieldThatIsNamed) {
  Run(false, true, false, false);
  WireWriter writer;
  AddItems(*view_, types_, result_, history_, {}, 9, &writer);
  EXPECT_EQ(writer.bytes()[0], 9 << 3 | 2);
}

TEST(NewRequestIdTest, Differs) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const auto id = NewRequestId();
    ids.emplace(id.data(), id.size());
    for (const char c : id) EXPECT_TRUE(absl::ascii_isxdigit(static_cast<unsigned char>(c))) << c;
  }
  EXPECT_EQ(ids.size(), 1000u);
}

}  // namespace
}  // namespace swiftlet

#include "client/cli/render.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

// What a user did, in words.
std::string Deed(const std::string& event_type) {
  static const std::pair<const char*, const char*> kDeeds[] = {
      {"view", "viewed"},  {"click", "clicked"},   {"like", "liked"},  {"cart", "put in the cart"},
      {"rating", "rated"}, {"purchase", "bought"}, {"play", "played"}, {"dislike", "disliked"},
      {"skip", "skipped"}, {"share", "shared"},    {"save", "saved"},  {"search", "searched for"}};
  for (const auto& [type, deed] : kDeeds) {
    if (event_type == type) return deed;
  }
  return event_type.empty() ? "had to do with" : absl::StrCat("did \"", event_type, "\" with");
}

std::string Signed(double score) { return absl::StrFormat("%+.4f", score); }

}  // namespace

std::string SourceText(v1::Source source) {
  switch (source) {
    case v1::SOURCE_HISTORY:
      return "recent events";
    case v1::SOURCE_LONG_TERM:
      return "long-term taste";
    case v1::SOURCE_CONTEXT:
      return "context";
    case v1::SOURCE_POPULAR:
      return "popular with everyone";
    default:
      return "-";
  }
}

std::string ReasonText(const v1::Contribution& term) {
  const std::string& item = term.item_title().empty() ? term.item_id() : term.item_title();
  std::string reason;
  switch (term.kind()) {
    case v1::Contribution::KIND_EVENT:
      reason = absl::StrCat(term.score() < 0 ? "although you " : "because you ", Deed(term.event_type()), " ",
                            item);
      break;
    case v1::Contribution::KIND_LONG_TERM:
      reason =
          term.score() < 0 ? "although your long-term taste is another" : "because of your long-term taste";
      break;
    case v1::Contribution::KIND_CONTEXT:
      reason = absl::StrCat(term.score() < 0 ? "although" : "because", " you are looking at ", item);
      break;
    case v1::Contribution::KIND_ITEM_BIAS:
      reason = "for everyone, by the item's own bias";
      break;
    case v1::Contribution::KIND_POPULARITY:
      reason = "because it is popular with everyone";
      break;
    case v1::Contribution::KIND_HISTORY:
      reason = term.score() < 0 ? "although your history as a whole speaks against it"
                                : "because of your history as a whole";
      break;
    default:
      reason = "for a reason that this client does not know";
  }
  return absl::StrCat(reason, " ", Signed(term.score()));
}

std::string SumText(const v1::ScoredItem& item) {
  double sum = 0;
  double largest = 0;
  for (const v1::Contribution& term : item.explanation()) {
    sum += term.score();
    largest = std::max(largest, std::fabs(static_cast<double>(term.score())));
  }
  const bool adds_up = std::fabs(sum - item.score()) <= 1e-4 * largest + 1e-9;
  const std::string terms = Count(item.explanation_size(), "term");
  if (adds_up) {
    return absl::StrFormat("%s add%s up to the score %.4f", terms, item.explanation_size() == 1 ? "s" : "",
                           item.score());
  }
  return absl::StrFormat("%s add up to %.6f, NOT to the score %.6f", terms, sum, item.score());
}

void PrintItems(const google::protobuf::RepeatedPtrField<v1::ScoredItem>& items, const RenderOptions& options,
                std::ostream& out) {
  const bool any_metadata = std::any_of(items.begin(), items.end(), [](const v1::ScoredItem& item) {
    return !item.metadata().title().empty() || item.metadata().categories_size() > 0;
  });
  std::vector<Table::Column> columns = {{"#", Table::Align::kRight}, {"Item"}};
  if (any_metadata) {
    columns.push_back({"Title", Table::Align::kLeft, 44});
    columns.push_back({"Categories", Table::Align::kLeft, 32});
  }
  columns.push_back({options.score_header, Table::Align::kRight});
  if (options.show_source) columns.push_back({"From"});
  Table table(std::move(columns));
  int rank = 0;
  for (const v1::ScoredItem& item : items) {
    std::vector<std::string> cells = {absl::StrCat(++rank), item.item_id()};
    if (any_metadata) {
      cells.push_back(item.metadata().title());
      cells.push_back(absl::StrJoin(item.metadata().categories(), ", "));
    }
    cells.push_back(absl::StrFormat("%.4f", item.score()));
    if (options.show_source) cells.push_back(SourceText(item.source()));
    table.AddRow(std::move(cells));
    if (item.explanation_size() == 0) continue;

    std::vector<const v1::Contribution*> terms;
    for (const v1::Contribution& term : item.explanation()) terms.push_back(&term);
    std::stable_sort(terms.begin(), terms.end(), [](const v1::Contribution* a, const v1::Contribution* b) {
      return std::fabs(a->score()) > std::fabs(b->score());
    });
    const size_t shown = std::min(terms.size(), static_cast<size_t>(std::max(options.max_reasons, 0)));
    for (size_t i = 0; i < shown; ++i) table.AddNote(ReasonText(*terms[i]));
    double others = 0;
    for (size_t i = shown; i < terms.size(); ++i) others += terms[i]->score();
    if (shown < terms.size()) {
      table.AddNote(absl::StrCat("and ", Count(terms.size() - shown, "smaller term"), " ", Signed(others)));
    }
    table.AddNote(SumText(item));
  }
  table.Print(out, options.bold_header);
}

void PrintRatings(const google::protobuf::RepeatedPtrField<v1::PredictedRating>& ratings, bool bold_header,
                  std::ostream& out) {
  const bool any_title = std::any_of(ratings.begin(), ratings.end(), [](const v1::PredictedRating& r) {
    return !r.metadata().title().empty();
  });
  std::vector<Table::Column> columns = {{"Item"}};
  if (any_title) columns.push_back({"Title", Table::Align::kLeft, 44});
  columns.push_back({"Rating", Table::Align::kRight});
  columns.push_back({""});
  Table table(std::move(columns));
  for (const v1::PredictedRating& r : ratings) {
    std::vector<std::string> cells = {r.item_id()};
    if (any_title) cells.push_back(r.metadata().title());
    cells.push_back(absl::StrFormat("%.2f", r.rating()));
    cells.push_back(r.unknown_item() ? "? nobody has rated it" : "");
    table.AddRow(std::move(cells));
  }
  table.Print(out, bold_header);
}

}  // namespace swiftlet::cli

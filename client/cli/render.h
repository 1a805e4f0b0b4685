// Answers of the server as text for people.
#ifndef SWIFTLET_CLIENT_CLI_RENDER_H_
#define SWIFTLET_CLIENT_CLI_RENDER_H_

#include <ostream>
#include <string>

#include "google/protobuf/repeated_field.h"
#include "swiftlet/v1/recommendation.pb.h"

namespace swiftlet::cli {

struct RenderOptions {
  // Reasons under each item that has an explanation, those that weigh most first; the others are summed up.
  int max_reasons = 3;
  // A column that says where each item comes from.
  bool show_source = true;
  std::string score_header = "Score";
  bool bold_header = false;
};

// A table of items, with the reasons under each item that has any and a check that the terms add up to the
// score.
void PrintItems(const google::protobuf::RepeatedPtrField<v1::ScoredItem>& items, const RenderOptions& options,
                std::ostream& out);

// A table of predicted ratings; "?" marks those of items that nobody has rated.
void PrintRatings(const google::protobuf::RepeatedPtrField<v1::PredictedRating>& ratings, bool bold_header,
                  std::ostream& out);

// "recent events", "long-term taste", "context", "popular with everyone".
std::string SourceText(v1::Source source);

// "because you rated Toy Story (1995) +0.3100".
std::string ReasonText(const v1::Contribution& term);

// "15 terms add up to the score" or, when they are further apart than the API allows, "15 terms add up to
// 0.9000, not to the score".
std::string SumText(const v1::ScoredItem& item);

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_RENDER_H_

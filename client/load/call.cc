#include "client/load/call.h"

#include <array>

namespace swiftlet::load {

std::string_view KindName(Kind kind) {
  static constexpr std::array<std::string_view, kNumKinds> kNames = {
      "recommend", "cold",        "anonymous",       "similar", "events",
      "upsert",    "fresh-event", "fresh-recommend", "null"};
  return kNames[static_cast<size_t>(kind)];
}

const char* MethodOf(Kind kind) {
  switch (kind) {
    case Kind::kSimilar:
      return "/swiftlet.v1.RecommendationService/SimilarItems";
    case Kind::kEvents:
    case Kind::kFreshEvent:
      return "/swiftlet.v1.EventService/RecordEvents";
    case Kind::kUpsert:
      return "/swiftlet.v1.CatalogService/UpsertItems";
    case Kind::kRecommend:
    case Kind::kCold:
    case Kind::kAnonymous:
    case Kind::kFreshRecommend:
    case Kind::kNull:
      break;
  }
  return "/swiftlet.v1.RecommendationService/Recommend";
}

}  // namespace swiftlet::load

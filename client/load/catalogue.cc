#include "client/load/catalogue.h"

#include <algorithm>
#include <fstream>
#include <unordered_set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace swiftlet::load {
namespace {

constexpr int kMaxCalls = 2000;

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadItemIds(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::vector<std::string> ids;
  for (std::string line; std::getline(file, line);) {
    line = std::string(absl::StripAsciiWhitespace(line));
    if (!line.empty()) ids.push_back(line);
  }
  if (ids.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no item ids"));
  return ids;
}

std::vector<std::string> NumberedItems(const std::string& prefix, int64_t n) {
  std::vector<std::string> ids;
  ids.reserve(n);
  for (int64_t i = 0; i < n; ++i) ids.push_back(absl::StrCat(prefix, i));
  return ids;
}

absl::StatusOr<std::vector<std::string>> DiscoverItems(Client& client, size_t most) {
  std::vector<std::string> ids;
  std::unordered_set<std::string> known;
  const auto add = [&](const auto& items) {
    for (const v1::ScoredItem& item : items) {
      if (ids.size() < most && known.insert(item.item_id()).second) ids.push_back(item.item_id());
    }
  };
  v1::RecommendRequest popular;
  popular.set_user_id("load-nobody");
  int k = 1000;
  for (;; k /= 10) {
    popular.set_k(k);
    const absl::StatusOr<v1::RecommendResponse> answer = client.Recommend(popular);
    if (answer.ok()) {
      add(answer->items());
      break;
    }
    // The server's limit of k may be lower.
    if (!absl::IsInvalidArgument(answer.status()) || k == 1) return answer.status();
  }
  if (ids.empty()) return absl::NotFoundError("the server has no item that it could recommend");
  for (size_t next = 0; next < ids.size() && ids.size() < most && next < static_cast<size_t>(kMaxCalls);
       ++next) {
    v1::SimilarItemsRequest similar;
    similar.set_item_id(ids[next]);
    similar.set_k(k);
    const absl::StatusOr<v1::SimilarItemsResponse> answer = client.SimilarItems(similar);
    if (answer.ok()) {
      add(answer->items());
    } else if (!absl::IsNotFound(answer.status())) {  // an item without a vector has none that are similar
      return answer.status();
    }
  }
  return ids;
}

absl::Status CheckItems(Client& client, const std::vector<std::string>& item_ids) {
  constexpr size_t kSample = 100;
  v1::GetItemsRequest request;
  const size_t step = std::max<size_t>(1, item_ids.size() / kSample);
  for (size_t i = 0; i < item_ids.size(); i += step) request.add_item_ids(item_ids[i]);
  SWIFTLET_ASSIGN_OR_RETURN(const v1::GetItemsResponse answer, client.GetItems(request));
  if (answer.unknown_item_ids_size() == 0) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("the server does not know the item \"", answer.unknown_item_ids(0),
                                          "\" (", answer.unknown_item_ids_size(), " of a sample of ",
                                          request.item_ids_size(), ")"));
}

}  // namespace swiftlet::load

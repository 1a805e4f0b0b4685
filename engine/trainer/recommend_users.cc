#include "engine/trainer/recommend_users.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/matrix.h"

namespace swiftlet {
namespace {

constexpr size_t kUsersPerPiece = 16;
constexpr size_t kUsersPerWrite = 4096;  // bounds the text in memory

absl::Status CheckField(std::string_view id) {
  if (id.find_first_of("\t\r\n") == std::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("id \"", std::string(id), "\" holds a tab or line break, which separate fields here"));
}

}  // namespace

absl::Status RecommendUsers(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                            const Dataset& data, std::span<const CatalogItem> catalog,
                            const RecommendUsersOptions& options, ThreadPool* pool,
                            const std::function<absl::Status(const std::string& lines)>& write) {
  if (options.k == 0) return absl::InvalidArgumentError("k is 0, expected at least 1");
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(snapshot, catalog);
  std::vector<ItemKey> keys;
  keys.reserve(data.num_items());
  for (const std::string& id : data.item_ids) keys.push_back(ItemKeyOf(id));

  struct Worker {
    Scratch scratch;
    Recommendation recommendation;
    std::vector<HistoryEvent> history;
  };
  std::vector<Worker> workers(pool == nullptr ? 1 : pool->num_threads() + 1);
  const auto append_user = [&](size_t u, Worker& worker, std::string* lines) -> absl::Status {
    SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
    SWIFTLET_RETURN_IF_ERROR(CheckField(data.user_ids[u]));
    std::span<const TrainingEvent> events = data.EventsOf(u);
    if (options.max_history > 0 && events.size() > options.max_history) {
      events = events.last(options.max_history);
    }
    worker.history.clear();
    for (const TrainingEvent& e : events) {
      worker.history.push_back({keys[e.item], e.timestamp_ms, e.value, e.type});
    }
    UserState user{.history = worker.history};
    if (const auto it = user_vectors.find(data.user_ids[u]); it != user_vectors.end()) {
      user.long_term = it->second;
    }
    RecommendQuery query;
    query.k = options.k;
    SWIFTLET_RETURN_IF_ERROR(Recommend(snapshot, *view, query, user, worker.scratch, &worker.recommendation));
    for (size_t rank = 0; rank < worker.recommendation.items.size(); ++rank) {
      const RecommendedItem& item = worker.recommendation.items[rank];
      const std::string_view id = view->ItemId(item.row);
      SWIFTLET_RETURN_IF_ERROR(CheckField(id));
      absl::StrAppendFormat(lines, "%s\t%d\t%s\t%.9g\n", data.user_ids[u], rank + 1, std::string(id),
                            item.score);
    }
    return absl::OkStatus();
  };

  struct Piece {
    std::string lines;
    absl::Status status;
  };
  for (size_t first = 0; first < data.num_users(); first += kUsersPerWrite) {
    const size_t count = std::min(kUsersPerWrite, data.num_users() - first);
    std::vector<Piece> pieces((count + kUsersPerPiece - 1) / kUsersPerPiece);
    ForPieces(pool, count, kUsersPerPiece, [&](size_t begin, size_t end, size_t w) {
      Piece& piece = pieces[begin / kUsersPerPiece];
      for (size_t u = begin; u < end && piece.status.ok(); ++u) {
        piece.status = append_user(first + u, workers[w], &piece.lines);
      }
    });
    for (const Piece& piece : pieces) {
      SWIFTLET_RETURN_IF_ERROR(piece.status);
      SWIFTLET_RETURN_IF_ERROR(write(piece.lines));
    }
  }
  return absl::OkStatus();
}

}  // namespace swiftlet

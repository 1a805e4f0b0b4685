// The same answers as a server's, offline: the first k items of every user, from the engine that serves.
#ifndef SWIFTLET_ENGINE_TRAINER_RECOMMEND_USERS_H_
#define SWIFTLET_ENGINE_TRAINER_RECOMMEND_USERS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "engine/base/thread_pool.h"
#include "engine/catalog_item.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/evaluate.h"

namespace swiftlet {

struct RecommendUsersOptions {
  uint32_t k = 10;             // >= 1
  uint32_t max_history = 200;  // newest events of a user, as a server's limits.max_history_events; 0: all
};

// For every user of `data`, in byte order of the id, calls write() with lines
//
//   user <tab> rank, from 1 <tab> item <tab> score, 9 significant digits <newline>
//
// of the k best items that are not among the user's newest max_history events, which with the user's vector
// of `user_vectors` are what the engine is given. catalog: what the item store holds; see CatalogView::Build.
// INVALID_ARGUMENT for k == 0 and for an id with a tab or line break; CANCELLED when interrupted; write's own
// errors.
absl::Status RecommendUsers(const ModelSnapshot& snapshot, const UserVectors& user_vectors,
                            const Dataset& data, std::span<const CatalogItem> catalog,
                            const RecommendUsersOptions& options, ThreadPool* pool,
                            const std::function<absl::Status(const std::string& lines)>& write);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RECOMMEND_USERS_H_

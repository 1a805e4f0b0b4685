// Users to choose values by, as rows of items: what TestUser is to the engine, for the many fits of a search.
#ifndef SWIFTLET_ENGINE_TRAINER_RANKING_USERS_H_
#define SWIFTLET_ENGINE_TRAINER_RANKING_USERS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/base/thread_pool.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/split.h"

namespace swiftlet {

// A user to validate on.
struct RankingUser {
  std::vector<uint32_t> items;        // different, newest first
  std::vector<uint32_t> positions;    // of their events
  std::vector<float> signs, weights;  // of the event's class; |weight| of its type
  std::vector<uint32_t> targets;
};
// At most `most` of the users, evenly; items that `data` does not have are left out.
std::vector<RankingUser> MakeRankingUsers(const Dataset& data, std::span<const EventClass> classes,
                                          std::span<const TestUser> users, size_t most);

// Mean NDCG@10 of ranking all items but the history's by <user vector, item>: what the engine would find.
// items: [num_items, dim]. vectors_of(begin, count): those of users [begin, begin + count), [count, dim].
double RankingNdcg(const MatrixF& items, const std::function<MatrixF(size_t begin, size_t count)>& vectors_of,
                   std::span<const RankingUser> users, ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_RANKING_USERS_H_

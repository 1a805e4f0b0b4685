// User-kNN: the users of training as sets of items, and of every item the users that had it, for
// engine/retrieval/neighbour_users.h.
//
// No user's id goes into a snapshot, but what one user had is a set of it that others' answers are made of:
// the set of a user who was erased since is in there until the next training, which does not see it.
#ifndef SWIFTLET_ENGINE_TRAINER_USER_KNN_H_
#define SWIFTLET_ENGINE_TRAINER_USER_KNN_H_

#include <cstdint>
#include <span>

#include "engine/trainer/als.h"
#include "engine/trainer/neighbour_fit.h"

namespace swiftlet {

struct UserKnnOptions {
  uint32_t nearest = 100;
  float shrinkage = 0;            // added to |x|^1/2 |S_v|^1/2
  float item_exponent = 0.5f;     // an item of n users counts n^-item_exponent
  uint32_t row_length = 3200;     // most users of an item
  uint32_t items_of_user = 1000;  // most items of a user: those that came to it last
};

// Bytes that a fit takes, its result included.
double UserKnnBytes(const SparseRows& by_user, const UserKnnOptions& options);

// Users of fewer than two items are left out: they have nothing to say about others. The rest are numbered
// from the one of the newest event on (then as in by_user), and a row keeps the first row_length of them, as
// nearest-neighbour recommenders of sessions keep the newest (Jannach and Ludewig, RecSys 2017): the same
// users everywhere, so that what two of them have in common stays whole.
// by_user: each item once in a row, in the order in which the user came to it; weights are not looked at.
// newest_ms: [by_user.num_rows()], of the user's newest event.
FittedNeighbours FitUserKnn(const SparseRows& by_user, size_t num_items, std::span<const int64_t> newest_ms,
                            const UserKnnOptions& options);

// Leaves out the users that no row has, such as after Truncate, and numbers the others anew in their order.
void DropUnusedUsers(FittedNeighbours* fitted);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_USER_KNN_H_

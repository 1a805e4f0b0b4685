// A user-user model: the users of training as the sets S_v of the items that they had, and the search for
// those nearest to a history (Resnick et al., "GroupLens", CSCW 1994; Herlocker et al., "An Algorithmic
// Framework for Performing Collaborative Filtering", SIGIR 1999, with a cut and shrinkage; for sets of items
// Verstrepen and Goethals, "Unifying Nearest Neighbors Collaborative Filtering", RecSys 2014). With the
// factors f_j of the different items j of a history x as in neighbour_rows.h, and of NeighbourRows the users
// v of an item j, with weights A[j, v],
//
//   dot_v = sum_j f_j A[j, v]      similarity_v = dot_v / (|x|^1/2 |S_v|^1/2 + shrinkage)
//   s_i = scale * sum of similarity_v over the `nearest` users of the largest similarity > 0 that had i
//
// A request costs the entries of the history's rows, then the items of the nearest users. Users' ids are not
// part of the model: a user is an index and a set of items.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_USERS_H_
#define SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_USERS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/top_k.h"
#include "engine/retrieval/neighbour_rows.h"

namespace swiftlet {

// Borrowed and immutable. S_v: items[offsets[v] .. offsets[v + 1]), ascending.
struct NeighbourUsers {
  std::span<const uint64_t> offsets;  // [num_users + 1]
  std::span<const uint32_t> items;    // each below num_items
  uint32_t nearest = 1;               // >= 1
  float shrinkage = 0;                // finite, >= 0
  float scale = 1;                    // finite

  uint32_t num_users() const { return static_cast<uint32_t>(offsets.size() - 1); }
  std::span<const uint32_t> ItemsOf(uint32_t user) const {
    return items.subspan(offsets[user], offsets[user + 1] - offsets[user]);
  }
};

struct NearestUser {
  uint32_t user = 0;
  float similarity = 0;  // > 0
  float inverse = 0;     // 1 / (|x|^1/2 |S_v|^1/2 + shrinkage): similarity = dot_v * inverse
};

// The search of one history:
//
//   search.Reset(users);
//   for (each different item of the history) search.Add(rows, item, factor);
//   search.Find(users);
//   search.AddVotes(users, users.scale, sums);
//
// One per thread; may be used with any model. Allocates nothing once it has grown to the number of users.
class NearestUserSearch {
 public:
  void Reset(const NeighbourUsers& users);
  // An item of the history; each once. rows: of every item the users that had it, with weights A.
  void Add(const NeighbourRows& rows, uint32_t item, float factor);
  void Find(const NeighbourUsers& users);
  // What Find has found, best first; of equals the user of the smaller index.
  std::span<const NearestUser> nearest() const { return nearest_; }
  // sums_i += scale * similarity_v for every user v of nearest() that had i.
  void AddVotes(const NeighbourUsers& users, float scale, NeighbourSums& sums) const;

 private:
  NeighbourSums dots_;
  size_t num_items_ = 0;  // |x|
  std::vector<ScoredRow> best_;
  std::vector<NearestUser> nearest_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_NEIGHBOUR_USERS_H_

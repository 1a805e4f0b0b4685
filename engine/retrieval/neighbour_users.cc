#include "engine/retrieval/neighbour_users.h"

#include <algorithm>
#include <cmath>

namespace swiftlet {
namespace {

float Inverse(const NeighbourUsers& users, float root_of_history, uint32_t user) {
  const auto size = static_cast<float>(users.ItemsOf(user).size());
  return size == 0 ? 0.0f : 1 / (root_of_history * std::sqrt(size) + users.shrinkage);
}

}  // namespace

void NearestUserSearch::Reset(const NeighbourUsers& users) {
  dots_.Reset(users.num_users());
  num_items_ = 0;
  nearest_.clear();
}

void NearestUserSearch::Add(const NeighbourRows& rows, uint32_t item, float factor) {
  dots_.Add(rows, item, factor);
  ++num_items_;
}

void NearestUserSearch::Find(const NeighbourUsers& users) {
  const size_t most = std::min<size_t>(users.nearest, users.num_users()), limit = 2 * most + 64;
  const float root = std::sqrt(static_cast<float>(num_items_));
  best_.clear();
  best_.reserve(limit + 1);
  nearest_.reserve(most);
  float threshold = 0;
  for (const uint32_t user : dots_.rows()) {
    const float dot = dots_.At(user);
    if (!(dot > 0)) continue;
    const float similarity = dot * Inverse(users, root, user);
    if (!(similarity > 0 && similarity >= threshold)) continue;
    best_.push_back({user, similarity});
    if (best_.size() <= limit) continue;
    best_.resize(PartitionTopK(best_.data(), best_.size(), most));
    threshold = best_.back().score;
  }
  best_.resize(SelectTopK(best_.data(), best_.size(), most));
  for (const ScoredRow& best : best_) {
    nearest_.push_back({best.row, best.score, Inverse(users, root, best.row)});
  }
}

void NearestUserSearch::AddVotes(const NeighbourUsers& users, float scale, NeighbourSums& sums) const {
  for (const NearestUser& near : nearest_) {
    sums.AddToEach(users.ItemsOf(near.user), scale * near.similarity);
  }
}

}  // namespace swiftlet

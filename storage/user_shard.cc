#include "storage/user_shard.h"

#include <algorithm>
#include <utility>

namespace swiftlet {
namespace {

constexpr uint8_t kMaxUses = 3;
constexpr uint8_t kUsesForMain = 2;
// Rounds of the main queue in one eviction: after so many its oldest user leaves, whoever asked for it, so
// that nobody waits long for the shard.
constexpr int kMaxRounds = 64;

size_t BytesOf(const PackedUser* user) {
  return user->bytes() + (user->links.next == nullptr ? 0 : user->links.next->bytes());
}

}  // namespace

void UserShard::Queue::Push(PackedUser* user) {
  user->links.newer = nullptr;
  user->links.older = newest;
  (newest != nullptr ? newest->links.newer : oldest) = user;
  newest = user;
  bytes += BytesOf(user);
  ++num_users;
}

void UserShard::Queue::Unlink(PackedUser* user) {
  const PackedUser::Links& links = user->links;
  (links.newer != nullptr ? links.newer->links.older : newest) = links.older;
  (links.older != nullptr ? links.older->links.newer : oldest) = links.newer;
  bytes -= BytesOf(user);
  --num_users;
}

void UserShard::Queue::Replace(PackedUser* old, PackedUser* user) {
  user->links = old->links;
  const PackedUser::Links& links = user->links;
  (links.newer != nullptr ? links.newer->links.older : newest) = user;
  (links.older != nullptr ? links.older->links.newer : oldest) = user;
  bytes += BytesOf(user) - BytesOf(old);
}

UserShard::~UserShard() {
  for (PackedUser* user : users_) {
    delete user->links.next;
    PackedUser::Free()(user);
  }
}

PackedUser* UserShard::Find(const UserKey& key) const {
  const auto it = users_.find(key);
  return it == users_.end() ? nullptr : *it;
}

void UserShard::CountUse(PackedUser* user) {
  if (user->links.uses < kMaxUses) ++user->links.uses;
}

void UserShard::Put(PackedUser::Ptr owned, uint64_t last_arrival) {
  PackedUser* const user = owned.release();
  if (const auto it = users_.find(user->key()); it != users_.end()) {
    PackedUser* const old = *it;
    QueueOf(old).Replace(old, user);
    const_cast<PackedUser*&>(*it) = user;  // equal, with an equal hash
    PackedUser::Free()(old);
    if (user->links.next != nullptr && user->links.next->vectors == user->vectors()) DropNext(user);
  } else {
    user->links.in_main = ghosts_.Remove(user->key().hash);
    users_.insert(user);
    QueueOf(user).Push(user);
  }
  user->links.last_arrival = std::max(user->links.last_arrival, last_arrival);
  MakeRoom();
}

void UserShard::Remove(PackedUser* user) {
  if (user == nullptr) return;
  QueueOf(user).Unlink(user);
  Free(user);
}

bool UserShard::SetNext(PackedUser* user, NextVector next) {
  DropNext(user);
  if (bytes() + next.bytes() > capacity_bytes_) return false;
  user->links.next = new NextVector(std::move(next));
  QueueOf(user).bytes += user->links.next->bytes();
  return true;
}

void UserShard::DropNext(PackedUser* user) {
  if (user->links.next == nullptr) return;
  QueueOf(user).bytes -= user->links.next->bytes();
  delete user->links.next;
  user->links.next = nullptr;
}

std::vector<std::string> UserShard::HotUsers(size_t max_users) const {
  std::vector<std::string> ids;
  for (const Queue* queue : {&main_, &small_}) {
    for (const PackedUser* user = queue->newest; user != nullptr; user = user->links.older) {
      if (ids.size() == max_users) return ids;
      if (user->links.uses > 0) ids.emplace_back(user->key().id);
    }
  }
  return ids;
}

void UserShard::Free(PackedUser* user) {
  users_.erase(user);
  delete user->links.next;
  PackedUser::Free()(user);
  if (users_.empty()) users_ = {};
}

void UserShard::MakeRoom() {
  while (!users_.empty() && bytes() > capacity_bytes_) {
    if (small_.oldest != nullptr && (main_.oldest == nullptr || small_.bytes > capacity_bytes_ / 10)) {
      EvictFromSmall();
    } else {
      EvictFromMain();
    }
  }
}

void UserShard::EvictFromSmall() {
  PackedUser* const user = small_.oldest;
  small_.Unlink(user);
  if (user->links.uses >= kUsesForMain) {
    user->links.uses = 0;
    user->links.in_main = true;
    main_.Push(user);
    return;
  }
  ghosts_.Add(user->key().hash, users_.size() - 1);  // as many as stay
  ++num_evictions_;
  Free(user);
}

void UserShard::EvictFromMain() {
  for (int round = 0; round < kMaxRounds && main_.oldest->links.uses > 0; ++round) {
    PackedUser* const user = main_.oldest;
    main_.Unlink(user);
    --user->links.uses;
    main_.Push(user);
  }
  PackedUser* const user = main_.oldest;
  main_.Unlink(user);
  ++num_evictions_;
  Free(user);
}

size_t UserShard::bytes() const {
  return small_.bytes + main_.bytes + ghosts_.bytes() + users_.capacity() * (sizeof(PackedUser*) + 1);
}

}  // namespace swiftlet

#include "tests/integration/kill_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace swiftlet::testing {
namespace {

constexpr int kCommonUsers = 3;
constexpr int kOwnItems = 12;       // that no snapshot has
constexpr size_t kOldBatches = 64;  // kept for retries

// A call that writes. One of the requests is set.
struct WriteCall {
  std::optional<v1::RecordEventsRequest> record;
  int num_old = 0;  // the first events of `record`, which were acknowledged before
  std::optional<v1::UpsertItemsRequest> upsert;
  std::optional<v1::DeleteItemsRequest> delete_items;
  std::optional<v1::DeleteUserRequest> delete_user;
};

// What GetItems should say of an item.
struct ItemState {
  bool known = false, deleted = false, has_vector = false;
  std::string title;
  std::vector<float> vector = {};  // empty: the snapshot's, or none

  bool operator==(const ItemState&) const = default;
};
using Items = std::map<std::string, ItemState>;

Items ItemsAfter(Items items, const WriteCall& call) {
  if (call.upsert.has_value()) {
    for (const v1::Item& item : call.upsert->items()) {
      ItemState& state = items[item.item_id()];
      state.known = true;
      state.deleted = false;
      if (item.has_metadata()) state.title = item.metadata().title();
      if (item.vector_size() > 0) {
        state.vector.assign(item.vector().begin(), item.vector().end());
        state.has_vector = true;
      }
    }
  }
  if (call.delete_items.has_value()) {
    for (const std::string& id : call.delete_items->item_ids()) items[id].known = items[id].deleted = true;
  }
  return items;
}

// A difference between an answer of GetItems and the expected states; empty: none. Calls stub.
std::string ItemsDifference(ServerProcess& server, const Items& expected) {
  v1::GetItemsRequest request;
  for (const auto& [id, state] : expected) request.add_item_ids(id);
  request.set_include_vectors(true);
  v1::GetItemsResponse response;
  const grpc::Status status = server.GetItems(request, &response);
  if (!status.ok()) return absl::StrCat("GetItems: ", status.error_message());
  std::map<std::string, const v1::Item*> got;
  for (const v1::Item& item : response.items()) got[item.item_id()] = &item;
  for (const auto& [id, state] : expected) {
    const auto it = got.find(id);
    if (it == got.end()) {
      if (state.known) return absl::StrCat(id, " is unknown");
      continue;
    }
    const v1::Item& item = *it->second;
    if (!state.known) return absl::StrCat(id, " is known: ", item.ShortDebugString());
    const auto status_expected = state.deleted      ? v1::Item::STATUS_DELETED
                                 : state.has_vector ? v1::Item::STATUS_RECOMMENDABLE
                                                    : v1::Item::STATUS_NO_VECTOR;
    const std::vector<float> vector(item.vector().begin(), item.vector().end());
    if (item.status() != status_expected || (!state.deleted && item.metadata().title() != state.title) ||
        (!state.deleted && !state.vector.empty() && vector != state.vector)) {
      return absl::StrCat(item.ShortDebugString(), ", expected status ", int{status_expected}, ", title \"",
                          state.title, "\", a vector from ", state.vector.empty() ? 0 : state.vector[0]);
    }
  }
  return "";
}

template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  return (stub.*method)(&context, request, response);
}

v1::RecommendRequest EveryItem() {
  v1::RecommendRequest request;
  *request.mutable_history()->add_events() = MakeEvent("", "item-99", "like");
  request.set_k(1000);
  request.set_exclude_seen(false);
  return request;
}

}  // namespace

// One client and what it knows. The thread between Start and Join, then the test's own.
class KillLoad::Client {
 public:
  Client(KillLoad* load, int number, uint64_t seed)
      : load_(load), number_(number), prefix_(absl::StrCat("c", number, "-")), random_(seed) {
    for (int i = 0; i < kKillUsersPerClient; ++i) {
      users_[absl::StrCat("user-", number * kKillUsersPerClient + i)];
    }
    for (int i = 0; i < kOwnItems; ++i) items_[absl::StrCat(prefix_, "item-", i)];
    for (int i = 0; i < kKillSnapshotItemsPerClient; ++i) {
      const int item = number * kKillSnapshotItemsPerClient + i;
      items_[absl::StrCat("item-", item)] = {
          .known = true, .has_vector = true, .title = absl::StrCat("Title ", item)};
    }
  }

  void Run(const std::shared_ptr<grpc::Channel>& channel) {
    const auto events = v1::EventService::NewStub(channel);
    const auto catalog = v1::CatalogService::NewStub(channel);
    const auto users = v1::UserService::NewStub(channel);
    while (!::testing::Test::HasFailure()) {
      pending_ = RandomCall();
      v1::RecordEventsResponse recorded;
      grpc::Status status;
      if (pending_->record.has_value()) {
        status = Call(*events, &v1::EventService::Stub::RecordEvents, *pending_->record, &recorded);
      } else if (pending_->upsert.has_value()) {
        v1::UpsertItemsResponse response;
        status = Call(*catalog, &v1::CatalogService::Stub::UpsertItems, *pending_->upsert, &response);
      } else if (pending_->delete_items.has_value()) {
        v1::DeleteItemsResponse response;
        status = Call(*catalog, &v1::CatalogService::Stub::DeleteItems, *pending_->delete_items, &response);
      } else {
        v1::DeleteUserResponse response;
        status = Call(*users, &v1::UserService::Stub::DeleteUser, *pending_->delete_user, &response);
      }
      if (!status.ok()) {
        if (status.error_code() != grpc::StatusCode::UNAVAILABLE) {
          ADD_FAILURE() << "a write failed with code " << status.error_code() << ": "
                        << status.error_message();
        }
        return;
      }
      if (pending_->record.has_value()) ExpectCounts(recorded, /*stored_before=*/false);
      Apply(*pending_);
      pending_.reset();
      ++totals_.acknowledged;
      ++load_->acknowledged_;
      if (Chance(4) && !ReadOwnUser(*users)) return;
    }
  }

  // What became of the call that was cut off?
  void Settle(ServerProcess& server) {
    if (!pending_.has_value()) return;
    const WriteCall call = *std::exchange(pending_, std::nullopt);
    ++totals_.cut_off;
    bool stored = false;
    if (call.record.has_value()) {
      stored = SettleEvents(server, call);
    } else if (call.delete_user.has_value()) {
      const std::string& user = call.delete_user->user_id();
      stored = HistorySize(server, user) == 0;
      const History expected = stored ? History() : users_.at(user);
      EXPECT_EQ(Difference(server, user, expected, 0, false, false), "") << "an erasure in part";
      if (stored) Apply(call);
      if (!stored || Chance(2)) {
        v1::DeleteUserResponse response;
        const grpc::Status status = server.DeleteUser(*call.delete_user, &response);
        EXPECT_TRUE(status.ok()) << status.error_message();
        Apply(call);
      }
    } else {
      const std::string before = ItemsDifference(server, items_);
      const std::string after = ItemsDifference(server, ItemsAfter(items_, call));
      stored = after.empty();
      EXPECT_TRUE(before.empty() || after.empty())
          << "a change of items in part, or something else:\n  if not stored: " << before
          << "\n  if stored: " << after;
      if (stored) Apply(call);
    }
    if (stored) ++totals_.cut_off_stored;
  }

  void ExpectStored(ServerProcess& server) {
    for (const auto& [user, history] : users_) {
      EXPECT_EQ(Difference(server, user, history, 0, !erased_.contains(user), true), "");
    }
    EXPECT_EQ(ItemsDifference(server, items_), "");
  }

  const Items& items() const { return items_; }
  const std::map<std::string, std::vector<std::string>>& logged() const { return logged_; }
  const Totals& totals() const { return totals_; }

 private:
  uint32_t Random(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  bool Chance(uint32_t one_in) { return Random(one_in) == 0; }

  WriteCall RandomCall() {
    WriteCall call;
    const uint32_t kind = Random(100);
    if (kind < 55) {
      v1::RecordEventsRequest& batch = call.record.emplace();
      if (!old_batches_.empty() && Chance(4)) {  // a client that did not hear the answer
        batch = old_batches_[Random(static_cast<uint32_t>(old_batches_.size()))];
        call.num_old = batch.events_size();
      }
      if (call.num_old > 0 && Chance(2)) return call;
      const bool with_ids = !Chance(3);
      const uint32_t size = 1 + (Chance(8) ? Random(60) : Random(8));
      for (uint32_t i = 0; i < size; ++i) {
        const uint64_t n = num_events_++;
        v1::Event& event = *batch.add_events();
        event.set_user_id(Chance(4) ? absl::StrCat("common-", Random(kCommonUsers)) : RandomUser());
        event.set_item_id(absl::StrCat(prefix_, "e", n));
        event.set_type("click");
        event.set_timestamp_ms(++load_->clock_ms_);
        if (with_ids || Chance(2)) event.set_event_id(absl::StrCat(prefix_, "id", n));
      }
    } else if (kind < 80) {
      v1::UpsertItemsRequest& request = call.upsert.emplace();
      for (const std::string& id : RandomItems(1 + Random(6))) {
        v1::Item& item = *request.add_items();
        item.set_item_id(id);
        const bool vector = Chance(2);
        if (!vector || Chance(2)) {
          item.mutable_metadata()->set_title(absl::StrCat("title ", prefix_, ++num_titles_));
        }
        for (uint32_t d = 0; vector && d < kKillDim; ++d) {
          item.add_vector(static_cast<float>(static_cast<int>(Random(2000)) - 1000) * 1e-3f);
        }
      }
    } else if (kind < 92) {
      v1::DeleteItemsRequest& request = call.delete_items.emplace();
      for (const std::string& id : RandomItems(1 + Random(3))) request.add_item_ids(id);
    } else {
      std::string user = RandomUser();
      for (int i = 0; i < 4 && users_.at(user).empty(); ++i) user = RandomUser();
      // One without events would leave open whether it was erased.
      if (users_.at(user).empty()) return RandomCall();
      call.delete_user.emplace().set_user_id(user);
    }
    return call;
  }

  std::string RandomUser() {
    return absl::StrCat("user-",
                        number_ * kKillUsersPerClient + static_cast<int>(Random(kKillUsersPerClient)));
  }
  std::vector<std::string> RandomItems(size_t count) {
    std::vector<std::string> ids;
    for (const auto& [id, state] : items_) ids.push_back(id);
    std::shuffle(ids.begin(), ids.end(), random_);
    ids.resize(count);
    return ids;
  }

  void Apply(const WriteCall& call) {
    if (call.record.has_value()) {
      bool all_have_ids = true;
      for (int i = 0; i < call.record->events_size(); ++i) {
        const v1::Event& event = call.record->events(i);
        all_have_ids = all_have_ids && !event.event_id().empty();
        if (i < call.num_old) continue;
        ++totals_.events;
        logged_[event.user_id()].push_back(event.item_id());
        if (const auto own = users_.find(event.user_id()); own != users_.end()) {
          Add(event, &own->second);
        } else {
          MutexLock lock(load_->common_.mu);
          Add(event, &load_->common_.histories[event.user_id()]);
        }
      }
      totals_.duplicates += static_cast<uint64_t>(call.num_old);
      if (all_have_ids && call.num_old == 0) {
        old_batches_.push_back(*call.record);
        // Some of long ago stay.
        if (old_batches_.size() > kOldBatches) {
          old_batches_.erase(old_batches_.begin() + Random(static_cast<uint32_t>(kOldBatches)));
        }
      }
    } else if (call.delete_user.has_value()) {
      const std::string& user = call.delete_user->user_id();
      users_.at(user).clear();
      logged_.erase(user);
      erased_.insert(user);
      ++totals_.deleted_users;
    } else {
      items_ = ItemsAfter(std::move(items_), call);
      if (call.upsert.has_value()) totals_.items += static_cast<uint64_t>(call.upsert->items_size());
      if (call.delete_items.has_value()) {
        totals_.deleted_items += static_cast<uint64_t>(call.delete_items->item_ids_size());
      }
    }
  }

  static void Add(const v1::Event& event, History* history) {
    history->emplace(event.timestamp_ms(), event.item_id());
    if (history->size() > kKillMaxHistory) history->erase(history->begin());
  }

  // Of pending_->record.
  void ExpectCounts(const v1::RecordEventsResponse& response, bool stored_before) {
    const int size = pending_->record->events_size();
    EXPECT_EQ(response.num_duplicates(), stored_before ? size : pending_->num_old);
    EXPECT_EQ(response.num_recorded(), stored_before ? 0 : size - pending_->num_old);
  }

  // Read your writes: the user is what was acknowledged. False: the server is gone.
  bool ReadOwnUser(v1::UserService::Stub& stub) {
    v1::GetUserRequest request;
    request.set_user_id(RandomUser());
    request.set_max_events(5);
    v1::GetUserResponse response;
    const grpc::Status status = Call(stub, &v1::UserService::Stub::GetUser, request, &response);
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return false;
    const History& history = users_.at(request.user_id());
    EXPECT_EQ(status.ok(), !history.empty()) << status.error_message();
    auto expected = history.rbegin();
    for (const v1::Event& event : response.events()) {
      if (expected == history.rend() || event.item_id() != expected->second) {
        ADD_FAILURE() << request.user_id() << " has " << event.ShortDebugString() << ", expected "
                      << (expected == history.rend() ? "no more" : expected->second);
        break;
      }
      ++expected;
    }
    EXPECT_EQ(static_cast<size_t>(response.events_size()), std::min<size_t>(history.size(), 5));
    return true;
  }

  static size_t HistorySize(ServerProcess& server, const std::string& user) {
    v1::GetUserRequest request;
    request.set_user_id(user);
    v1::GetUserResponse response;
    const grpc::Status status = server.GetUser(request, &response);
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND) << status.error_message();
    return static_cast<size_t>(response.events_size());
  }

  bool SettleEvents(ServerProcess& server, const WriteCall& call) {
    std::map<std::string, std::set<std::string>> there;  // by user
    int num_stored = 0, num_new = 0;
    bool all_have_ids = true;
    for (int i = call.num_old; i < call.record->events_size(); ++i) {
      const v1::Event& event = call.record->events(i);
      ++num_new;
      all_have_ids = all_have_ids && !event.event_id().empty();
      const auto [it, added] = there.try_emplace(event.user_id());
      if (added) {
        v1::GetUserRequest request;
        request.set_user_id(event.user_id());
        request.set_max_events(2000);
        v1::GetUserResponse response;
        const grpc::Status status = server.GetUser(request, &response);
        EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND)
            << status.error_message();
        for (const v1::Event& e : response.events()) it->second.insert(e.item_id());
      }
      num_stored += it->second.contains(event.item_id()) ? 1 : 0;
    }
    EXPECT_TRUE(num_stored == 0 || num_stored == num_new)
        << num_stored << " of a batch of " << num_new << " events are there";
    const bool stored = num_new > 0 && num_stored == num_new;
    if (stored) Apply(call);
    if (all_have_ids) {  // the client asks again
      pending_ = call;
      v1::RecordEventsResponse response;
      const grpc::Status status = server.RecordEvents(*call.record, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      ExpectCounts(response, stored || num_new == 0);
      pending_.reset();
      if (!stored) Apply(call);
    }
    return stored;
  }

  KillLoad* const load_;
  const int number_;
  const std::string prefix_;
  std::mt19937_64 random_;
  uint64_t num_events_ = 0, num_titles_ = 0;
  std::map<std::string, History> users_;
  std::set<std::string> erased_;
  std::map<std::string, std::vector<std::string>> logged_;  // items of this client's events by user
  Items items_;
  std::deque<v1::RecordEventsRequest> old_batches_;
  std::optional<WriteCall> pending_;
  Totals totals_;
};

KillLoad::KillLoad(uint64_t seed, int num_clients) {
  for (int i = 0; i < num_clients; ++i) {
    clients_.push_back(std::make_unique<Client>(this, i, seed * 1000 + static_cast<uint64_t>(i)));
  }
}

KillLoad::~KillLoad() { Join(); }

void KillLoad::Start(const ServerProcess& server) {
  started_ms_ = clock_ms_;
  acknowledged_ = 0;
  running_ = static_cast<int>(clients_.size());
  for (const std::unique_ptr<Client>& client : clients_) {
    threads_.emplace_back([this, &client, channel = server.NewChannel()] {
      client->Run(channel);
      --running_;
    });
  }
  threads_.emplace_back([this, channel = server.NewChannel()] { Read(channel); });
}

// Any answer but UNAVAILABLE is a good one: what it says depends on the moment.
void KillLoad::Read(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = v1::RecommendationService::NewStub(channel);
  v1::RecommendResponse response;
  v1::SimilarItemsRequest similar;
  similar.set_item_id("item-99");
  similar.set_k(10);
  v1::SimilarItemsResponse similar_response;
  for (int i = 0; running_ > 0; ++i) {
    grpc::Status status;
    switch (i % 3) {
      case 0:
        status = Call(*stub, &v1::RecommendationService::Stub::Recommend, EveryItem(), &response);
        break;
      case 1:
        status = Call(*stub, &v1::RecommendationService::Stub::Recommend,
                      UserRequest(absl::StrCat("user-", i % kKillUsersPerClient), 10), &response);
        break;
      case 2:
        status = Call(*stub, &v1::RecommendationService::Stub::SimilarItems, similar, &similar_response);
        break;
    }
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return;
    if (!status.ok()) {
      ADD_FAILURE() << "a read failed with code " << status.error_code() << ": " << status.error_message();
      return;
    }
    ++reads_;
  }
}

void KillLoad::WaitForAcknowledged(int calls) const {
  while (acknowledged_ < calls && running_ > 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

void KillLoad::Join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void KillLoad::Settle(ServerProcess& server) {
  for (const std::unique_ptr<Client>& client : clients_) client->Settle(server);
}

std::string KillLoad::Difference(ServerProcess& server, const std::string& user, const History& expected,
                                 int64_t since_ms, bool has_long_term, bool check_long_term) {
  v1::GetUserRequest request;
  request.set_user_id(user);
  if (since_ms > 0) {
    request.set_max_events(static_cast<int>(std::distance(expected.upper_bound(since_ms), expected.end())) +
                           1);
  }
  v1::GetUserResponse response;
  const grpc::Status status = server.GetUser(request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return expected.empty() ? "" : absl::StrCat(user, " is not there, expected ", expected.size(), " events");
  }
  if (!status.ok()) return absl::StrCat("GetUser: ", status.error_message());
  auto next = expected.rbegin();
  for (const v1::Event& event : response.events()) {
    if (next == expected.rend() || event.timestamp_ms() != next->first || event.item_id() != next->second) {
      return absl::StrCat(user, ": ", event.ShortDebugString(), ", expected ",
                          next == expected.rend() ? "no more" : next->second);
    }
    ++next;
  }
  if (since_ms == 0 && next != expected.rend()) {
    return absl::StrCat(user, ": ", response.events_size(), " events, expected ", expected.size(),
                        "; missing: ", next->second);
  }
  if (since_ms > 0 && next != expected.rend() && next->first > since_ms) {
    return absl::StrCat(user, ": missing ", next->second);
  }
  if (check_long_term && response.has_long_term_vector() != has_long_term) {
    return absl::StrCat(user, has_long_term ? ": lacks its" : ": was erased and has a", " long-term vector");
  }
  return "";
}

void KillLoad::ExpectStored(ServerProcess& server, bool all) {
  for (const std::unique_ptr<Client>& client : clients_) client->ExpectStored(server);
  std::map<std::string, History> common;
  {
    MutexLock lock(common_.mu);
    common = common_.histories;
  }
  for (const auto& [user, history] : common) {
    EXPECT_EQ(Difference(server, user, history, all ? 0 : started_ms_, false, false), "");
  }
  // The catalogue that answers are made from: all that has a vector and is not deleted, and nothing else.
  v1::RecommendResponse response;
  const grpc::Status status = server.Recommend(EveryItem(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::set<std::string> recommended;
  for (const v1::ScoredItem& item : response.items()) recommended.insert(item.item_id());
  for (const std::unique_ptr<Client>& client : clients_) {
    for (const auto& [id, state] : client->items()) {
      EXPECT_EQ(recommended.contains(id), state.has_vector && !state.deleted) << id;
    }
  }
}

void KillLoad::ExpectLogged(TrainingReader& log) const {
  std::map<std::string, std::map<std::string, int>> logged;  // user -> item -> times
  const absl::Status read = log.ForEachEvent([&](int64_t /*arrival_ms*/, const EventRecord& event) {
    ++logged[event.user_id][event.item_id];
    return absl::OkStatus();
  });
  ASSERT_TRUE(read.ok()) << read.ToString();
  for (const std::unique_ptr<Client>& client : clients_) {
    for (const auto& [user, items] : client->logged()) {
      auto& there = logged[user];
      for (const std::string& item : items) {
        EXPECT_EQ(there[item], 1) << "event of " << user << " with " << item << " in the log";
        there.erase(item);
      }
    }
  }
  for (const auto& [user, items] : logged) {
    EXPECT_TRUE(items.empty()) << "in the log, but never acknowledged or erased: " << items.size()
                               << " events of " << user << ", with " << items.begin()->first;
  }
}

KillLoad::Totals KillLoad::totals() const {
  Totals sum;
  for (const std::unique_ptr<Client>& client : clients_) {
    const Totals& t = client->totals();
    sum.acknowledged += t.acknowledged;
    sum.cut_off += t.cut_off;
    sum.cut_off_stored += t.cut_off_stored;
    sum.events += t.events;
    sum.duplicates += t.duplicates;
    sum.items += t.items;
    sum.deleted_items += t.deleted_items;
    sum.deleted_users += t.deleted_users;
  }
  sum.reads = reads_;
  return sum;
}

}  // namespace swiftlet::testing

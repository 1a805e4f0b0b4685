#include "tests/soak/soak_load.h"

#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace swiftlet::soak {
namespace {

using testing::MakeEvent;
using Rng = std::mt19937_64;

constexpr auto kTimeout = std::chrono::seconds(20);
constexpr int kRecommendThreads = 3;
constexpr int kReadYourWritesThreads = 2;

// Some users come often, most seldom: about Zipf with exponent 1.
uint64_t PickUser(Rng& rng, uint64_t num_users) {
  const double u = std::uniform_real_distribution<double>(0, 1)(rng);
  return static_cast<uint64_t>(std::pow(static_cast<double>(num_users), u)) - 1;
}

std::string ItemId(uint64_t i) { return absl::StrCat("item-", i); }

}  // namespace

void Tally::Count(const std::string& kind) {
  MutexLock lock(mu_);
  ++counts_[kind];
}

void Tally::Fail(const std::string& reason, const std::string& example) {
  MutexLock lock(mu_);
  Failure& failure = failures_[reason];
  if (++failure.number == 1) failure.example = example;
}

int64_t Tally::num_failures() const {
  MutexLock lock(mu_);
  int64_t sum = 0;
  for (const auto& [reason, failure] : failures_) sum += failure.number;
  return sum;
}

std::map<std::string, int64_t> Tally::counts() const {
  MutexLock lock(mu_);
  return counts_;
}

std::string Tally::Failures() const {
  MutexLock lock(mu_);
  std::string text;
  for (const auto& [reason, failure] : failures_) {
    absl::StrAppend(&text, "  ", failure.number, " x ", reason, "; first: ", failure.example, "\n");
  }
  return text;
}

std::vector<uint64_t> ChurningItems::Phases() const {
  std::vector<uint64_t> phases;
  phases.reserve(phases_.size());
  for (const auto& phase : phases_) phases.push_back(phase.load());
  return phases;
}

int64_t ChurningItems::NumberOf(const std::string& item_id) {
  constexpr std::string_view kPrefix = "churn-";
  int64_t number = -1;
  if (!item_id.starts_with(kPrefix) || !absl::SimpleAtoi(item_id.substr(kPrefix.size()), &number)) return -1;
  return number;
}

// Of one thread.
struct Load::Stubs {
  explicit Stubs(const testing::ServerProcess& server)
      : channel(server.NewChannel()),
        recommendation(v1::RecommendationService::NewStub(channel)),
        event(v1::EventService::NewStub(channel)),
        catalog(v1::CatalogService::NewStub(channel)),
        user(v1::UserService::NewStub(channel)),
        admin(v1::AdminService::NewStub(channel)) {}

  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(const std::unique_ptr<Stub>& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kTimeout);
    return (stub.get()->*method)(&context, request, response);
  }
  grpc::Status Recommend(const v1::RecommendRequest& request, v1::RecommendResponse* response) {
    return Call(recommendation, &v1::RecommendationService::Stub::Recommend, request, response);
  }
  grpc::Status RecordEvents(const v1::RecordEventsRequest& request, v1::RecordEventsResponse* response) {
    return Call(event, &v1::EventService::Stub::RecordEvents, request, response);
  }
  grpc::Status GetUser(const std::string& user_id, v1::GetUserResponse* response) {
    v1::GetUserRequest request;
    request.set_user_id(user_id);
    return Call(user, &v1::UserService::Stub::GetUser, request, response);
  }

  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::RecommendationService::Stub> recommendation;
  const std::unique_ptr<v1::EventService::Stub> event;
  const std::unique_ptr<v1::CatalogService::Stub> catalog;
  const std::unique_ptr<v1::UserService::Stub> user;
  const std::unique_ptr<v1::AdminService::Stub> admin;
};

Load::Load(const testing::ServerProcess* server, const LoadOptions& options, Tally* tally)
    : server_(server), options_(options), tally_(tally) {
  // All churning items begin as deleted ones: ChurnItems adds them.
  for (uint32_t i = 0; i < churning_.size(); ++i) {
    churning_.Advance(i);
    churning_.Advance(i);
  }
  for (uint64_t t = 0; t < kRecommendThreads; ++t) threads_.emplace_back([this, t] { Recommend(t); });
  for (uint64_t t = 0; t < kReadYourWritesThreads; ++t) {
    threads_.emplace_back([this, t] { ReadYourWrites(t); });
  }
  threads_.emplace_back([this] { RecordCrowd(0); });
  threads_.emplace_back([this] { ChurnItems(); });
  threads_.emplace_back([this] { EraseUsers(); });
  threads_.emplace_back([this] { LookAround(); });
}

Load::~Load() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
}

bool Load::Pause(double milliseconds) {
  std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds));
  return !stop_;
}

bool Load::Check(const grpc::Status& status, const std::string& kind) {
  tally_->Count(kind);
  if (status.ok()) return true;
  tally_->Fail(absl::StrCat(kind, ": status ", static_cast<int>(status.error_code())),
               status.error_message());
  return false;
}

void Load::CheckVersion(int64_t version, int64_t oldest, const std::string& kind) {
  if (version >= oldest) return;
  tally_->Fail(kind + ": an answer of a replaced snapshot",
               absl::StrCat("version ", version, " after ", oldest, " was seen to serve"));
}

template <typename Items>
void Load::CheckItems(const Items& items, size_t expected, const std::vector<uint64_t>& phases_before,
                      const std::string& kind) {
  if (static_cast<size_t>(items.size()) != expected) {
    tally_->Fail(kind + ": wrong number of items", absl::StrCat(items.size(), " instead of ", expected));
  }
  std::set<std::string> ids;
  float last = std::numeric_limits<float>::infinity();
  for (const v1::ScoredItem& item : items) {
    if (!ids.insert(item.item_id()).second) tally_->Fail(kind + ": an item twice", item.item_id());
    if (!(item.score() <= last)) tally_->Fail(kind + ": not in order of scores", item.item_id());
    last = item.score();
    const int64_t number = ChurningItems::NumberOf(item.item_id());
    if (number < 0) continue;
    const uint64_t before = phases_before[static_cast<size_t>(number)];
    if (before % 4 == 2 && churning_.phase(static_cast<uint32_t>(number)) == before) {
      tally_->Fail(kind + ": an item after its deletion was acknowledged", item.item_id());
    }
    if (item.explanation().empty()) continue;
    double sum = 0, largest = 0;
    for (const v1::Contribution& term : item.explanation()) {
      sum += term.score();
      largest = std::max<double>(largest, std::abs(term.score()));
    }
    if (std::abs(sum - item.score()) > 1e-4 * std::max(largest, 1e-3)) {
      tally_->Fail(kind + ": the explanation does not add up to the score",
                   absl::StrCat(item.item_id(), ": ", sum, " and ", item.score()));
    }
  }
}

// Users of the crowd, anonymous sessions, similar items, given items.
void Load::Recommend(uint64_t thread) {
  Stubs stubs(*server_);
  Rng rng(options_.seed * 1000 + thread);
  for (uint64_t n = 0; Pause(1.5); ++n) {
    const std::vector<uint64_t> phases = churning_.Phases();
    const int64_t oldest = oldest_allowed_;
    if (n % 8 == 7) {
      v1::SimilarItemsRequest request;
      request.set_item_id(ItemId(rng() % options_.num_items));
      request.set_k(10);
      v1::SimilarItemsResponse response;
      grpc::Status status = Stubs::Call(stubs.recommendation, &v1::RecommendationService::Stub::SimilarItems,
                                        request, &response);
      if (!Check(status, "SimilarItems")) continue;
      CheckVersion(response.snapshot_version(), oldest, "SimilarItems");
      CheckItems(response.items(), 10, phases, "SimilarItems");
    } else if (n % 8 == 6) {
      v1::ScoreItemsRequest request;
      request.set_user_id(absl::StrCat("user-", PickUser(rng, options_.num_users)));
      for (int i = 0; i < 20; ++i) request.add_item_ids(ItemId(rng() % options_.num_items));
      v1::ScoreItemsResponse response;
      grpc::Status status =
          Stubs::Call(stubs.recommendation, &v1::RecommendationService::Stub::ScoreItems, request, &response);
      if (!Check(status, "ScoreItems")) continue;
      CheckVersion(response.snapshot_version(), oldest, "ScoreItems");
      if (response.items_size() != 20) {
        tally_->Fail("ScoreItems: wrong number of items", absl::StrCat(response.items_size()));
      }
    } else {
      v1::RecommendRequest request;
      std::string kind = "Recommend";
      if (n % 8 == 5) {
        kind = "Recommend (anonymous)";
        for (int i = 0; i < 5; ++i) {
          *request.mutable_history()->add_events() = MakeEvent("", ItemId(rng() % options_.num_items));
        }
      } else {
        request.set_user_id(absl::StrCat("user-", PickUser(rng, options_.num_users)));
      }
      request.set_k(n % 16 == 0 ? 200 : 20);
      request.set_explain(n % 4 == 0);
      request.set_include_metadata(n % 4 == 1);
      if (n % 8 == 3) request.mutable_filter()->add_any_of_categories("cat-1");
      v1::RecommendResponse response;
      if (!Check(stubs.Recommend(request, &response), kind)) continue;
      CheckVersion(response.snapshot_version(), oldest, kind);
      CheckItems(response.items(), static_cast<size_t>(request.k()), phases, kind);
    }
  }
}

// An acknowledged event is in the very next answer; one that is sent again counts once.
void Load::ReadYourWrites(uint64_t thread) {
  Stubs stubs(*server_);
  Rng rng(options_.seed * 1000 + 100 + thread);
  for (uint64_t n = 0; Pause(3); ++n) {
    const std::string user = absl::StrCat("writer-", thread, "-", n / 10);
    const std::string item = ItemId(rng() % options_.num_items);
    const v1::RecordEventsRequest batch =
        testing::Batch({MakeEvent(user, item, "like", 0, absl::StrCat("event-", thread, "-", n))});
    v1::RecordEventsResponse recorded;
    if (!Check(stubs.RecordEvents(batch, &recorded), "RecordEvents")) continue;
    if (recorded.num_recorded() != 1) tally_->Fail("RecordEvents: a new event was not recorded", user);
    if (n % 4 == 0) {
      if (Check(stubs.RecordEvents(batch, &recorded), "RecordEvents (again)") &&
          recorded.num_duplicates() != 1) {
        tally_->Fail("RecordEvents: an event sent again was counted again", user);
      }
    }
    v1::RecommendResponse response;
    if (!Check(stubs.Recommend(testing::UserRequest(user, 20), &response), "Recommend (after an event)")) {
      continue;
    }
    // Events of one item are one slot each: ten events a user at most.
    if (response.num_history_events_used() != static_cast<int>(n % 10) + 1) {
      tally_->Fail(
          "Recommend: does not reflect the acknowledged events",
          absl::StrCat(user, ": ", response.num_history_events_used(), " events instead of ", n % 10 + 1));
    }
    for (const v1::ScoredItem& scored : response.items()) {
      if (scored.item_id() == item) tally_->Fail("Recommend: a seen item", item);
    }
  }
}

// Batches of events of the whole crowd, some of items that nobody knows.
void Load::RecordCrowd(uint64_t thread) {
  Stubs stubs(*server_);
  Rng rng(options_.seed * 1000 + 200 + thread);
  while (Pause(20)) {
    v1::RecordEventsRequest batch;
    for (int i = 0; i < 16; ++i) {
      const uint64_t item = rng() % (options_.num_items + 100);
      *batch.add_events() = MakeEvent(absl::StrCat("user-", PickUser(rng, options_.num_users)), ItemId(item),
                                      i % 3 == 0 ? "click" : "view");
    }
    v1::RecordEventsResponse recorded;
    if (Check(stubs.RecordEvents(batch, &recorded), "RecordEvents (16)") && recorded.num_recorded() != 16) {
      tally_->Fail("RecordEvents: not all of a batch", absl::StrCat(recorded.num_recorded()));
    }
  }
}

void Load::ChurnItems() {
  Stubs stubs(*server_);
  Rng rng(options_.seed * 1000 + 300);
  std::normal_distribution<float> normal;
  while (Pause(10)) {
    const uint32_t i = static_cast<uint32_t>(rng() % churning_.size());
    const std::string id = ChurningItems::Id(i);
    const uint64_t phase = churning_.phase(i);
    if (phase % 4 == 0 && rng() % 2 == 0) {  // delete
      churning_.Advance(i);
      v1::DeleteItemsRequest request;
      request.add_item_ids(id);
      v1::DeleteItemsResponse response;
      // An unknown outcome leaves the item in the phase between.
      if (!Check(Stubs::Call(stubs.catalog, &v1::CatalogService::Stub::DeleteItems, request, &response),
                 "DeleteItems")) {
        continue;
      }
      churning_.Advance(i);
      continue;
    }
    if (phase % 4 != 0 && phase % 4 != 2) continue;
    if (phase % 4 == 2) churning_.Advance(i);  // add; else change
    v1::UpsertItemsRequest request;
    v1::Item* item = request.add_items();
    item->set_item_id(id);
    item->mutable_metadata()->set_title(absl::StrCat("Churning ", i, " of ", phase));
    item->mutable_metadata()->add_categories("cat-1");
    for (uint32_t d = 0; d < options_.dim; ++d) item->add_vector(normal(rng));
    v1::UpsertItemsResponse response;
    grpc::Status status =
        Stubs::Call(stubs.catalog, &v1::CatalogService::Stub::UpsertItems, request, &response);
    // The space of the snapshot may be another one at the moment: then the item is added without a vector.
    if (!Check(status, "UpsertItems")) continue;
    if (phase % 4 == 2) churning_.Advance(i);
    v1::GetItemsRequest get;
    get.add_item_ids(id);
    v1::GetItemsResponse got;
    status = Stubs::Call(stubs.catalog, &v1::CatalogService::Stub::GetItems, get, &got);
    if (!Check(status, "GetItems")) continue;
    if (got.items_size() != 1 || got.items(0).metadata().title() != item->metadata().title() ||
        got.items(0).status() == v1::Item::STATUS_DELETED) {
      tally_->Fail("GetItems: not what was upserted", got.ShortDebugString().substr(0, 200));
    }
  }
}

void Load::EraseUsers() {
  Stubs stubs(*server_);
  Rng rng(options_.seed * 1000 + 400);
  for (uint64_t n = 0; Pause(50); ++n) {
    const std::string user = absl::StrCat("erased-", n % 50);
    const int events = 1 + static_cast<int>(rng() % 5);
    v1::RecordEventsRequest batch;
    for (int i = 0; i < events; ++i) {
      *batch.add_events() = MakeEvent(user, ItemId(rng() % options_.num_items), "view");
    }
    v1::RecordEventsResponse recorded;
    if (!Check(stubs.RecordEvents(batch, &recorded), "RecordEvents (to be erased)")) continue;
    v1::GetUserResponse got;
    if (Check(stubs.GetUser(user, &got), "GetUser") && got.events_size() != events) {
      tally_->Fail("GetUser: events from before an erasure, or too few",
                   absl::StrCat(user, ": ", got.events_size(), " instead of ", events));
    }
    v1::DeleteUserRequest request;
    request.set_user_id(user);
    v1::DeleteUserResponse response;
    if (!Check(Stubs::Call(stubs.user, &v1::UserService::Stub::DeleteUser, request, &response),
               "DeleteUser")) {
      continue;
    }
    const grpc::Status gone = stubs.GetUser(user, &got);
    tally_->Count("GetUser (erased)");
    if (gone.error_code() != grpc::StatusCode::NOT_FOUND) {
      tally_->Fail("GetUser: an erased user is still there", absl::StrCat(user, ": ", gone.error_message()));
    }
    v1::RecommendResponse answer;
    if (!Check(stubs.Recommend(testing::UserRequest(user, 5), &answer), "Recommend (erased)")) continue;
    if (answer.num_history_events_used() != 0 || answer.items_size() != 5 ||
        answer.items(0).source() != v1::SOURCE_POPULAR) {
      tally_->Fail("Recommend: remembers an erased user", user);
    }
  }
}

// What watches a server: health, status, snapshots, metrics.
void Load::LookAround() {
  Stubs stubs(*server_);
  while (Pause(1000)) {
    v1::GetStatusResponse status;
    Check(Stubs::Call(stubs.admin, &v1::AdminService::Stub::GetStatus, v1::GetStatusRequest(), &status),
          "GetStatus");
    v1::ListSnapshotsResponse snapshots;
    Check(Stubs::Call(stubs.admin, &v1::AdminService::Stub::ListSnapshots, v1::ListSnapshotsRequest(),
                      &snapshots),
          "ListSnapshots");
    tally_->Count("GET /metrics");
    if (server_->Metric("swiftlet_snapshot_version") <= 0) {
      tally_->Fail("GET /metrics: no snapshot version", "");
    }
  }
}

}  // namespace swiftlet::soak

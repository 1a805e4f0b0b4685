// Every call of the API, from its bytes to its answer, by the real services over a real database, catalogue
// and snapshot manager. Input: calls, each a byte for the method, two for the length of the request, and the
// request.
//
// The database lives on for many inputs, as in a server: an input that fails may need some before it. Only
// connections and HTTP/2 are left out.
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/test/default_reactor_test_peer.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/admin_service.h"
#include "server/catalog_service.h"
#include "server/event_service.h"
#include "server/logging.h"
#include "server/recommendation_service.h"
#include "server/service_core.h"
#include "server/user_service.h"
#include "spdlog/spdlog.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/message_mutator.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

constexpr int64_t kNowMs = 1'700'000'000'000;
constexpr int kInputsPerServer = 500;
constexpr int kMaxCalls = 8;

// All that a server is, but for the transport.
class TestServer {
 public:
  TestServer() : metrics_("test", [] { return kNowMs; }) {
    limits_.max_k = 100;
    limits_.max_history_events = 8;
    limits_.max_batch_size = 20;
    const EventTypeTable types = EventTypeTable::Default();
    absl::StatusOr<std::unique_ptr<Database>> database =
        Database::Open({.path = dir_.File("data"), .max_history_events = 8, .sync_writes = false}, types);
    FUZZ_CHECK(database.ok(), database.status().ToString());
    database_ = *std::move(database);
    users_ = std::make_unique<UserCache>(
        database_.get(),
        UserCache::Options{.capacity_bytes = 4000, .max_history_events = 8, .num_shards = 2});
    catalog_ = std::make_unique<CatalogManager>(database_.get(), &reaper_);
    const ModelDirectory models(dir_.File("models"));
    for (const int64_t version : {1, 2}) {
      testing::RandomSnapshotOptions options{
          .num_items = 20, .dim = 8, .num_categories = 4, .version = version};
      options.seed = static_cast<uint64_t>(version);
      options.embedding_space = absl::StrCat("space-", version);
      options.max_events = 5;
      if (version == 2) {
        options.num_users = 3;
        options.with_rating_model = true;
        options.write_user_vectors = testing::RandomUserVectors(3, 1);
      }
      const absl::Status published = testing::PublishRandomSnapshot(models, options);
      FUZZ_CHECK(published.ok(), published.ToString());
    }
    SnapshotManager::Options manager;
    manager.model_dir = dir_.File("models");
    manager.poll_interval = absl::Hours(1);
    manager.now_ms = [] { return kNowMs; };
    snapshots_ = std::make_unique<SnapshotManager>(std::move(manager), types, database_.get(), catalog_.get(),
                                                   &metrics_);
    const absl::Status started = snapshots_->Start();
    FUZZ_CHECK(started.ok() && catalog_->Acquire() != nullptr, started.ToString());
    recall_.emplace(RecallSampler::Options{.rate = 0.2}, catalog_.get(), &metrics_);
    core_.reset(new ServiceCore{.gate = CallGate({.max_in_flight = 10, .max_in_flight_of = {}, .queue = {}},
                                                 &metrics_, &workers_, &readers_),
                                .validator = RequestValidator(limits_, types),
                                .event_types = types,
                                .limits = limits_,
                                .now_ms = [] { return kNowMs; },
                                .start_time_ms = kNowMs,
                                .database = database_.get(),
                                .users = users_.get(),
                                .writes = &writes_,
                                .writers = &workers_,
                                .catalog = catalog_.get(),
                                .snapshots = snapshots_.get(),
                                .recall = &*recall_});
    recommendations_ = std::make_unique<RecommendationService>(core_.get());
    events_ = std::make_unique<EventService>(core_.get());
    items_ = std::make_unique<CatalogService>(core_.get());
    user_service_ = std::make_unique<UserService>(core_.get());
    admin_ = std::make_unique<AdminService>(core_.get());
  }
  ~TestServer() {
    recall_->Stop();
    snapshots_->Stop();
    catalog_->Clear();
  }

  // One call, answered.
  grpc::Status Serve(Method method, std::string_view request, std::string* response) {
    const grpc::Slice slice(request.data(), request.size());
    const grpc::ByteBuffer in(&slice, 1);
    grpc::ByteBuffer out;
    grpc::CallbackServerContext context;
    std::mutex mutex;
    std::condition_variable condition;
    std::optional<grpc::Status> status;
    grpc::testing::DefaultReactorTestPeer peer(&context, [&](grpc::Status s) {
      const std::lock_guard lock(mutex);
      FUZZ_CHECK(!status.has_value(), "a call is finished once");
      status = std::move(s);
      condition.notify_all();
    });
    Dispatch(method, &context, &in, &out);
    {
      std::unique_lock lock(mutex);
      FUZZ_CHECK(condition.wait_for(lock, std::chrono::minutes(2), [&] { return status.has_value(); }),
                 "no answer in two minutes");
    }
    // The peer is still in use until this is set.
    while (!peer.test_status_set()) std::this_thread::yield();
    response->clear();
    if (status->ok()) {
      std::vector<grpc::Slice> slices;
      FUZZ_CHECK(out.Dump(&slices).ok(), "an answer");
      for (const grpc::Slice& s : slices)
        response->append(reinterpret_cast<const char*>(s.begin()), s.size());
    }
    return *status;
  }

  const RequestValidator& validator() const { return core_->validator; }

 private:
  void Dispatch(Method method, grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                grpc::ByteBuffer* out) {
    switch (method) {
      case Method::kRecommend:
        return static_cast<void>(recommendations_->Recommend(context, in, out));
      case Method::kSimilarItems:
        return static_cast<void>(recommendations_->SimilarItems(context, in, out));
      case Method::kScoreItems:
        return static_cast<void>(recommendations_->ScoreItems(context, in, out));
      case Method::kPredict:
        return static_cast<void>(recommendations_->Predict(context, in, out));
      case Method::kRecordEvents:
        return static_cast<void>(events_->RecordEvents(context, in, out));
      case Method::kUpsertItems:
        return static_cast<void>(items_->UpsertItems(context, in, out));
      case Method::kDeleteItems:
        return static_cast<void>(items_->DeleteItems(context, in, out));
      case Method::kGetItems:
        return static_cast<void>(items_->GetItems(context, in, out));
      case Method::kGetUser:
        return static_cast<void>(user_service_->GetUser(context, in, out));
      case Method::kDeleteUser:
        return static_cast<void>(user_service_->DeleteUser(context, in, out));
      case Method::kListSnapshots:
        return static_cast<void>(admin_->ListSnapshots(context, in, out));
      case Method::kLoadSnapshot:
        return static_cast<void>(admin_->LoadSnapshot(context, in, out));
      case Method::kGetStatus:
        return static_cast<void>(admin_->GetStatus(context, in, out));
      case Method::kLoadEvents:
      case Method::kExportUser:
      case Method::kCreateBackup:
      case Method::kListBackups:
      case Method::kVerifyBackup:
      case Method::kPreviewSnapshot:
        break;  // streams, what has next to no fields, and what loads snapshots
    }
  }

  const testing::TempDir dir_;
  RequestLimits limits_;
  ServerMetrics metrics_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<UserCache> users_;
  Reaper reaper_;
  std::unique_ptr<CatalogManager> catalog_;
  std::unique_ptr<SnapshotManager> snapshots_;
  std::optional<RecallSampler> recall_;
  ThreadPool workers_{1}, readers_{1};
  WriteGate writes_{10, [] { return false; }, &metrics_};
  std::unique_ptr<ServiceCore> core_;
  std::unique_ptr<RecommendationService> recommendations_;
  std::unique_ptr<EventService> events_;
  std::unique_ptr<CatalogService> items_;
  std::unique_ptr<UserService> user_service_;
  std::unique_ptr<AdminService> admin_;
};

void InitOnce() {
  static const bool done = [] {
    InitLogging({});
    spdlog::set_level(spdlog::level::off);
    return true;
  }();
  static_cast<void>(done);
}

TestServer& CurrentServer() {
  static TestServer* server = nullptr;
  static int num_inputs = 0;
  if (server == nullptr) {
    InitOnce();
    server = new TestServer;
    // Before RocksDB's own statics, which are newer than those here.
    std::atexit([] { delete server; });
  } else if (++num_inputs % kInputsPerServer == 0) {
    delete server;
    server = new TestServer;
  }
  return *server;
}

// A second call that must succeed, to see what the first one did.
template <typename Response>
Response Ask(TestServer& server, Method method, const google::protobuf::Message& request) {
  std::string bytes;
  const grpc::Status status = server.Serve(method, request.SerializeAsString(), &bytes);
  FUZZ_CHECK(status.ok(), status.error_message());
  Response response;
  FUZZ_CHECK(response.ParseFromString(bytes), "an answer");
  return response;
}

template <typename Items>
void CheckItems(const Items& items, bool explained) {
  for (const v1::ScoredItem& item : items) {
    FUZZ_CHECK(!item.item_id().empty(), "id");
    FUZZ_CHECK(std::isfinite(item.score()), absl::StrCat("score of ", item.item_id(), ": ", item.score()));
    if (!explained) continue;
    double sum = 0, largest = 0;
    for (const v1::Contribution& term : item.explanation()) {
      FUZZ_CHECK(std::isfinite(term.score()), "term");
      sum += term.score();
      largest = std::max(largest, std::fabs(double{term.score()}));
    }
    FUZZ_CHECK(std::fabs(sum - item.score()) <= 1e-4 * largest + 1e-6, absl::StrCat(sum, " ", item.score()));
  }
}

template <typename Items, typename Filter>
void CheckRanked(const Items& items, int k, const Filter& filter) {
  FUZZ_CHECK(items.size() <= k, absl::StrCat(items.size(), " items, k ", k));
  std::set<std::string> ids;
  for (int i = 0; i < items.size(); ++i) {
    FUZZ_CHECK(ids.insert(items[i].item_id()).second, "an item twice");
    FUZZ_CHECK(i == 0 || items[i].score() <= items[i - 1].score(), "best first");
  }
  for (const std::string& id : filter.exclude_item_ids()) FUZZ_CHECK(!ids.contains(id), id);
}

// Without budgets, and not asked for less, an answer is proven.
template <typename Request, typename Response>
void CheckProof(const Request& request, const Response& response) {
  const v1::Search& search = request.search();
  FUZZ_CHECK(response.proven_exact() || search.mode() == v1::Search::MODE_APPROXIMATE ||
                 search.budget_rows() > 0 || search.budget_us() > 0,
             "proven exact");
}

// What each answer promises.
void Check(TestServer&, const v1::RecommendRequest& request, const v1::RecommendResponse& response) {
  CheckRanked(response.items(), request.k(), request.filter());
  CheckItems(response.items(), request.explain());
  CheckProof(request, response);
  FUZZ_CHECK(response.snapshot_version() >= 1 && !response.request_id().empty(), "version and id");
  FUZZ_CHECK(request.request_id().empty() || response.request_id() == request.request_id(),
             response.request_id());
  FUZZ_CHECK(response.num_history_events_used() >= 0 && response.num_history_events_used() <= 5,
             "events used");
}
void Check(TestServer&, const v1::SimilarItemsRequest& request, const v1::SimilarItemsResponse& response) {
  CheckRanked(response.items(), request.k(), request.filter());
  CheckItems(response.items(), false);
  CheckProof(request, response);
}
void Check(TestServer&, const v1::ScoreItemsRequest& request, const v1::ScoreItemsResponse& response) {
  CheckItems(response.items(), request.explain());
  FUZZ_CHECK(response.items_size() + response.unknown_item_ids_size() == request.item_ids_size(), "items");
}
void Check(TestServer&, const v1::PredictRequest& request, const v1::PredictResponse& response) {
  FUZZ_CHECK(response.ratings_size() == request.item_ids_size(), "ratings");
  for (const v1::PredictedRating& r : response.ratings()) {
    FUZZ_CHECK(r.rating() >= response.min_rating() && r.rating() <= response.max_rating(), "scale");
  }
}
void Check(TestServer& server, const v1::RecordEventsRequest& request,
           const v1::RecordEventsResponse& response) {
  FUZZ_CHECK(response.num_recorded() + response.num_duplicates() == request.events_size(), "events");
  if (response.num_duplicates() > 0) return;
  v1::GetUserRequest get;
  get.set_user_id(request.events(0).user_id());
  const auto user = Ask<v1::GetUserResponse>(server, Method::kGetUser, get);
  FUZZ_CHECK(user.events_size() >= 1 && user.events_size() <= 8, "read your writes");
}
void Check(TestServer& server, const v1::UpsertItemsRequest& request,
           const v1::UpsertItemsResponse& response) {
  FUZZ_CHECK(response.num_upserted() == request.items_size(), "items");
  v1::GetItemsRequest get;
  for (const v1::Item& item : request.items()) get.add_item_ids(item.item_id());
  get.set_include_vectors(true);
  const auto found = Ask<v1::GetItemsResponse>(server, Method::kGetItems, get);
  FUZZ_CHECK(found.unknown_item_ids_size() == 0 && found.items_size() == request.items_size(),
             "read your writes");
  for (int i = 0; i < found.items_size(); ++i) {
    const v1::Item &put = request.items(i), &got = found.items(i);
    FUZZ_CHECK(got.item_id() == put.item_id() && got.status() != v1::Item::STATUS_DELETED, got.item_id());
    if (put.has_metadata())
      FUZZ_CHECK(got.metadata().title() == put.metadata().title(), got.metadata().title());
    if (put.vector_size() > 0) {
      FUZZ_CHECK(got.vector_size() == put.vector_size() &&
                     std::equal(got.vector().begin(), got.vector().end(), put.vector().begin()),
                 "vector");
    }
  }
}
void Check(TestServer& server, const v1::DeleteItemsRequest& request,
           const v1::DeleteItemsResponse& response) {
  FUZZ_CHECK(response.num_deleted() >= 0 && response.num_deleted() <= request.item_ids_size(), "items");
  v1::GetItemsRequest get;
  *get.mutable_item_ids() = request.item_ids();
  const auto found = Ask<v1::GetItemsResponse>(server, Method::kGetItems, get);
  for (const v1::Item& item : found.items())
    FUZZ_CHECK(item.status() == v1::Item::STATUS_DELETED, item.item_id());
}
void Check(TestServer&, const v1::GetItemsRequest& request, const v1::GetItemsResponse& response) {
  FUZZ_CHECK(response.items_size() + response.unknown_item_ids_size() == request.item_ids_size(), "items");
}
void Check(TestServer&, const v1::GetUserRequest& request, const v1::GetUserResponse& response) {
  FUZZ_CHECK(response.user_id() == request.user_id() && response.events_size() >= 1, "user");
  FUZZ_CHECK(request.max_events() <= 0 || response.events_size() <= request.max_events(), "max_events");
}
void Check(TestServer& server, const v1::DeleteUserRequest& request, const v1::DeleteUserResponse&) {
  v1::GetUserRequest get;
  get.set_user_id(request.user_id());
  std::string bytes;
  const grpc::Status status = server.Serve(Method::kGetUser, get.SerializeAsString(), &bytes);
  FUZZ_CHECK(status.error_code() == grpc::StatusCode::NOT_FOUND, status.error_message());
}
void Check(TestServer&, const v1::ListSnapshotsRequest&, const v1::ListSnapshotsResponse& response) {
  FUZZ_CHECK(response.snapshots_size() == 2, "snapshots");
}
void Check(TestServer&, const v1::LoadSnapshotRequest& request, const v1::LoadSnapshotResponse& response) {
  FUZZ_CHECK(request.version() == 0 || response.snapshot().version() == request.version(), "version");
  FUZZ_CHECK(response.snapshot().state() == v1::SNAPSHOT_STATE_SERVING, "state");
}
void Check(TestServer&, const v1::GetStatusRequest&, const v1::GetStatusResponse& response) {
  FUZZ_CHECK(response.serving().version() >= 1 && !response.draining(), "status");
}

template <typename Request>
absl::Status Validate(const RequestValidator& validator, const Request& request) {
  if constexpr (requires { validator.Check(request, kNowMs); }) {
    return validator.Check(request, kNowMs);
  } else if constexpr (requires { validator.Check(request); }) {
    return validator.Check(request);
  } else {
    return absl::OkStatus();
  }
}

template <typename Request, typename Response>
void ServeAndCheck(TestServer& server, Method method, std::string_view bytes) {
  std::string answer;
  const grpc::Status status = server.Serve(method, bytes, &answer);
  Request request;
  const bool parses = request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  const absl::Status valid =
      parses ? Validate(server.validator(), request) : absl::InvalidArgumentError("bytes");
  const grpc::StatusCode code = status.error_code();
  if (!valid.ok()) {
    FUZZ_CHECK(code == grpc::StatusCode::INVALID_ARGUMENT, status.error_message());
    // The field comes first.
    FUZZ_CHECK(status.error_message().find(' ') != std::string::npos, status.error_message());
    FUZZ_CHECK(status.error_message().size() < 1000, status.error_message());
    return;
  }
  if (code != grpc::StatusCode::OK) {
    FUZZ_CHECK(!status.error_message().empty(), "an error says why");
    // Vectors of another dimension are refused by the catalogue; version 1 has no rating model.
    const bool expected = code == grpc::StatusCode::NOT_FOUND || code == grpc::StatusCode::ABORTED ||
                          (code == grpc::StatusCode::FAILED_PRECONDITION && method == Method::kPredict) ||
                          (code == grpc::StatusCode::INVALID_ARGUMENT && method == Method::kUpsertItems &&
                           status.error_message().find(": dimension ") != std::string::npos);
    FUZZ_CHECK(expected, absl::StrCat(code, " ", status.error_message()));
    return;
  }
  Response response;
  FUZZ_CHECK(response.ParseFromString(answer), "an answer");
  Check(server, request, response);
}

template <typename Visitor>
auto WithTypes(Method method, const Visitor& visit) {
  switch (method) {
    case Method::kRecommend:
      return visit(v1::RecommendRequest(), v1::RecommendResponse());
    case Method::kSimilarItems:
      return visit(v1::SimilarItemsRequest(), v1::SimilarItemsResponse());
    case Method::kScoreItems:
      return visit(v1::ScoreItemsRequest(), v1::ScoreItemsResponse());
    case Method::kPredict:
      return visit(v1::PredictRequest(), v1::PredictResponse());
    case Method::kRecordEvents:
      return visit(v1::RecordEventsRequest(), v1::RecordEventsResponse());
    case Method::kUpsertItems:
      return visit(v1::UpsertItemsRequest(), v1::UpsertItemsResponse());
    case Method::kDeleteItems:
      return visit(v1::DeleteItemsRequest(), v1::DeleteItemsResponse());
    case Method::kGetItems:
      return visit(v1::GetItemsRequest(), v1::GetItemsResponse());
    case Method::kGetUser:
      return visit(v1::GetUserRequest(), v1::GetUserResponse());
    case Method::kDeleteUser:
      return visit(v1::DeleteUserRequest(), v1::DeleteUserResponse());
    case Method::kListSnapshots:
      return visit(v1::ListSnapshotsRequest(), v1::ListSnapshotsResponse());
    case Method::kLoadSnapshot:
      return visit(v1::LoadSnapshotRequest(), v1::LoadSnapshotResponse());
    case Method::kGetStatus:
    case Method::kLoadEvents:
    case Method::kExportUser:
    case Method::kCreateBackup:
    case Method::kListBackups:
    case Method::kVerifyBackup:
    case Method::kPreviewSnapshot:
      break;
  }
  return visit(v1::GetStatusRequest(), v1::GetStatusResponse());
}

constexpr size_t kNumUnaryMethods = static_cast<size_t>(Method::kLoadEvents);

struct Step {
  Method method = Method::kRecommend;
  std::string request;
};

std::vector<Step> ReadSteps(const uint8_t* data, size_t size) {
  InputReader input(data, size);
  std::vector<Step> steps;
  while (!input.empty() && steps.size() < kMaxCalls) {
    const auto method = static_cast<Method>(input.Take<uint8_t>() % kNumUnaryMethods);
    steps.push_back({method, std::string(input.TakeBytes(input.Take<uint16_t>()))});
  }
  return steps;
}

std::string WriteSteps(const std::vector<Step>& steps) {
  std::string input;
  for (const Step& step : steps) {
    Put<uint8_t>(static_cast<uint8_t>(step.method), &input);
    Put<uint16_t>(static_cast<uint16_t>(step.request.size()), &input);
    input.append(step.request);
  }
  return input;
}

v1::Event Event(const std::string& user, const std::string& item, const std::string& type, float value) {
  v1::Event event;
  event.set_user_id(user);
  event.set_item_id(item);
  event.set_type(type);
  event.set_value(value);
  return event;
}

}  // namespace

std::vector<std::string> Seeds() {
  v1::RecommendRequest recommend;
  recommend.set_user_id("user-1");
  recommend.set_k(5);
  recommend.set_explain(true);
  recommend.set_include_metadata(true);
  recommend.mutable_filter()->add_exclude_item_ids("item-3");
  recommend.mutable_filter()->add_any_of_categories("cat-1");
  recommend.mutable_context()->add_item_ids("item-2");
  (*recommend.mutable_context()->mutable_features())["device"] = "phone";
  v1::RecommendRequest session;
  session.set_k(100);
  session.set_request_id("request-1");
  session.set_exclude_seen(false);
  session.mutable_search()->set_mode(v1::Search::MODE_APPROXIMATE);
  session.mutable_search()->set_budget_rows(7);
  *session.mutable_history()->add_events() = Event("", "item-1", "rating", 4.5f);
  *session.mutable_history()->add_events() = Event("", "item-7", "dislike", 0);
  session.mutable_history()->mutable_events(0)->set_timestamp_ms(kNowMs - 1000);
  v1::SimilarItemsRequest similar;
  similar.set_item_id("item-4");
  similar.set_k(3);
  v1::ScoreItemsRequest score;
  score.set_user_id("user-0");
  score.add_item_ids("item-1");
  score.add_item_ids("nothing");
  score.set_explain(true);
  v1::PredictRequest predict;
  predict.add_item_ids("item-1");
  predict.add_item_ids("nothing");
  *predict.mutable_history()->add_events() = Event("", "item-2", "rating", 4);
  v1::RecordEventsRequest record;
  *record.add_events() = Event("user-1", "item-5", "like", 1);
  *record.add_events() = Event("user-2", "new-item", "view", 0);
  record.mutable_events(0)->set_event_id("event-1");
  record.mutable_events(1)->set_timestamp_ms(kNowMs);
  v1::UpsertItemsRequest upsert;
  v1::Item* item = upsert.add_items();
  item->set_item_id("new-item");
  item->mutable_metadata()->set_title("New");
  item->mutable_metadata()->add_categories("cat-1");
  for (int i = 0; i < 8; ++i) item->add_vector(0.5f * static_cast<float>(i));
  upsert.add_items()->set_item_id("item-2");
  upsert.add_items()->set_item_id("by-category");
  upsert.mutable_items(2)->mutable_metadata()->add_categories("cat-2");
  v1::DeleteItemsRequest erase;
  erase.add_item_ids("item-5");
  erase.add_item_ids("nothing");
  v1::GetItemsRequest get;
  get.add_item_ids("item-5");
  get.add_item_ids("new-item");
  get.set_include_vectors(true);
  v1::GetUserRequest user;
  user.set_user_id("user-1");
  user.set_max_events(3);
  v1::DeleteUserRequest forget;
  forget.set_user_id("user-1");
  v1::LoadSnapshotRequest load;
  load.set_version(1);
  const std::vector<Step> steps = {{Method::kRecordEvents, record.SerializeAsString()},
                                   {Method::kRecommend, recommend.SerializeAsString()},
                                   {Method::kRecommend, session.SerializeAsString()},
                                   {Method::kUpsertItems, upsert.SerializeAsString()},
                                   {Method::kSimilarItems, similar.SerializeAsString()},
                                   {Method::kScoreItems, score.SerializeAsString()},
                                   {Method::kPredict, predict.SerializeAsString()},
                                   {Method::kDeleteItems, erase.SerializeAsString()},
                                   {Method::kGetItems, get.SerializeAsString()},
                                   {Method::kGetUser, user.SerializeAsString()},
                                   {Method::kDeleteUser, forget.SerializeAsString()},
                                   {Method::kListSnapshots, ""},
                                   {Method::kLoadSnapshot, load.SerializeAsString()},
                                   {Method::kGetStatus, ""}};
  std::vector<std::string> seeds;
  for (const Step& step : steps) seeds.push_back(WriteSteps({step}));
  for (size_t i = 0; i + 4 <= steps.size(); ++i) {
    seeds.push_back(WriteSteps({steps[i], steps[i + 1], steps[i + 2], steps[i + 3]}));
  }
  return seeds;
}

}  // namespace swiftlet::fuzz

// Mostly changes a field of one request; now and then its bytes, or the order of the calls.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InitOnce();                      // a serializer complains of strings that are not UTF-8
  static const std::vector<std::string> strings = {"user-0",    "user-1",
                                                   "user-2",    "item-0",
                                                   "item-1",    "item-5",
                                                   "item-19",   "new-item",
                                                   "cat-0",     "cat-1",
                                                   "cat-new",   "view",
                                                   "like",      "dislike",
                                                   "rating",    "search",
                                                   "event-1",   "",
                                                   "\xFF",      "\xC3",
                                                   "a\nb",      "\xF0\x9F\x98\x80",
                                                   "request-1", std::string(1, '\0')};
  static const std::vector<int64_t> integers = {0,
                                                1,
                                                2,
                                                3,
                                                5,
                                                10,
                                                100,
                                                101,
                                                -1,
                                                kNowMs,
                                                kNowMs - 1,
                                                kNowMs + 90'000'000,
                                                1'600'000'000'000,
                                                std::numeric_limits<int32_t>::max(),
                                                std::numeric_limits<int32_t>::min(),
                                                std::numeric_limits<int64_t>::max(),
                                                std::numeric_limits<int64_t>::min()};
  static const std::vector<double> numbers = {0,     1,     -1,   0.5,   4.5,      1e6, -1e6,
                                              1.1e6, 1e-40, 3e38, -3e38, INFINITY, NAN};
  std::mt19937_64 random(seed);
  std::vector<Step> steps = ReadSteps(data, size);
  if (steps.empty() || random() % 16 == 0) return LLVMFuzzerMutate(data, size, max_size);
  Step& step = steps[random() % steps.size()];
  const uint64_t choice = random() % 16;
  if (choice == 0) {
    steps.push_back(step);
  } else if (choice == 1 && steps.size() > 1) {
    steps.erase(steps.begin() + static_cast<ptrdiff_t>(random() % steps.size()));
  } else if (choice == 2) {
    std::shuffle(steps.begin(), steps.end(), random);
  } else {
    WithTypes(step.method, [&](auto request, const auto&) {
      static_cast<void>(request.ParseFromString(step.request));  // what could be read is mutated
      for (uint64_t i = 0, n = 1 + random() % 3; i < n; ++i) {
        MutateMessage({strings, integers, numbers}, random, &request);
      }
      step.request = request.SerializeAsString();
    });
  }
  std::string input = WriteSteps(steps);
  if (input.size() > max_size) return size;
  std::copy(input.begin(), input.end(), data);
  return input.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  TestServer& server = CurrentServer();
  for (const Step& step : ReadSteps(data, size)) {
    WithTypes(step.method, [&](const auto& request, const auto& response) {
      ServeAndCheck<std::decay_t<decltype(request)>, std::decay_t<decltype(response)>>(server, step.method,
                                                                                       step.request);
    });
  }
  return 0;
}

#include "server/recommendation_service.h"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"
#include "engine/rating_predictor.h"
#include "engine/recommender.h"
#include "server/recommend_query.h"
#include "server/response_builder.h"

namespace swiftlet {
namespace {

using Clock = Call::Clock;

// Buffers of one thread, used again by every request that it answers.
struct ThreadBuffers {
  Scratch scratch;
  Recommendation result;
  std::vector<HistoryEvent> history;
  CachedUser user;
  RatingScratch rating_scratch;
  RatingPrediction prediction;
  QueryBuffers query;
  std::vector<ItemKey> items;
  std::vector<uint32_t> rows;
  std::vector<std::string_view> unknown_items;
  WireWriter response;
};

ThreadBuffers& Buffers() {
  thread_local ThreadBuffers buffers;
  return buffers;
}

absl::Status NoSnapshot() { return absl::FailedPreconditionError("no snapshot is loaded yet"); }

Clock::duration Since(Clock::time_point start) { return Clock::now() - start; }

}  // namespace

grpc::ServerUnaryReactor* RecommendationService::Recommend(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* in,
                                                           grpc::ByteBuffer* out) {
  return ServeInline<v1::RecommendRequest>(
      core_->gate, Method::kRecommend, context, in, out,
      [this](const Call& call, const v1::RecommendRequest& request) { Serve(call, request); });
}

grpc::ServerUnaryReactor* RecommendationService::ScoreItems(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* in,
                                                            grpc::ByteBuffer* out) {
  return ServeInline<v1::ScoreItemsRequest>(
      core_->gate, Method::kScoreItems, context, in, out,
      [this](const Call& call, const v1::ScoreItemsRequest& request) { Serve(call, request); });
}

grpc::ServerUnaryReactor* RecommendationService::Predict(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeInline<v1::PredictRequest>(
      core_->gate, Method::kPredict, context, in, out,
      [this](const Call& call, const v1::PredictRequest& request) { Serve(call, request); });
}

grpc::ServerUnaryReactor* RecommendationService::SimilarItems(grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* in,
                                                              grpc::ByteBuffer* out) {
  return ServeInline<v1::SimilarItemsRequest>(
      core_->gate, Method::kSimilarItems, context, in, out,
      [this](const Call& call, const v1::SimilarItemsRequest& request) { AnswerSimilar(call, request); });
}

template <typename Request>
void RecommendationService::Serve(const Call& call, const Request& request) {
  const Clock::time_point start = Clock::now();
  call.SetRequestId(request.request_id());
  call.SetUser(request.user_id());
  const int64_t now_ms = core_->now_ms();
  if (absl::Status status = core_->validator.Check(request, now_ms); !status.ok()) return call.Finish(status);
  std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
  if (state == nullptr) return call.Finish(NoSnapshot());

  if (request.has_history()) {
    const UserState user{.history = InlineEvents(request.history(), core_->event_types,
                                                 static_cast<size_t>(core_->limits.max_history_events),
                                                 now_ms, Buffers().history),
                         .long_term = {}};
    call.Passed(Stage::kUserState, Since(start));
    return Answer(call, request, state, user);
  }
  // Threads that read the store answer users who were not asked for lately: they keep no user vectors.
  Buffers().scratch.user_vectors.Configure(core_->user_vector_memo_bytes, core_->user_vector_memo_seed);
  if (CachedUser& user = Buffers().user; core_->users->Find(request.user_id(), state->user_vectors, &user)) {
    call.Passed(Stage::kUserState, Since(start));
    return Answer(call, request, state, user.State());
  }
  state.reset();  // not kept while the call waits for a reader
  const auto owned = std::make_shared<const Request>(request);
  call.SetRequestId(owned->request_id());
  call.SetUser(owned->user_id());
  core_->gate.readers.Schedule(call, [this, call, owned](Clock::duration waited) {
    call.Passed(Stage::kPoolWait, waited);
    ServeFromStore(call, *owned);
  });
}

template <typename Request>
void RecommendationService::ServeFromStore(const Call& call, const Request& request) {
  const Clock::time_point start = Clock::now();
  // The state is held while the store is read, so its version's user vectors stay: they are dropped after the
  // drain.
  const std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
  if (state == nullptr) return call.Finish(NoSnapshot());
  CachedUser& user = Buffers().user;
  if (absl::Status status = core_->users->Get(request.user_id(), state->user_vectors, &user); !status.ok()) {
    return call.Finish(status);
  }
  call.Passed(Stage::kUserState, Since(start));
  Answer(call, request, state, user.State());
}

void RecommendationService::Answer(const Call& call, const v1::RecommendRequest& request,
                                   const std::shared_ptr<const ServingState>& serving,
                                   const UserState& user) {
  const ServingState& state = *serving;
  const Clock::time_point start = Clock::now();
  ThreadBuffers& buffers = Buffers();
  RecommendQuery query = QueryOf(request, core_->search.Load(), buffers.query);
  query.reuse_user_vector = !request.has_history();
  if (absl::Status status =
          swiftlet::Recommend(*state.snapshot, *state.view, query, user, buffers.scratch, &buffers.result);
      !status.ok()) {
    return call.Finish(status);
  }
  const Clock::time_point retrieved = Clock::now();
  call.Passed(Stage::kEncodeRetrieve, retrieved - start);
  call.metrics().CountSource(buffers.result.source);
  if (buffers.result.user_vector_reused) call.metrics().CountUserVectorReused();
  call.metrics().CountSearch(SearchMethod::kRecommend, buffers.result.retrieval);
  if (core_->recall != nullptr && core_->recall->Chosen()) {
    core_->recall->AddRecommend(serving, query, user, buffers.result);
  }

  WireWriter& response = buffers.response;
  response.Clear();
  WriteRecommendation(request, call.request_id(), state.snapshot->version(), *state.view, core_->event_types,
                      buffers.result, user.history, &response);
  call.Passed(Stage::kRespond, Since(retrieved));
  call.Finish(response.bytes());
}

void RecommendationService::Answer(const Call& call, const v1::ScoreItemsRequest& request,
                                   const std::shared_ptr<const ServingState>& serving,
                                   const UserState& user) {
  const ServingState& state = *serving;
  const Clock::time_point start = Clock::now();
  ThreadBuffers& buffers = Buffers();
  buffers.rows.clear();
  buffers.unknown_items.clear();
  for (const std::string& id : request.item_ids()) {
    const std::optional<uint32_t> row = state.view->FindRow(ItemKeyOf(id));
    if (row.has_value() && !state.view->IsMasked(*row)) {
      buffers.rows.push_back(*row);
    } else {
      buffers.unknown_items.push_back(id);
    }
  }
  RecommendQuery query;
  query.k = 1;
  query.context_items = KeysOf(request.context().item_ids(), buffers.query.context_items);
  query.explain = request.explain();
  if (absl::Status status = swiftlet::ScoreItems(*state.snapshot, *state.view, query, user, buffers.rows,
                                                 buffers.scratch, &buffers.result);
      !status.ok()) {
    return call.Finish(status);
  }
  const Clock::time_point scored = Clock::now();
  call.Passed(Stage::kEncodeRetrieve, scored - start);
  using Response = v1::ScoreItemsResponse;
  WireWriter& response = buffers.response;
  response.Clear();
  response.AddString(Response::kRequestIdFieldNumber, call.request_id());
  response.AddVarint(Response::kSnapshotVersionFieldNumber, static_cast<uint64_t>(state.snapshot->version()));
  for (size_t i = buffers.unknown_items.size(); i-- > 0;) {
    response.AddElement(Response::kUnknownItemIdsFieldNumber, buffers.unknown_items[i]);
  }
  AddItems(*state.view, core_->event_types, buffers.result, user.history,
           {.explain = request.explain(), .include_metadata = request.include_metadata()},
           Response::kItemsFieldNumber, &response);
  call.Passed(Stage::kRespond, Since(scored));
  call.Finish(response.bytes());
}

void RecommendationService::Answer(const Call& call, const v1::PredictRequest& request,
                                   const std::shared_ptr<const ServingState>& serving,
                                   const UserState& user) {
  const ServingState& state = *serving;
  const Clock::time_point start = Clock::now();
  ThreadBuffers& buffers = Buffers();
  const std::span<const ItemKey> items = KeysOf(request.item_ids(), buffers.items);
  if (absl::Status status =
          PredictRatings(*state.snapshot, user, items, buffers.rating_scratch, &buffers.prediction);
      !status.ok()) {
    return call.Finish(status);
  }
  const Clock::time_point predicted = Clock::now();
  call.Passed(Stage::kEncodeRetrieve, predicted - start);
  using Response = v1::PredictResponse;
  using Item = v1::PredictedRating;
  const RatingTables& tables = state.snapshot->rating_model()->tables();
  WireWriter& response = buffers.response;
  response.Clear();
  response.AddFloat(Response::kMaxRatingFieldNumber, tables.max);
  response.AddFloat(Response::kMinRatingFieldNumber, tables.min);
  response.AddVarint(Response::kNumRatingsUsedFieldNumber, buffers.prediction.num_ratings_used);
  response.AddString(Response::kRequestIdFieldNumber, call.request_id());
  response.AddVarint(Response::kSnapshotVersionFieldNumber, static_cast<uint64_t>(state.snapshot->version()));
  for (size_t i = items.size(); i-- > 0;) {
    const PredictedRating& predicted_rating = buffers.prediction.ratings[i];
    const size_t before = response.size();
    if (request.include_metadata()) {
      const std::optional<uint32_t> row = state.view->FindRow(items[i]);
      if (row.has_value() && !state.view->IsMasked(*row)) {
        AddMetadata(*state.view, *row, Item::kMetadataFieldNumber, &response);
      }
    }
    response.AddVarint(Item::kUnknownItemFieldNumber, predicted_rating.known_item ? 0 : 1);
    response.AddFloat(Item::kRatingFieldNumber, predicted_rating.rating);
    response.AddString(Item::kItemIdFieldNumber, request.item_ids(static_cast<int>(i)));
    response.EndMessage(Response::kRatingsFieldNumber, before);
  }
  call.Passed(Stage::kRespond, Since(predicted));
  call.Finish(response.bytes());
}

void RecommendationService::AnswerSimilar(const Call& call, const v1::SimilarItemsRequest& request) {
  call.SetRequestId(request.request_id());
  if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
  const std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
  if (state == nullptr) return call.Finish(NoSnapshot());
  const std::optional<uint32_t> row = state->view->FindRow(ItemKeyOf(request.item_id()));
  if (!row.has_value() || state->view->IsMasked(*row)) {
    return call.Finish(absl::NotFoundError(absl::StrCat("item_id: ", Quoted(request.item_id()),
                                                        row.has_value() ? " is deleted" : " has no vector",
                                                        " in snapshot ", state->snapshot->version())));
  }
  const Clock::time_point start = Clock::now();
  ThreadBuffers& buffers = Buffers();
  RecommendQuery query;
  query.k = static_cast<uint32_t>(request.k());
  SetFilter(request.filter(), buffers.query, query);
  query.search = SearchOf(core_->search.Load(), request.search());
  if (absl::Status status = swiftlet::SimilarItems(*state->snapshot, *state->view, query, *row,
                                                   buffers.scratch, &buffers.result);
      !status.ok()) {
    return call.Finish(status);
  }
  const Clock::time_point retrieved = Clock::now();
  call.Passed(Stage::kEncodeRetrieve, retrieved - start);
  call.metrics().CountSearch(SearchMethod::kSimilarItems, buffers.result.retrieval);
  if (core_->recall != nullptr && core_->recall->Chosen()) {
    core_->recall->AddSimilarItems(state, query, *row, buffers.result);
  }
  using Response = v1::SimilarItemsResponse;
  WireWriter& response = buffers.response;
  response.Clear();
  response.AddVarint(Response::kProvenExactFieldNumber, buffers.result.retrieval.proven_exact);
  response.AddString(Response::kRequestIdFieldNumber, call.request_id());
  response.AddVarint(Response::kSnapshotVersionFieldNumber,
                     static_cast<uint64_t>(state->snapshot->version()));
  AddItems(*state->view, core_->event_types, buffers.result, {},
           {.explain = false, .include_metadata = request.include_metadata(), .include_source = false},
           Response::kItemsFieldNumber, &response);
  call.Passed(Stage::kRespond, Since(retrieved));
  call.Finish(response.bytes());
}

}  // namespace swiftlet

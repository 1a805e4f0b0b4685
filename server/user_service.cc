#include "server/user_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"

namespace swiftlet {

grpc::ServerUnaryReactor* UserService::GetUser(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnReader<v1::GetUserRequest>(
      core_->gate, Method::kGetUser, context, in, out, [this](const Call& call, v1::GetUserRequest& request) {
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        const std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
        CachedUser user;
        if (absl::Status status = core_->users->Get(
                request.user_id(), state == nullptr ? UserVectorsId() : state->user_vectors, &user);
            !status.ok()) {
          return call.Finish(status);
        }
        std::span<const HistoryEvent> history = user.history;
        if (history.empty()) {
          return call.Finish(
              absl::NotFoundError(absl::StrCat("user_id: ", Quoted(request.user_id()), " has no events")));
        }
        if (request.max_events() > 0) {
          history = history.last(std::min(history.size(), static_cast<size_t>(request.max_events())));
        }
        std::vector<ItemKey> keys;
        keys.reserve(history.size());
        for (const HistoryEvent& event : history) keys.push_back(event.item_key);
        absl::StatusOr<std::vector<std::string>> ids = core_->database->ReadItemIds(keys);
        if (!ids.ok()) return call.Finish(ids.status());

        v1::GetUserResponse response;
        response.set_user_id(request.user_id());
        response.set_has_long_term_vector(!user.long_term.empty());
        for (size_t i = history.size(); i-- > 0;) {
          v1::Event* event = response.add_events();
          std::string& id = (*ids)[i];
          if (id.empty() && state != nullptr) {
            if (const auto row = state->view->FindRow(keys[i]); row.has_value())
              id = state->view->ItemId(*row);
          }
          event->set_item_id(std::move(id));
          if (const EventType* type = core_->event_types.FindById(history[i].type); type != nullptr) {
            event->set_type(type->name);
          }
          event->set_value(history[i].value);
          event->set_timestamp_ms(history[i].timestamp_ms);
        }
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* UserService::DeleteUser(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::DeleteUserRequest>(
      core_->gate, Method::kDeleteUser, context, in, out,
      [this](const Call& call, v1::DeleteUserRequest& request) {
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        // Snapshots that are not loaded now, and may be later, hold what they were trained on before this
        // too.
        if (const auto snapshots = core_->snapshots->List(); snapshots.ok()) {
          for (const SnapshotSummary& snapshot : *snapshots) {
            if (snapshot.manifest.has_value()) {
              core_->database->EraseThrough(snapshot.manifest->trained_through_ms);
            }
          }
        }
        if (absl::Status status = core_->users->DeleteUser(request.user_id(), core_->now_ms());
            !status.ok()) {
          return call.Finish(status);
        }
        call.Finish(v1::DeleteUserResponse());
      });
}

}  // namespace swiftlet

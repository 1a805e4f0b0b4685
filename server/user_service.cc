#include "server/user_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"
#include "server/user_events.h"

namespace swiftlet {

grpc::ServerUnaryReactor* UserService::GetUser(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnReader<v1::GetUserRequest>(
      core_->gate, Method::kGetUser, context, in, out, [this](const Call& call, v1::GetUserRequest& request) {
        call.Note("user_id", request.user_id());
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        const std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
        CachedUser user;
        if (absl::Status status = call.Run(
                Stage::kStore,
                [&] {
                  return core_->users->Get(request.user_id(),
                                           state == nullptr ? UserVectorsId() : state->user_vectors, &user);
                });
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
        v1::GetUserResponse response;
        response.set_user_id(request.user_id());
        response.set_has_long_term_vector(!user.long_term.empty());
        if (absl::Status status = AddUserEvents(*core_, history, response.mutable_events()); !status.ok()) {
          return call.Finish(status);
        }
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* UserService::DeleteUser(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::DeleteUserRequest>(
      core_->gate, Method::kDeleteUser, context, in, out,
      [this](const Call& call, v1::DeleteUserRequest& request) {
        call.Note("user_id", request.user_id());
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
        if (absl::Status status = call.Run(
                Stage::kStore, [&] { return core_->users->DeleteUser(request.user_id(), core_->now_ms()); });
            !status.ok()) {
          return call.Finish(status);
        }
        call.Finish(v1::DeleteUserResponse());
      });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* UserService::ExportUser(grpc::CallbackServerContext* context,
                                                                    const grpc::ByteBuffer* in) {
  const std::shared_ptr<AuditRecord> record = NewAuditRecord(core_->gate, Method::kExportUser, *context);
  v1::ExportUserRequest request;
  absl::Status admitted;
  if (core_->gate.draining.load()) {
    core_->gate.metrics->CountRefusal(Method::kExportUser, Refusal::kShuttingDown);
    admitted = absl::UnavailableError("the server is shutting down");
  } else if (core_->gate.access != nullptr) {
    admitted = Authorize(core_->gate, Method::kExportUser, *context, record.get());
  }
  if (admitted.ok()) admitted = ParseRequest(*in, &request);
  if (admitted.ok()) admitted = core_->validator.Check(request);
  std::shared_ptr<ExportUserStream> stream;
  {
    MutexLock lock(mu_);
    if (admitted.ok() && exports_.size() >= kMaxExports) {
      core_->gate.metrics->CountRefusal(Method::kExportUser, Refusal::kMethodLimit);
      admitted = absl::ResourceExhaustedError(absl::StrCat(kMaxExports, " exports are running, retry later"));
    }
    stream = std::make_shared<ExportUserStream>(core_, record, [this](ExportUserStream* done) {
      MutexLock done_lock(mu_);
      exports_.erase(done);
    });
    if (admitted.ok()) exports_.emplace(stream.get(), stream);
  }
  stream->Start(admitted, request.user_id());
  return stream.get();
}

void UserService::StopExports() {
  std::vector<std::shared_ptr<ExportUserStream>> running;
  {
    MutexLock lock(mu_);
    for (const auto& [key, stream] : exports_) running.push_back(stream);
  }
  for (const std::shared_ptr<ExportUserStream>& stream : running) {
    stream->Stop(absl::UnavailableError("the server is shutting down"));
  }
}

}  // namespace swiftlet

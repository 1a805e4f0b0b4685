#include "server/admin_service.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/kernels/cpu_target.h"
#include "server/version.h"

namespace swiftlet {
namespace {

v1::SnapshotState ToProto(SnapshotState state) {
  switch (state) {
    case SnapshotState::kAvailable:
      return v1::SNAPSHOT_STATE_AVAILABLE;
    case SnapshotState::kLoading:
      return v1::SNAPSHOT_STATE_LOADING;
    case SnapshotState::kWarming:
      return v1::SNAPSHOT_STATE_WARMING;
    case SnapshotState::kServing:
      return v1::SNAPSHOT_STATE_SERVING;
    case SnapshotState::kDraining:
      return v1::SNAPSHOT_STATE_DRAINING;
    case SnapshotState::kRetired:
      return v1::SNAPSHOT_STATE_RETIRED;
    case SnapshotState::kFailed:
      return v1::SNAPSHOT_STATE_FAILED;
  }
  return v1::SNAPSHOT_STATE_UNSPECIFIED;
}

void ToProto(const SnapshotSummary& summary, v1::SnapshotInfo* info) {
  info->set_version(summary.version);
  info->set_state(ToProto(summary.state));
  info->set_error(summary.error);
  info->set_pinned(summary.pinned);
  if (!summary.manifest.has_value()) return;
  const Manifest& manifest = *summary.manifest;
  info->set_model_kind(manifest.model_kind);
  info->set_dim(static_cast<int32_t>(manifest.dim));
  info->set_num_items(static_cast<int64_t>(manifest.num_items));
  info->set_num_users(static_cast<int64_t>(manifest.num_users));
  info->set_created_ms(manifest.created_ms);
  uint64_t size_bytes = 0;
  for (const auto& [name, file] : manifest.files) size_bytes += file.bytes;
  info->set_size_bytes(static_cast<int64_t>(size_bytes));
  info->mutable_metrics()->insert(manifest.metrics.begin(), manifest.metrics.end());
}

void ToProto(const BackupInfo& from, v1::BackupInfo* to) {
  to->set_id(from.id);
  to->set_created_ms(from.created_ms);
  to->set_size_bytes(static_cast<int64_t>(from.bytes));
  to->set_num_files(static_cast<int32_t>(from.num_files));
}

v1::ListBackupsResponse ToProto(const BackupState& state, const std::string& directory) {
  v1::ListBackupsResponse response;
  for (const BackupInfo& info : state.list.backups) {
    v1::BackupInfo* backup = response.add_backups();
    ToProto(info, backup);
    backup->set_damaged(state.found_damaged.contains(info.id));
  }
  for (const uint32_t id : state.list.damaged) {
    v1::BackupInfo* info = response.add_backups();
    info->set_id(id);
    info->set_damaged(true);
  }
  std::sort(response.mutable_backups()->begin(), response.mutable_backups()->end(),
            [](const v1::BackupInfo& a, const v1::BackupInfo& b) { return a.id() > b.id(); });
  if (state.running.has_value()) {
    v1::BackupJob* job = response.mutable_running();
    job->set_kind(state.running->work == BackupWork::kCreate ? "create" : "verify");
    job->set_start_time_ms(state.running->start_time_ms);
    job->set_num_bytes(static_cast<int64_t>(state.running->num_bytes));
  }
  response.set_directory(directory);
  response.set_last_error(state.last_error);
  return response;
}

// Answers a call with the work's result.
template <typename Response>
BackupManager::OnDone FinishWith(const Call& call) {
  return [call](absl::StatusOr<BackupDone> done) {
    if (!done.ok()) return call.Finish(done.status());
    Response response;
    ToProto(done->backup, response.mutable_backup());
    response.set_seconds(absl::ToDoubleSeconds(done->took));
    call.Finish(response);
  };
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::ListSnapshots(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::ListSnapshotsRequest>(
      core_->gate, Method::kListSnapshots, context, in, out,
      [this](const Call& call, v1::ListSnapshotsRequest&) {
        const absl::StatusOr<std::vector<SnapshotSummary>> summaries = core_->snapshots->List();
        if (!summaries.ok()) return call.Finish(summaries.status());
        v1::ListSnapshotsResponse response;
        for (const SnapshotSummary& summary : *summaries) ToProto(summary, response.add_snapshots());
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* AdminService::LoadSnapshot(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeInline<v1::LoadSnapshotRequest>(
      core_->gate, Method::kLoadSnapshot, context, in, out,
      [this](const Call& call, const v1::LoadSnapshotRequest& request) {
        call.Note("version", absl::StrCat(request.version()));
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        const auto start = std::chrono::steady_clock::now();
        core_->snapshots->LoadSnapshot(
            request.version(), [call, start](absl::StatusOr<SnapshotSummary> summary) {
              if (!summary.ok()) return call.Finish(summary.status());
              v1::LoadSnapshotResponse response;
              ToProto(*summary, response.mutable_snapshot());
              response.set_seconds(
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
              call.Finish(response);
            });
      });
}

grpc::ServerUnaryReactor* AdminService::GetStatus(grpc::CallbackServerContext* context,
                                                  const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::GetStatusRequest>(
      core_->gate, Method::kGetStatus, context, in, out, [this](const Call& call, v1::GetStatusRequest&) {
        v1::GetStatusResponse response;
        response.set_server_version(kServerVersion);
        response.set_start_time_ms(core_->start_time_ms);
        if (const std::optional<SnapshotSummary> serving = core_->snapshots->Serving(); serving.has_value()) {
          ToProto(*serving, response.mutable_serving());
        }
        response.set_draining(core_->gate.draining.load());
        response.set_cpu_target(ActiveCpuTarget());
        if (const std::shared_ptr<const ServingState> state = core_->catalog->Acquire(); state != nullptr) {
          response.set_num_overlay_items(static_cast<int64_t>(state->view->num_overlay_items()));
          response.set_num_items_without_vector(
              static_cast<int64_t>(state->view->num_items_without_vector()));
        }
        const UserCacheStats cache = core_->users->Stats();
        response.set_user_cache_entries(static_cast<int64_t>(cache.entries));
        response.set_user_cache_bytes(static_cast<int64_t>(cache.bytes));
        response.set_last_load_error(core_->snapshots->last_error());
        response.set_resident_bytes(ResidentBytes());
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* AdminService::CreateBackup(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeInline<v1::CreateBackupRequest>(core_->gate, Method::kCreateBackup, context, in, out,
                                              [this](const Call& call, const v1::CreateBackupRequest&) {
                                                core_->backups->Create(
                                                    [call] { return call.CheckWanted(); },
                                                    FinishWith<v1::CreateBackupResponse>(call));
                                              });
}

grpc::ServerUnaryReactor* AdminService::ListBackups(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::ListBackupsRequest>(
      core_->gate, Method::kListBackups, context, in, out, [this](const Call& call, v1::ListBackupsRequest&) {
        const absl::StatusOr<BackupState> state = core_->backups->List();
        if (!state.ok()) return call.Finish(state.status());
        call.Finish(ToProto(*state, core_->backups->directory()));
      });
}

grpc::ServerUnaryReactor* AdminService::VerifyBackup(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeInline<v1::VerifyBackupRequest>(
      core_->gate, Method::kVerifyBackup, context, in, out,
      [this](const Call& call, const v1::VerifyBackupRequest& request) {
        call.Note("id", absl::StrCat(request.id()));
        core_->backups->Verify(
            request.id(), [call] { return call.CheckWanted(); }, FinishWith<v1::VerifyBackupResponse>(call));
      });
}

grpc::ServerUnaryReactor* AdminService::PreviewSnapshot(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeInline<v1::PreviewSnapshotRequest>(
      core_->gate, Method::kPreviewSnapshot, context, in, out,
      [this](const Call& call, const v1::PreviewSnapshotRequest& request) {
        call.Note("version", absl::StrCat(request.version()));
        call.Note("user_id", request.request().user_id());
        if (absl::Status status = core_->validator.Check(request, core_->now_ms()); !status.ok()) {
          return call.Finish(status);
        }
        const auto owned = std::make_shared<const v1::PreviewSnapshotRequest>(request);
        call.SetRequestId(owned->request().request_id());
        call.SetUser(owned->request().user_id());
        core_->preview->Recommend(
            owned, core_->search.Load(), [call] { return call.CheckWanted(); },
            [call, owned](absl::StatusOr<v1::PreviewSnapshotResponse> answer) {
              if (!answer.ok()) return call.Finish(answer.status());
              if (answer->response().request_id().empty()) {
                answer->mutable_response()->set_request_id(std::string(call.request_id()));
              }
              call.Finish(*answer);
            });
      });
}

}  // namespace swiftlet

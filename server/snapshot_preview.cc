#include "server/snapshot_preview.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/background_jobs.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/model_directory.h"
#include "server/snapshot_files.h"
#include "spdlog/spdlog.h"
#include "storage/user_vector_file.h"

namespace swiftlet {
namespace {

// How much later changes of the catalogue may be seen.
constexpr absl::Duration kCatalogAge = absl::Seconds(5);

absl::Status ShuttingDown() { return absl::UnavailableError("the server is shutting down"); }

}  // namespace

struct SnapshotPreview::Loaded {
  std::shared_ptr<const ModelSnapshot> snapshot;
  std::string stamp;                        // of its files, which may be replaced under the same number
  std::shared_ptr<const CatalogView> view;  // borrows from `snapshot`
  absl::Time view_time;
  std::unique_ptr<UserVectorFileReader> user_vectors;  // null: it has none
};

SnapshotPreview::SnapshotPreview(Options options, const EventTypeTable& event_types, Database* database,
                                 CatalogManager* catalog)
    : options_(std::move(options)),
      event_types_(event_types),
      database_(database),
      catalog_(catalog),
      thread_([this] { Run(); }) {}

SnapshotPreview::~SnapshotPreview() {
  Stop();
  thread_.join();
}

void SnapshotPreview::Stop() {
  std::deque<Ask> refused;
  {
    MutexLock lock(mu_);
    stopping_ = true;
    refused.swap(waiting_);
  }
  wake_.NotifyAll();
  for (const Ask& ask : refused) ask.done(ShuttingDown());
}

bool SnapshotPreview::stopping() const {
  MutexLock lock(mu_);
  return stopping_;
}

int64_t SnapshotPreview::loaded_version() const {
  MutexLock lock(mu_);
  return loaded_version_;
}

void SnapshotPreview::Recommend(std::shared_ptr<const v1::PreviewSnapshotRequest> request,
                                const SearchOptions& search, std::function<absl::Status()> wanted,
                                Done done) {
  absl::Status refused;
  {
    MutexLock lock(mu_);
    if (stopping_) {
      refused = ShuttingDown();
    } else if (waiting_.size() >= kMaxWaiting) {
      refused = absl::ResourceExhaustedError(absl::StrCat(kMaxWaiting, " previews wait, retry later"));
    } else {
      waiting_.push_back({std::move(request), search, std::move(wanted), std::move(done)});
    }
  }
  if (!refused.ok()) return done(std::move(refused));
  wake_.NotifyAll();
}

void SnapshotPreview::Run() {
  LowerThreadPriority();
  absl::Time last_call = absl::InfinitePast();
  for (;;) {
    std::optional<Ask> ask;
    {
      MutexLock lock(mu_);
      while (!stopping_ && waiting_.empty()) {
        if (loaded_ == nullptr) {
          wake_.Wait(mu_);
        } else if (const absl::Duration left = last_call + options_.keep - absl::Now();
                   left > absl::ZeroDuration()) {
          wake_.WaitFor(mu_, left);
        } else {
          break;  // nobody asks any more
        }
      }
      if (stopping_) return;  // Stop has refused what waited
      if (!waiting_.empty()) {
        ask = std::move(waiting_.front());
        waiting_.pop_front();
      }
    }
    if (ask.has_value()) {
      absl::Status wanted = ask->wanted();
      ask->done(wanted.ok() ? Answer(*ask) : std::move(wanted));
      last_call = absl::Now();
    } else {
      spdlog::info("snapshot {} is not previewed any more", loaded_->snapshot->version());
      loaded_.reset();
    }
    MutexLock lock(mu_);
    loaded_version_ = loaded_ == nullptr ? 0 : loaded_->snapshot->version();
  }
}

absl::StatusOr<v1::PreviewSnapshotResponse> SnapshotPreview::Answer(const Ask& ask) {
  const v1::RecommendRequest& request = ask.request->request();
  const int64_t version = ask.request->version();
  const absl::Time start = absl::Now();
  SWIFTLET_RETURN_IF_ERROR(Load(ask));
  const double load_seconds = absl::ToDoubleSeconds(absl::Now() - start);
  UserState user;
  if (request.has_history()) {
    user.history = InlineEvents(request.history(), event_types_, options_.max_history_events,
                                options_.now_ms(), user_.history);
  } else {
    SWIFTLET_RETURN_IF_ERROR(ReadUser(request.user_id()));
    user = user_.State();
  }
  const RecommendQuery query = QueryOf(request, ask.search, buffers_);
  SWIFTLET_RETURN_IF_ERROR(
      swiftlet::Recommend(*loaded_->snapshot, *loaded_->view, query, user, scratch_, &result_));
  writer_.Clear();
  WriteRecommendation(request, request.request_id(), version, *loaded_->view, event_types_, result_,
                      user.history, &writer_);
  v1::PreviewSnapshotResponse response;
  const std::string_view bytes = writer_.bytes();
  if (!response.mutable_response()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InternalError("the recommendation cannot be read back");
  }
  response.set_load_seconds(load_seconds);
  return response;
}

absl::Status SnapshotPreview::Load(const Ask& ask) {
  const ModelDirectory directory(options_.model_dir);
  const int64_t version = ask.request->version();
  SWIFTLET_RETURN_IF_ERROR(CheckHasVersion(directory, version));
  const std::string stamp = FilesStamp(directory, version);
  if (loaded_ == nullptr || loaded_->snapshot->version() != version || loaded_->stamp != stamp) {
    loaded_.reset();  // first: never two of them
    // On this thread, whose priority is low; step by step, so that it can be given up.
    BackgroundJobs jobs({.max_read_bytes_per_second = options_.read_bytes_per_second,
                         .stopped = [&] { return stopping() || !ask.wanted().ok(); }});
    auto loaded = std::make_unique<Loaded>();
    loaded->stamp = stamp;
    absl::StatusOr<std::shared_ptr<const ModelSnapshot>> snapshot = ModelSnapshot::Load(
        directory.VersionPath(version), {.jobs = &jobs, .check_user_vectors = UserVectorsCheck});
    if (absl::IsCancelled(snapshot.status())) {
      absl::Status wanted = ask.wanted();
      return wanted.ok() ? ShuttingDown() : wanted;
    }
    absl::Status status = snapshot.status();
    if (status.ok()) status = CheckEventTypes((*snapshot)->manifest(), event_types_);
    if (status.ok() && (*snapshot)->version() != version) {
      status = absl::DataLossError(absl::StrCat("its manifest says version ", (*snapshot)->version()));
    }
    if (!status.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("snapshot ", version, " cannot be loaded: ", status.message()));
    }
    loaded->snapshot = *std::move(snapshot);
    if (const std::string& path = loaded->snapshot->user_vectors_path(); !path.empty()) {
      loaded->user_vectors = std::make_unique<UserVectorFileReader>(path, loaded->snapshot->dim());
    }
    loaded_ = std::move(loaded);
    spdlog::info("snapshot {} is loaded beside what serves, to be previewed", version);
  }
  if (loaded_->view == nullptr || absl::Now() - loaded_->view_time > kCatalogAge) {
    const absl::Time now = absl::Now();
    SWIFTLET_ASSIGN_OR_RETURN(loaded_->view, catalog_->ViewOf(*loaded_->snapshot));
    loaded_->view_time = now;
  }
  return absl::OkStatus();
}

absl::Status SnapshotPreview::ReadUser(std::string_view user_id) {
  user_.long_term.clear();
  SWIFTLET_RETURN_IF_ERROR(database_->ReadHistory(user_id, &user_.history));
  if (loaded_->user_vectors == nullptr) return absl::OkStatus();
  SWIFTLET_RETURN_IF_ERROR(loaded_->user_vectors->Find(user_id, &user_.long_term));
  // Then the erasure: one that was acknowledged before this call is seen.
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t erased_ms, database_->ReadErasedMs(user_id));
  if (erased_ms > loaded_->snapshot->manifest().trained_through_ms) user_.long_term.clear();
  return absl::OkStatus();
}

}  // namespace swiftlet

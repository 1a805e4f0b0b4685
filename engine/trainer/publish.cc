#include "engine/trainer/publish.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {

namespace {

std::string WithoutTrailingSlash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

// Where staging directories lie: the model directory, or the parent of the output directory, which is on the
// same file system.
ModelDirectory StagingPlace(const Destination& destination) {
  if (!destination.models_dir.empty()) return ModelDirectory(destination.models_dir);
  const std::filesystem::path output = WithoutTrailingSlash(destination.output_dir);
  const std::string parent = output.parent_path().string();
  return ModelDirectory(parent.empty() ? "." : parent);
}

// One attempt. ALREADY_EXISTS when another trainer took the version in the meantime.
absl::StatusOr<Published> TryPublish(
    const Destination& destination, const ModelDirectory& models,
    const std::function<absl::Status(const std::string& directory, int64_t version)>& write) {
  const bool publish = !destination.models_dir.empty();
  SWIFTLET_ASSIGN_OR_RETURN(const std::string staging, models.CreateStaging());
  ScopedDirectory guard(staging);
  Published published{.version = 1, .path = WithoutTrailingSlash(destination.output_dir)};
  if (publish) {
    SWIFTLET_ASSIGN_OR_RETURN(published.version, models.NextVersion());
    published.path = models.VersionPath(published.version);
  }
  SWIFTLET_RETURN_IF_ERROR(write(staging, published.version));
  // Nothing is published that does not load.
  SWIFTLET_RETURN_IF_ERROR(ModelSnapshot::Load(staging, {}).status());
  SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
  if (publish) {
    SWIFTLET_RETURN_IF_ERROR(models.Publish(staging, published.version));
  } else {
    std::error_code error;
    std::filesystem::rename(staging, published.path, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat(staging, " -> ", published.path, ": ", error.message()));
    }
  }
  guard.Release();
  return published;
}

}  // namespace

absl::Status CheckDestination(const Destination& destination) {
  if (destination.models_dir.empty() == destination.output_dir.empty()) {
    return absl::InvalidArgumentError(
        "give --models DIR to publish, or --output DIR to write without publishing");
  }
  std::error_code error;
  if (!destination.output_dir.empty() && std::filesystem::exists(destination.output_dir, error)) {
    return absl::AlreadyExistsError(absl::StrCat("--output: ", destination.output_dir, " exists already"));
  }
  const ModelDirectory models = StagingPlace(destination);
  const bool existed = std::filesystem::exists(models.path(), error);
  SWIFTLET_RETURN_IF_ERROR(models.Create());
  absl::Status status = [&]() -> absl::Status {
    if (!destination.models_dir.empty()) SWIFTLET_RETURN_IF_ERROR(models.NextVersion().status());
    SWIFTLET_RETURN_IF_ERROR(models.CleanStaging());
    SWIFTLET_ASSIGN_OR_RETURN(const std::string staging, models.CreateStaging());
    const ScopedDirectory removed(staging);
    return absl::OkStatus();
  }();
  if (!existed) std::filesystem::remove(models.path(), error);  // empty: input may still turn out to be bad
  return status;
}

absl::StatusOr<Published> WriteAndPublish(
    const Destination& destination,
    const std::function<absl::Status(const std::string& directory, int64_t version)>& write) {
  SWIFTLET_RETURN_IF_ERROR(CheckDestination(destination));
  const ModelDirectory models = StagingPlace(destination);
  SWIFTLET_RETURN_IF_ERROR(models.Create());
  constexpr int kMaxAttempts = 20;
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<Published> published = TryPublish(destination, models, write);
    const bool taken = absl::IsAlreadyExists(published.status()) && !destination.models_dir.empty();
    if (!taken || attempt == kMaxAttempts) return published;
  }
}

}  // namespace swiftlet

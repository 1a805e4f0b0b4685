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

absl::Status CheckDestination(const Destination& destination) {
  if (destination.models_dir.empty() == destination.output_dir.empty()) {
    return absl::InvalidArgumentError(
        "give --models DIR to publish, or --output DIR to write without publishing");
  }
  std::error_code error;
  if (!destination.output_dir.empty() && std::filesystem::exists(destination.output_dir, error)) {
    return absl::AlreadyExistsError(absl::StrCat("--output: ", destination.output_dir, " exists already"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Published> WriteAndPublish(
    const Destination& destination,
    const std::function<absl::Status(const std::string& directory, int64_t version)>& write) {
  SWIFTLET_RETURN_IF_ERROR(CheckDestination(destination));
  const bool publish = !destination.models_dir.empty();
  // The staging directory lies beside its destination, on the same file system.
  std::string output = destination.output_dir;
  while (output.size() > 1 && output.ends_with('/')) output.pop_back();
  std::string parent = std::filesystem::path(output).parent_path().string();
  if (parent.empty()) parent = ".";
  const ModelDirectory models(publish ? destination.models_dir : parent);
  SWIFTLET_RETURN_IF_ERROR(models.Create());
  SWIFTLET_RETURN_IF_ERROR(models.CleanStaging());
  SWIFTLET_ASSIGN_OR_RETURN(const std::string staging, models.CreateStaging());
  ScopedDirectory guard(staging);
  Published published{.version = 1, .path = output};
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
    std::filesystem::rename(staging, output, error);
    if (error) return absl::UnavailableError(absl::StrCat(staging, " -> ", output, ": ", error.message()));
  }
  guard.Release();
  return published;
}

}  // namespace swiftlet

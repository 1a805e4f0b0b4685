#include "server/snapshot_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "server/validation.h"
#include "storage/user_vector_file.h"

namespace swiftlet {
namespace {

std::string FileStamp(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) return "-";
  return absl::StrCat(s.st_ino, ":", s.st_size, ":", s.st_mtim.tv_sec, ".", s.st_mtim.tv_nsec);
}

std::string StampOf(const ModelDirectory& models, int64_t version, const char* name) {
  return FileStamp(absl::StrCat(models.VersionPath(version), "/", name));
}

}  // namespace

std::string ManifestStamp(const ModelDirectory& models, int64_t version) {
  return StampOf(models, version, kManifestFile);
}

std::string FilesStamp(const ModelDirectory& models, int64_t version) {
  return absl::StrCat(StampOf(models, version, kManifestFile), " ", StampOf(models, version, kModelFile), " ",
                      StampOf(models, version, kUserVectorsFile));
}

std::string CurrentStamp(const ModelDirectory& models) { return FileStamp(models.path() + "/CURRENT"); }

bool HasItsFiles(const ModelDirectory& models, int64_t version) {
  const std::string directory = models.VersionPath(version);
  const absl::StatusOr<Manifest> manifest = ReadManifest(directory);
  if (!manifest.ok()) return true;
  for (const auto& [name, file] : manifest->files) {
    struct stat s;
    if (stat(absl::StrCat(directory, "/", name).c_str(), &s) != 0) return errno != ENOENT;
    if (static_cast<uint64_t>(s.st_size) != file.bytes) return false;
  }
  return true;
}

absl::Status CheckHasVersion(const ModelDirectory& models, int64_t version) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, models.ListVersions());
  if (std::find(versions.begin(), versions.end(), version) != versions.end()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("version: ", version, " is not in ", models.path(), ", which has ",
                                          versions.empty() ? "none" : absl::StrJoin(versions, ", ")));
}

absl::Status CheckEventTypes(const Manifest& manifest, const EventTypeTable& ours) {
  for (const EventType& type : manifest.event_types) {
    const EventType* const same_id = ours.FindById(type.id);
    if (same_id != nullptr && same_id->name != type.name) {
      return absl::FailedPreconditionError(absl::StrCat("event type ", int{type.id}, " is \"", type.name,
                                                        "\" in the snapshot and \"", same_id->name,
                                                        "\" in this server's configuration"));
    }
  }
  return absl::OkStatus();
}

BackgroundJobs::Job UserVectorsCheck(const Manifest& manifest, const std::string& path) {
  constexpr uint64_t kUsersAStep = 256;
  struct Progress {
    Progress(const std::string& path, uint32_t dim) : reader(path, dim) {}
    UserVectorFileReader reader;
    uint64_t num_users = 0;
  };
  const auto progress = std::make_shared<Progress>(path, manifest.dim);
  return [progress, path, expected = manifest.num_users]() -> absl::StatusOr<bool> {
    uint64_t& num_users = progress->num_users;
    const auto check = [&](std::string_view user_id, std::span<const float> vector) -> absl::Status {
      if (!IsValidId(user_id)) {
        return absl::DataLossError(absl::StrCat(path, ": user ", num_users, " of the file: the id has ",
                                                user_id.size(), " bytes; expected 1 to ", kMaxIdBytes,
                                                " of UTF-8 without NUL"));
      }
      ++num_users;
      for (size_t i = 0; i < vector.size(); ++i) {
        if (std::isfinite(vector[i])) continue;
        return absl::DataLossError(absl::StrCat(path, ": user ", Quoted(std::string(user_id)), ": element ",
                                                i, ": expected a finite number, found ", vector[i]));
      }
      return absl::OkStatus();
    };
    SWIFTLET_ASSIGN_OR_RETURN(const bool more, progress->reader.Read(kUsersAStep, check));
    if (more || num_users == expected) return more;
    return absl::DataLossError(
        absl::StrCat(path, ": num_users: expected ", expected, " (manifest), found ", num_users));
  };
}

}  // namespace swiftlet

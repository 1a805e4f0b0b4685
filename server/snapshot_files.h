// What the snapshot manager asks of a model directory's files, without loading them.
#ifndef SWIFTLET_SERVER_SNAPSHOT_FILES_H_
#define SWIFTLET_SERVER_SNAPSHOT_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "engine/base/background_jobs.h"
#include "engine/event_types.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/model_directory.h"

namespace swiftlet {

// Stamps change whenever a file is replaced or written; "-" stands for a missing one.
std::string ManifestStamp(const ModelDirectory& models, int64_t version);
std::string FilesStamp(const ModelDirectory& models, int64_t version);
std::string CurrentStamp(const ModelDirectory& models);

// False when a file that the manifest names is missing or has another size: cheap, no file but the manifest
// is read. True when in doubt, as after an I/O error: on this, versions are deleted.
bool HasItsFiles(const ModelDirectory& models, int64_t version);

// NOT_FOUND, saying which there are, when there is no such version.
absl::Status CheckHasVersion(const ModelDirectory& models, int64_t version);

// FAILED_PRECONDITION when a snapshot calls an event type otherwise than the server's configuration does.
absl::Status CheckEventTypes(const Manifest& manifest, const EventTypeTable& ours);

// A job that reads the whole file of user vectors: DATA_LOSS, naming the file and the user, unless there are
// as many as the manifest says, each of its dimension and of finite numbers.
BackgroundJobs::Job UserVectorsCheck(const Manifest& manifest, const std::string& path);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SNAPSHOT_FILES_H_

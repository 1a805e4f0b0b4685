// The directory that a trainer publishes snapshots into and servers load from:
//
//   models/1/ models/2/ ...     complete, immutable snapshots
//   models/CURRENT              text: the version that was published last, "2\n"
//   models/PINNED               text, only while an operator holds a version: "1\n"
//   models/.staging-*/          being written; never loaded, removed by CleanStaging when abandoned
//
// A published version must never be changed in place: servers map its files into memory and link them into
// their stores, where a write or a truncation under a running server gives wrong answers or kills it. To
// change anything, publish a new version.
//
// Functions are thread-safe, and safe between one trainer and several servers.
#ifndef SWIFTLET_ENGINE_SNAPSHOT_MODEL_DIRECTORY_H_
#define SWIFTLET_ENGINE_SNAPSHOT_MODEL_DIRECTORY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

class ModelDirectory {
 public:
  explicit ModelDirectory(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string VersionPath(int64_t version) const;

  // Creates the directory when missing.
  absl::Status Create() const;
  // A fresh, empty directory models/.staging-<pid>-<random> on the same file system. It is this process's
  // (and locked, so that processes in other containers see that) until it is published or the process ends.
  absl::StatusOr<std::string> CreateStaging() const;
  // Largest version that exists or that CURRENT names, plus 1. A CURRENT that holds no version is passed
  // over where there are versions (Publish replaces it), and DATA_LOSS where there is none: then this may be
  // no model directory at all.
  absl::StatusOr<int64_t> NextVersion() const;
  // Makes a fully written staging directory the version `version` (its manifest's): fsync, rename, replace
  // CURRENT atomically, fsync. The files become read-only, but the user vectors stay writable by their owner:
  // the store syncs them through its link. ALREADY_EXISTS when the version exists, INVALID_ARGUMENT when the
  // manifest says another version; staging is left as it was then, and after every other error that is met
  // before CURRENT names the version.
  absl::Status Publish(const std::string& staging, int64_t version) const;
  // Versions that exist, ascending. NOT_FOUND when there is no such directory.
  absl::StatusOr<std::vector<int64_t>> ListVersions() const;
  // Nothing when nothing was published. DATA_LOSS when the file does not hold a version.
  absl::StatusOr<std::optional<int64_t>> ReadCurrent() const;
  absl::StatusOr<std::optional<int64_t>> ReadPinned() const;
  // version of nothing: unpin. Durable.
  absl::Status WritePinned(std::optional<int64_t> version) const;
  // Whether WritePinned could write a version now: FAILED_PRECONDITION where the directory is read-only or
  // another's, RESOURCE_EXHAUSTED where the disk is full.
  absl::Status CheckWritable() const;
  // Deletes all but the newest `keep` versions, those in `never`, and those that CURRENT and PINNED name,
  // renaming each away first. Versions in `refused` are known to be of no use: they do not count toward
  // `keep`, and go first, the oldest before the others, while there are more than `keep` versions in all.
  // Returns what was deleted, ascending. Mappings of deleted files stay valid.
  absl::StatusOr<std::vector<int64_t>> DeleteOld(int keep, const std::vector<int64_t>& never,
                                                 const std::vector<int64_t>& refused = {}) const;
  // Removes staging directories (and what else an interrupted call left) whose process is gone.
  absl::Status CleanStaging() const;

 private:
  const std::string path_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_MODEL_DIRECTORY_H_

#include "engine/snapshot/model_directory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/manifest.h"

namespace swiftlet {
namespace {

constexpr char kCurrent[] = "CURRENT";
constexpr char kPinned[] = "PINNED";
constexpr char kStagingPrefix[] = ".staging-";
// How long what has a staging name may be without a lock while its owner works on it: a few milliseconds.
constexpr absl::Duration kUnlockedGrace = absl::Minutes(1);

// Locks on the staging directories that this process is filling, held until they are published or the process
// ends. A process id alone proves nothing to a server in another container, which sees other process ids.
class StagingLocks {
 public:
  static StagingLocks& Get() {
    static auto* const locks = new StagingLocks;
    return *locks;
  }
  absl::Status Lock(const std::string& path) ABSL_LOCKS_EXCLUDED(mu_) {
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, "open", path);
    // A file system without locks is no reason to fail: the process id is left.
    if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) return absl::OkStatus();
    MutexLock lock(mu_);
    fds_[path] = fd.Release();
    return absl::OkStatus();
  }
  void Unlock(const std::string& path) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(mu_);
    const auto it = fds_.find(path);
    if (it == fds_.end()) return;
    ::close(it->second);
    fds_.erase(it);
  }

 private:
  Mutex mu_;
  std::map<std::string, int> fds_ ABSL_GUARDED_BY(mu_);
};

std::string NewStagingName() { return absl::StrCat(kStagingPrefix, ::getpid(), "-", RandomSuffix()); }

// A version in its one spelling: "7", not "07" or "+7".
std::optional<int64_t> ParseVersion(std::string_view text) {
  int64_t version = 0;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &version)) return std::nullopt;
  if (version < 1 || absl::StrCat(version) != text) return std::nullopt;
  return version;
}

absl::StatusOr<std::optional<int64_t>> ReadVersionFile(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path, 64);
  if (absl::IsNotFound(text.status())) return std::optional<int64_t>();
  if (!text.ok()) return text.status();
  std::string_view digits = *text;
  if (digits.ends_with('\n')) digits.remove_suffix(1);
  const std::optional<int64_t> version = ParseVersion(digits);
  if (!version.has_value()) {
    return absl::DataLossError(absl::StrCat(path, ": expected a version, found ", Quoted(*text)));
  }
  return version;
}

bool Exists(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0;
}

// Never replaces what is there, not even an empty directory.
absl::Status RenameNew(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
    return absl::OkStatus();
  }
  if (errno == EINVAL || errno == ENOSYS) {  // The file system cannot: look first, then rename.
    if (Exists(to)) return ErrnoStatus(EEXIST, "create", to);
    if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("rename ", from, " to it"), to);
}

// Flushes every file in the directory, then the directory.
absl::Status SyncTree(const std::string& directory) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    SWIFTLET_RETURN_IF_ERROR(SyncPath(absl::StrCat(directory, "/", name)));
  }
  return SyncPath(directory);
}

// Takes away everybody's right to write to the files, as a guard against changes in place. The store opens
// its link to the user vectors for a sync, for which it needs its owner's right; it checks every block that
// it reads of them.
absl::Status MakeReadOnly(const std::string& directory) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "read", path);
    if (!S_ISREG(info.st_mode)) continue;
    const mode_t mode = name == kUserVectorsFile ? 0644 : 0444;
    if (::chmod(path.c_str(), mode) != 0) return ErrnoStatus(errno, "make read-only", path);
  }
  return absl::OkStatus();
}

bool IsRunning(std::string_view digits) {
  int64_t pid = 0;
  return absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &pid) && pid > 0 &&
         pid <= std::numeric_limits<pid_t>::max() &&
         (::kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH);
}

// Whether the process that a staging name tells of may still be writing. Where locks work, the lock decides:
// a process id says little, since that of a trainer that was killed in its container (1, as a rule) is
// somebody else's in the next one.
bool IsOwnerAlive(const std::string& path, std::string_view name) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  const bool free = fd.valid() && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
  if (fd.valid() && !free && errno == EWOULDBLOCK) return true;
  name.remove_prefix(std::string_view(kStagingPrefix).size());
  if (!IsRunning(name.substr(0, name.find('-')))) return false;
  // A file that will replace CURRENT has no lock, and a directory gets it a moment after it is made.
  struct stat info;
  return !free || ::fstat(fd.get(), &info) != 0 ||
         absl::Now() < absl::TimeFromTimespec(info.st_mtim) + kUnlockedGrace;
}

}  // namespace

std::string ModelDirectory::VersionPath(int64_t version) const { return absl::StrCat(path_, "/", version); }

absl::Status ModelDirectory::Create() const {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) return ErrnoStatus(error.value(), "create directory", path_);
  return SyncPath(path_);
}

absl::StatusOr<std::string> ModelDirectory::CreateStaging() const {
  const std::string path = absl::StrCat(path_, "/", NewStagingName());
  if (::mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, "create directory", path);
  SWIFTLET_RETURN_IF_ERROR(StagingLocks::Get().Lock(path));
  return path;
}

absl::StatusOr<int64_t> ModelDirectory::NextVersion() const {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, ListVersions());
  const int64_t newest = versions.empty() ? 0 : versions.back();
  const absl::StatusOr<std::optional<int64_t>> current = ReadCurrent();
  if (current.ok()) return std::max(newest, current->value_or(0)) + 1;
  // The next publication mends a CURRENT that holds no version, but only in a directory that is one of
  // models: a database has a file of this name too, and would be lost with it.
  if (absl::IsDataLoss(current.status()) && !versions.empty()) return newest + 1;
  return absl::Status(current.status().code(),
                      absl::StrCat(current.status().message(), "; is ", path_,
                                   " a model directory? If so, remove that file to publish into it"));
}

absl::Status ModelDirectory::Publish(const std::string& staging, int64_t version) const {
  SWIFTLET_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(staging));
  if (manifest.version != version) {
    return absl::InvalidArgumentError(absl::StrCat(staging, "/", kManifestFile, ": version: expected ",
                                                   version, ", to be published, found ", manifest.version));
  }
  SWIFTLET_RETURN_IF_ERROR(MakeReadOnly(staging));
  SWIFTLET_RETURN_IF_ERROR(SyncTree(staging));
  SWIFTLET_RETURN_IF_ERROR(RenameNew(staging, VersionPath(version)));
  absl::Status status = SyncPath(path_);
  if (status.ok()) status = ReplaceFile(path_, kCurrent, NewStagingName(), absl::StrCat(version, "\n"));
  if (!status.ok()) {
    // As when the disk is full. A version that CURRENT does not name yet is taken back.
    const absl::StatusOr<std::optional<int64_t>> current = ReadCurrent();
    if (current.ok() && *current != version && RenameNew(VersionPath(version), staging).ok()) return status;
  }
  StagingLocks::Get().Unlock(staging);
  return status;
}

absl::StatusOr<std::vector<int64_t>> ModelDirectory::ListVersions() const {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path_));
  std::vector<int64_t> versions;
  for (const std::string& name : names) {
    const std::optional<int64_t> version = ParseVersion(name);
    struct stat info;
    if (version.has_value() && ::stat(VersionPath(*version).c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
      versions.push_back(*version);
    }
  }
  std::sort(versions.begin(), versions.end());
  return versions;
}

absl::StatusOr<std::optional<int64_t>> ModelDirectory::ReadCurrent() const {
  return ReadVersionFile(absl::StrCat(path_, "/", kCurrent));
}

absl::StatusOr<std::optional<int64_t>> ModelDirectory::ReadPinned() const {
  return ReadVersionFile(absl::StrCat(path_, "/", kPinned));
}

absl::Status ModelDirectory::WritePinned(std::optional<int64_t> version) const {
  if (version.has_value()) {
    if (*version < 1) {
      return absl::InvalidArgumentError(absl::StrCat("version: expected at least 1, found ", *version));
    }
    return ReplaceFile(path_, kPinned, NewStagingName(), absl::StrCat(*version, "\n"));
  }
  const std::string path = absl::StrCat(path_, "/", kPinned);
  if (!Exists(path)) return absl::OkStatus();  // on a read-only file system, too
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, "remove", path);
  }
  return SyncPath(path_);
}

absl::Status ModelDirectory::CheckWritable() const {
  const std::string path = absl::StrCat(path_, "/", NewStagingName());
  const absl::Status status = [&]() -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, OutputFile::Create(path));
    SWIFTLET_RETURN_IF_ERROR(file->Append("0\n", 2));
    return file->Sync();
  }();
  ::unlink(path.c_str());
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

absl::StatusOr<std::vector<int64_t>> ModelDirectory::DeleteOld(int keep, const std::vector<int64_t>& never,
                                                               const std::vector<int64_t>& refused) const {
  if (keep < 0) return absl::InvalidArgumentError(absl::StrCat("keep: expected at least 0, found ", keep));
  SWIFTLET_ASSIGN_OR_RETURN(std::vector<int64_t> versions, ListVersions());
  SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> current, ReadCurrent());
  SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> pinned, ReadPinned());
  const auto contains = [](const std::vector<int64_t>& in, int64_t version) {
    return std::find(in.begin(), in.end(), version) != in.end();
  };
  const auto is_protected = [&](int64_t version) {
    return version == current || version == pinned || contains(never, version);
  };
  const size_t limit = static_cast<size_t>(keep);
  size_t num_left = versions.size();
  std::vector<int64_t> good, doomed;
  for (const int64_t version : versions) {
    if (!contains(refused, version)) {
      good.push_back(version);
    } else if (num_left > limit && !is_protected(version)) {
      doomed.push_back(version);
      --num_left;
    }
  }
  good.resize(good.size() - std::min(good.size(), limit));
  for (const int64_t version : good) {
    if (!is_protected(version)) doomed.push_back(version);
  }
  std::sort(doomed.begin(), doomed.end());
  std::vector<int64_t> deleted;
  for (const int64_t version : doomed) {
    // Away under one name first: a version is there as a whole or not at all, whenever the power fails.
    const std::string path = VersionPath(version);
    const std::string away = absl::StrCat(path_, "/", NewStagingName());
    if (::rename(path.c_str(), away.c_str()) != 0) {
      if (errno == ENOENT) continue;  // Another process was faster.
      return ErrnoStatus(errno, "rename", path);
    }
    deleted.push_back(version);
    SWIFTLET_RETURN_IF_ERROR(SyncPath(path_));
    SWIFTLET_RETURN_IF_ERROR(RemoveTree(away));
  }
  return deleted;
}

absl::Status ModelDirectory::CleanStaging() const {
  SWIFTLET_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(path_));
  for (const std::string& name : names) {
    if (!name.starts_with(kStagingPrefix)) continue;
    const std::string path = absl::StrCat(path_, "/", name);
    if (!IsOwnerAlive(path, name)) SWIFTLET_RETURN_IF_ERROR(RemoveTree(path));
  }
  return absl::OkStatus();
}

}  // namespace swiftlet

#include "storage/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/file_handle.h"
#include "storage/rocksdb_status.h"
#include "storage/schema.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

// What a path names, also when it does not exist yet.
fs::path Canonical(const std::string& path) {
  std::error_code error;
  fs::path result = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) result = fs::path(path).lexically_normal();
  return result.has_filename() ? result : result.parent_path();
}

}  // namespace

bool IsWithin(const std::string& path, const std::string& directory) {
  const fs::path inner = Canonical(path), outer = Canonical(directory);
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

absl::Status CreatePrivateDirectory(const std::string& path, std::vector<std::string>* changed) {
  std::error_code error;
  fs::path last = fs::absolute(path, error).lexically_normal();
  if (error) return FromErrno(error.value(), path, "cannot look up the directory");
  if (!last.has_filename()) last = last.parent_path();  // "data/"
  std::vector<fs::path> missing;
  for (fs::path p = last; !fs::exists(p, error); p = p.parent_path()) {
    if (error) return FromErrno(error.value(), p.string(), "cannot look up the directory");
    missing.push_back(p);
    if (p == p.parent_path()) break;
  }
  for (; !missing.empty(); missing.pop_back()) {
    const fs::path& p = missing.back();
    if (mkdir(p.c_str(), p == last ? 0700 : 0755) == 0) {
      if (changed != nullptr) changed->push_back(p.parent_path().string());
    } else if (errno != EEXIST) {
      return FromErrno(errno, p.string(), "cannot create the directory");
    }
  }
  return absl::OkStatus();
}

bool IsIgnored(std::string_view name) { return name == "lost+found" || name == "broken"; }

absl::StatusOr<bool> IsEmptyDirectory(const std::string& path) {
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (!IsIgnored(it->path().filename().string())) return false;
  }
  if (error) return FromErrno(error.value(), path, "cannot list the directory");
  return true;
}

bool IsHalfRestored(const std::string& path) {
  std::error_code error;
  const auto has = [&](const char* name) { return fs::exists(fs::path(path) / name, error); };
  // The file CURRENT comes last in a restore: with it the database is whole, whatever lies beside it.
  return (has(kRestoringDirectory) || has(kRestoredCurrent)) && !has("CURRENT");
}

absl::StatusOr<DataDirectoryState> LookAtDataDirectory(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return DataDirectoryState::kMissing;
  if (error) return FromErrno(error.value(), path, "cannot look up the directory");
  if (status.type() != fs::file_type::directory) return DataDirectoryState::kNotADirectory;
  if (IsHalfRestored(path)) return DataDirectoryState::kHalfRestored;
  const std::string marker = absl::StrCat(path, "/", kMarkerFile);
  const FileHandle file(open(marker.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd() >= 0) {
    const bool locked = flock(file.fd(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!locked) flock(file.fd(), LOCK_UN);  // a server may start meanwhile
    return locked ? DataDirectoryState::kInUse : DataDirectoryState::kDatabase;
  }
  if (errno != ENOENT) return FromErrno(errno, marker, "cannot open");
  SWIFTLET_ASSIGN_OR_RETURN(const bool empty, IsEmptyDirectory(path));
  return empty ? DataDirectoryState::kEmpty : DataDirectoryState::kForeign;
}

}  // namespace swiftlet

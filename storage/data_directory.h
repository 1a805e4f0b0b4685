// What a directory holds that a configuration names as its data directory, without opening it.
#ifndef SWIFTLET_STORAGE_DATA_DIRECTORY_H_
#define SWIFTLET_STORAGE_DATA_DIRECTORY_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

enum class DataDirectoryState {
  kMissing,  // Database::Open makes it
  kNotADirectory,
  kEmpty,         // but for what IsIgnored names: Open makes a database
  kDatabase,      // nobody has it open; whether it is whole, only opening tells
  kInUse,         // a process has the database open
  kHalfRestored,  // IsHalfRestored: there is nothing to open
  kForeign,       // other things: Open refuses it
};

// Changes nothing. Errors are those of the system, as where the directory cannot be listed.
absl::StatusOr<DataDirectoryState> LookAtDataDirectory(const std::string& path);

// True where RestoreBackup was cut short, or is at work: it may be repeated. Changes nothing.
bool IsHalfRestored(const std::string& path);
// What to say of such a directory, and what to do.
inline constexpr char kHalfRestoredProblem[] = "a restore was cut short, or is not done yet";
inline constexpr char kHalfRestoredAdvice[] =
    "restore the backup again: swiftlet-server --restore BACKUPS --data-dir DIR";

// Whether `path` is `directory` or in it, also where they do not exist yet: of links, "..", and slashes at
// the end.
bool IsWithin(const std::string& path, const std::string& directory);

// Makes a directory with mode 0700, whatever the umask, and what is missing above it with 0755. One that is
// there stays as it is. changed: gets the directories that have a new name in them, so that they can be
// synced; may be null.
absl::Status CreatePrivateDirectory(const std::string& path, std::vector<std::string>* changed = nullptr);

// Whether an entry of a data directory or of one of backups is none of ours: "lost+found", which a fresh file
// system brings along, and "broken", into which the runbook puts what was there where the directory is the
// root of a file system, and cannot be renamed.
bool IsIgnored(std::string_view name);
// True when the directory holds nothing but what IsIgnored names.
absl::StatusOr<bool> IsEmptyDirectory(const std::string& path);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_DATA_DIRECTORY_H_

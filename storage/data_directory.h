// What a directory holds that a configuration names as its data directory, without opening it.
#ifndef SWIFTLET_STORAGE_DATA_DIRECTORY_H_
#define SWIFTLET_STORAGE_DATA_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

enum class DataDirectoryState {
  kMissing,  // Database::Open makes it
  kNotADirectory,
  kEmpty,         // but for what a fresh file system brings along: Open makes a database
  kDatabase,      // nobody has it open; whether it is whole, only opening tells
  kInUse,         // a process has the database open
  kHalfRestored,  // RestoreBackup was cut short: it may be repeated, and there is nothing to open
  kForeign,       // other things: Open refuses it
};

// Changes nothing. Errors are those of the system, as where the directory cannot be listed.
absl::StatusOr<DataDirectoryState> LookAtDataDirectory(const std::string& path);

// Makes a directory with mode 0700, whatever the umask, and what is missing above it with 0755. One that is
// there stays as it is. changed: gets the directories that have a new name in them, so that they can be
// synced; may be null.
absl::Status CreatePrivateDirectory(const std::string& path, std::vector<std::string>* changed = nullptr);

// True when the directory holds nothing but what a fresh file system brings along.
absl::StatusOr<bool> IsEmptyDirectory(const std::string& path);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_DATA_DIRECTORY_H_

#include "storage/rocksdb_status.h"

#include <cerrno>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

absl::StatusCode CodeOf(const rocksdb::Status& status) {
  // Every I/O error that says "no space" is one, also behind a background error.
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) {
    return absl::StatusCode::kResourceExhausted;
  }
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return absl::StatusCode::kOk;
    case rocksdb::Status::kNotFound:
      return absl::StatusCode::kNotFound;
    case rocksdb::Status::kCorruption:
      return absl::StatusCode::kDataLoss;
    case rocksdb::Status::kInvalidArgument:
    case rocksdb::Status::kNotSupported:
    case rocksdb::Status::kColumnFamilyDropped:
      return absl::StatusCode::kInternal;
    case rocksdb::Status::kIOError: {
      const std::string text = status.ToString();
      if (text.find("/LOCK") != std::string::npos) return absl::StatusCode::kFailedPrecondition;
      return absl::StatusCode::kUnavailable;
    }
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status FromRocksDb(const rocksdb::Status& status, std::string_view path, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(CodeOf(status),
                      absl::StrCat(std::string(path), ": ", std::string(what), ": ", status.ToString()));
}

absl::Status FromErrno(int error, std::string_view path, std::string_view what) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  if (error == ENOSPC || error == EDQUOT) code = absl::StatusCode::kResourceExhausted;
  if (error == ENOENT) code = absl::StatusCode::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS) code = absl::StatusCode::kFailedPrecondition;
  return absl::Status(code, absl::StrCat(std::string(path), ": ", std::string(what), ": ",
                                         std::generic_category().message(error)));
}

}  // namespace swiftlet

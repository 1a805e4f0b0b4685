#include "storage/user_vector_file.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"
#include "rocksdb/options.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/sst_file_writer.h"
#include "storage/rocksdb_status.h"
#include "storage/schema.h"

namespace swiftlet {

struct UserVectorFileWriter::Impl {
  Impl(std::string path_in, uint32_t dim_in)
      : path(std::move(path_in)), dim(dim_in), writer(rocksdb::EnvOptions(), UserVectorsOptions(nullptr)) {}

  const std::string path;
  const uint32_t dim;
  rocksdb::SstFileWriter writer;
  std::string last_id;
  uint64_t num_added = 0;
  bool finished = false;
};

UserVectorFileWriter::UserVectorFileWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UserVectorFileWriter::~UserVectorFileWriter() = default;

absl::StatusOr<std::unique_ptr<UserVectorFileWriter>> UserVectorFileWriter::Create(const std::string& path,
                                                                                   uint32_t dim) {
  if (dim == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": dim is 0"));
  auto impl = std::make_unique<Impl>(path, dim);
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(impl->writer.Open(path), path, "cannot create"));
  return std::unique_ptr<UserVectorFileWriter>(new UserVectorFileWriter(std::move(impl)));
}

absl::Status UserVectorFileWriter::Add(std::string_view user_id, std::span<const float> vector) {
  Impl& s = *impl_;
  if (s.finished) return absl::FailedPreconditionError(absl::StrCat(s.path, ": is finished"));
  if (!IsValidId(user_id)) {
    return absl::InvalidArgumentError(absl::StrCat(s.path, ": user ", s.num_added, ": the id is not 1 to ",
                                                   kMaxIdBytes, " bytes of UTF-8"));
  }
  if (s.num_added > 0 && user_id <= s.last_id) {
    return absl::InvalidArgumentError(absl::StrCat(s.path, ": user \"", std::string(user_id),
                                                   "\" is not after \"", s.last_id, "\" in byte order"));
  }
  if (vector.size() != s.dim) {
    return absl::InvalidArgumentError(absl::StrCat(s.path, ": user \"", std::string(user_id),
                                                   "\": vector of ", vector.size(), " numbers, expected ",
                                                   s.dim));
  }
  for (const float x : vector) {
    if (!std::isfinite(x)) {
      return absl::InvalidArgumentError(
          absl::StrCat(s.path, ": user \"", std::string(user_id), "\": the vector holds ", x));
    }
  }
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(
      s.writer.Put(ToSlice(user_id), {reinterpret_cast<const char*>(vector.data()), vector.size_bytes()}),
      s.path, "cannot write"));
  s.last_id.assign(user_id);
  ++s.num_added;
  return absl::OkStatus();
}

absl::Status UserVectorFileWriter::Finish() {
  Impl& s = *impl_;
  if (s.finished) return absl::FailedPreconditionError(absl::StrCat(s.path, ": is finished"));
  if (s.num_added == 0) return absl::FailedPreconditionError(absl::StrCat(s.path, ": no user was added"));
  s.finished = true;
  return FromRocksDb(s.writer.Finish(), s.path, "cannot finish");  // syncs the file
}

absl::Status ReadUserVectorFile(
    const std::string& path, uint32_t dim,
    const std::function<absl::Status(std::string_view user_id, std::span<const float>)>& fn) {
  rocksdb::SstFileReader reader(UserVectorsOptions(nullptr));
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(reader.Open(path), path, "cannot open"));
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = size_t{2} << 20;
  std::unique_ptr<rocksdb::Iterator> it(reader.NewIterator(options));
  std::vector<float> vector(dim);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    if (it->value().size() != dim * sizeof(float)) {
      return absl::DataLossError(absl::StrCat(path, ": user \"", it->key().ToString(),
                                              "\": ", it->value().size(), " bytes, expected ",
                                              dim * sizeof(float), " (dim ", dim, ")"));
    }
    std::memcpy(vector.data(), it->value().data(), it->value().size());
    SWIFTLET_RETURN_IF_ERROR(fn(FromSlice(it->key()), vector));
  }
  return FromRocksDb(it->status(), path, "cannot read");
}

}  // namespace swiftlet

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

struct UserVectorFileReader::Impl {
  Impl(std::string path_in, uint32_t dim)
      : path(std::move(path_in)), reader(UserVectorsOptions(nullptr)), vector(dim) {}

  const std::string path;
  rocksdb::SstFileReader reader;
  std::unique_ptr<rocksdb::Iterator> it;  // null before the first Read; destroyed before the reader
  std::vector<float> vector;              // [dim]

  absl::Status Open() {
    if (it != nullptr) return absl::OkStatus();
    SWIFTLET_RETURN_IF_ERROR(FromRocksDb(reader.Open(path), path, "cannot open"));
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = size_t{2} << 20;
    it.reset(reader.NewIterator(options));
    it->SeekToFirst();
    return absl::OkStatus();
  }
  // Makes `vector` that of the user where the iterator is.
  absl::Status Take() {
    const rocksdb::Slice value = it->value();
    if (value.size() != vector.size() * sizeof(float)) {
      return absl::DataLossError(absl::StrCat(path, ": user \"", it->key().ToString(), "\": ", value.size(),
                                              " bytes, expected ", vector.size() * sizeof(float), " (dim ",
                                              vector.size(), ")"));
    }
    std::memcpy(vector.data(), value.data(), value.size());
    return absl::OkStatus();
  }
};

UserVectorFileReader::UserVectorFileReader(std::string path, uint32_t dim)
    : impl_(std::make_unique<Impl>(std::move(path), dim)) {}
UserVectorFileReader::~UserVectorFileReader() = default;

absl::StatusOr<bool> UserVectorFileReader::Read(uint64_t max_users, const Fn& fn) {
  Impl& s = *impl_;
  SWIFTLET_RETURN_IF_ERROR(s.Open());
  for (uint64_t i = 0; i < max_users && s.it->Valid(); ++i, s.it->Next()) {
    SWIFTLET_RETURN_IF_ERROR(s.Take());
    SWIFTLET_RETURN_IF_ERROR(fn(FromSlice(s.it->key()), s.vector));
  }
  if (s.it->Valid()) return true;
  SWIFTLET_RETURN_IF_ERROR(FromRocksDb(s.it->status(), s.path, "cannot read"));
  return false;
}

absl::Status UserVectorFileReader::Find(std::string_view user_id, std::vector<float>* vector) {
  Impl& s = *impl_;
  vector->clear();
  SWIFTLET_RETURN_IF_ERROR(s.Open());
  s.it->Seek(ToSlice(user_id));
  if (!s.it->Valid()) return FromRocksDb(s.it->status(), s.path, "cannot read");
  if (FromSlice(s.it->key()) != user_id) return absl::OkStatus();
  SWIFTLET_RETURN_IF_ERROR(s.Take());
  *vector = s.vector;
  s.it->Next();
  return absl::OkStatus();
}

absl::Status ReadUserVectorFile(const std::string& path, uint32_t dim, const UserVectorFileReader::Fn& fn) {
  UserVectorFileReader reader(path, dim);
  for (bool more = true; more;) {
    SWIFTLET_ASSIGN_OR_RETURN(more, reader.Read(~uint64_t{0}, fn));
  }
  return absl::OkStatus();
}

}  // namespace swiftlet

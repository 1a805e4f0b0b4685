// Writing a snapshot's user_vectors.sst.
//
//   SWIFTLET_ASSIGN_OR_RETURN(auto writer, UserVectorFileWriter::Create(staging + "/user_vectors.sst", dim));
//   for (...) SWIFTLET_RETURN_IF_ERROR(writer->Add(user_id, vector));   // in byte order of the id
//   SWIFTLET_RETURN_IF_ERROR(writer->Finish());
#ifndef SWIFTLET_STORAGE_USER_VECTOR_FILE_H_
#define SWIFTLET_STORAGE_USER_VECTOR_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Thread-compatible. The file is complete and fsynced after Finish; without it, incomplete.
class UserVectorFileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<UserVectorFileWriter>> Create(const std::string& path, uint32_t dim);
  ~UserVectorFileWriter();
  // INVALID_ARGUMENT for ids out of order, an invalid id, a wrong size or a number that is not finite.
  absl::Status Add(std::string_view user_id, std::span<const float> vector);
  // FAILED_PRECONDITION when nothing was added: RocksDB has no empty SST files, leave the file out.
  absl::Status Finish();

 private:
  struct Impl;
  explicit UserVectorFileWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Reads the vectors of a file, in byte order of the id, some at a time. Thread-compatible.
class UserVectorFileReader {
 public:
  using Fn = std::function<absl::Status(std::string_view user_id, std::span<const float>)>;

  UserVectorFileReader(std::string path, uint32_t dim);
  ~UserVectorFileReader();
  // Calls fn for the next `max_users` vectors, or as many as are left; false when there are no more.
  // DATA_LOSS for a damaged file, and for vectors that are not of `dim` numbers.
  absl::StatusOr<bool> Read(uint64_t max_users, const Fn& fn);
  // The vector of one user; empty when the file has none. Read then begins behind it. Errors as Read.
  absl::Status Find(std::string_view user_id, std::vector<float>* vector);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// Calls fn for every vector of the file, in byte order of the id. For `inspect` and the trainer's evaluation.
absl::Status ReadUserVectorFile(const std::string& path, uint32_t dim, const UserVectorFileReader::Fn& fn);

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_USER_VECTOR_FILE_H_

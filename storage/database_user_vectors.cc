// Database: the user vectors of snapshots, one column family for each version.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "storage/database_impl.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
namespace fs = std::filesystem;
namespace {

constexpr char kScratchPrefix[] = "ingest-";

// Identifies a file by its size and its end, which holds the index, the checksums of its blocks' index and
// the unique session of its writer: two files with different vectors differ there.
absl::StatusOr<uint64_t> FingerprintOfFile(const std::string& path) {
  constexpr off_t kTailBytes = 64 << 10;
  const FileHandle file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) return FromErrno(errno, path, "cannot open");
  std::string tail(static_cast<size_t>(std::min(info.st_size, kTailBytes)), '\0');
  const ssize_t n =
      pread(file.fd(), tail.data(), tail.size(), info.st_size - static_cast<off_t>(tail.size()));
  if (n < 0) return FromErrno(errno, path, "cannot read");
  if (static_cast<size_t>(n) != tail.size())
    return absl::UnavailableError(path + ": changed while it was read");
  return XXH3_64bits_withSeed(tail.data(), tail.size(), static_cast<uint64_t>(info.st_size));
}

// Bytes go to the disk as they are copied, so that the sync at the end is not in the way of other writes.
absl::Status CopyDurably(const std::string& from, const std::string& to, const CopyPace& pace) {
  constexpr size_t kPart = size_t{1} << 20;
  const FileHandle in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.fd() < 0) return FromErrno(errno, from, "cannot open");
  const FileHandle out(open(to.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (out.fd() < 0) return FromErrno(errno, to, "cannot create");
  const absl::Time start = absl::Now();
  std::string part(kPart, '\0');
  for (off_t copied = 0;;) {
    if (pace.stopped && pace.stopped())
      return absl::CancelledError(absl::StrCat(to, ": the copy was given up"));
    const ssize_t n = read(in.fd(), part.data(), part.size());
    if (n < 0) return FromErrno(errno, from, "cannot read");
    if (n == 0) break;
    for (ssize_t written = 0; written < n;) {
      const ssize_t m = write(out.fd(), part.data() + written, static_cast<size_t>(n - written));
      if (m < 0) return FromErrno(errno, to, absl::StrCat("cannot copy ", from));
      written += m;
    }
    sync_file_range(out.fd(), copied, n, SYNC_FILE_RANGE_WRITE);  // a hint
    copied += n;
    if (pace.bytes_per_second > 0) {
      absl::SleepFor(start +
                     absl::Seconds(static_cast<double>(copied) / static_cast<double>(pace.bytes_per_second)) -
                     absl::Now());
    }
  }
  if (fsync(out.fd()) != 0) return FromErrno(errno, to, "cannot sync");
  return absl::OkStatus();
}

// A second file that shares the blocks of the first until one of them is changed. False where the file system
// has no such thing (it takes XFS or Btrfs, and one file system for both).
bool Clone(const std::string& from, const std::string& to) {
  const FileHandle in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  const FileHandle out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (in.fd() >= 0 && out.fd() >= 0 && ioctl(out.fd(), FICLONE, in.fd()) == 0 && fsync(out.fd()) == 0)
    return true;
  unlink(to.c_str());
  return false;
}

// Makes `scratch` a clone of the file; else a second name of it; else a copy, where the file system has no
// hard links across here, or where RocksDB could not open the file for its sync.
absl::Status CloneLinkOrCopy(const std::string& from, const std::string& scratch, const CopyPace& pace) {
  if (unlink(scratch.c_str()) != 0 && errno != ENOENT) return FromErrno(errno, scratch, "cannot remove");
  if (Clone(from, scratch)) return absl::OkStatus();
  if (access(from.c_str(), W_OK) == 0) {
    if (link(from.c_str(), scratch.c_str()) == 0) return absl::OkStatus();
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP) {
      return FromErrno(errno, from, "cannot link");
    }
  }
  absl::Status copied = CopyDurably(from, scratch, pace);
  if (!copied.ok()) unlink(scratch.c_str());
  return copied;
}

}  // namespace

absl::Status Database::Impl::OpenUserVectors() {
  MutexLock ingest_lock(ingest_mu);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(options.path, ignored)) {
    if (entry.path().filename().string().starts_with(kScratchPrefix)) fs::remove(entry.path(), ignored);
  }
  while (!unclaimed_vectors.empty()) {
    const auto [version, family] = *unclaimed_vectors.begin();
    UserVectorsRecord record;
    std::string value;
    const rocksdb::Status status = db->Get({}, meta, UserVectorsKey(version), &value);
    if (!status.IsNotFound()) {
      SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read the record of user vectors"));
      SWIFTLET_RETURN_IF_ERROR(DecodeUserVectors(value, &record));
    } else {  // its ingestion or its drop was cut short
      SWIFTLET_RETURN_IF_ERROR(Error(db->DropColumnFamily(family), "cannot drop unfinished user vectors"));
    }
    unclaimed_vectors.erase(version);
    auto vectors_of_version = std::make_shared<const UserVectors>(db.get(), family, record);
    if (status.IsNotFound()) continue;
    MutexLock lock(vectors_mu);
    vectors[version] = std::move(vectors_of_version);
  }
  return absl::OkStatus();
}

std::shared_ptr<const UserVectors> Database::Impl::FindUserVectors(int64_t version) const {
  MutexLock lock(vectors_mu);
  const auto it = vectors.find(version);
  return it == vectors.end() ? nullptr : it->second;
}

absl::Status Database::ReadLongTerm(int64_t version, std::string_view user_id, std::vector<float>* vector) {
  Impl& s = *impl_;
  vector->clear();
  const std::shared_ptr<const UserVectors> vectors = s.FindUserVectors(version);
  if (vectors == nullptr) {
    return absl::NotFoundError(absl::StrCat(s.options.path, ": no user vectors of version ", version));
  }
  rocksdb::PinnableSlice value;
  rocksdb::Status status = s.db->Get({}, vectors->family, ToSlice(user_id), &value);
  if (status.IsNotFound()) return absl::OkStatus();
  if (!status.ok()) {
    const absl::Status damage = absl::DataLossError(absl::StrCat(
        s.options.path, ": the user vectors of version ", version, " cannot be read: ", status.ToString()));
    s.SetDamage(version, damage);
    return damage;
  }
  if (value.size() != size_t{vectors->record.dim} * sizeof(float)) {
    return absl::DataLossError(absl::StrCat(s.options.path, ": user vectors of version ", version,
                                            ": user \"", std::string(user_id), "\" has ", value.size(),
                                            " bytes, dim is ", vectors->record.dim));
  }
  // The vector first, then the erasure: an erasure that was acknowledged before this call is seen.
  std::string erased;
  status = s.db->Get({}, s.meta, ErasedKey(user_id), &erased);
  if (!status.IsNotFound()) {
    SWIFTLET_RETURN_IF_ERROR(s.Error(status, "cannot read an erasure"));
    ErasureRecord erasure;
    SWIFTLET_RETURN_IF_ERROR(DecodeErasure(erased, &erasure));
    if (erasure.erased_ms > vectors->record.trained_through_ms) return absl::OkStatus();
  }
  vector->resize(vectors->record.dim);
  std::memcpy(vector->data(), value.data(), value.size());
  return absl::OkStatus();
}

absl::Status Database::IngestUserVectors(int64_t version, uint32_t dim, const std::string& sst_path,
                                         int64_t trained_through_ms, const CopyPace& pace) {
  Impl& s = *impl_;
  if (version <= 0) return absl::InvalidArgumentError(absl::StrCat("version: ", version, " is not positive"));
  if (dim == 0) return absl::InvalidArgumentError("dim: 0");
  MutexLock ingest_lock(s.ingest_mu);
  SWIFTLET_ASSIGN_OR_RETURN(const uint64_t fingerprint, FingerprintOfFile(sst_path));
  const UserVectorsRecord record = {
      .dim = dim, .trained_through_ms = trained_through_ms, .fingerprint = fingerprint};
  if (const auto there = s.FindUserVectors(version)) {
    if (there->record.fingerprint == fingerprint && there->record.dim == dim &&
        there->record.trained_through_ms == trained_through_ms && !s.IsDamaged(version)) {
      return absl::OkStatus();
    }
    SWIFTLET_RETURN_IF_ERROR(s.DropLocked(version));  // damaged, or of this number, but from elsewhere
  }
  const std::string scratch = absl::StrCat(s.options.path, "/", kScratchPrefix, version);
  SWIFTLET_RETURN_IF_ERROR(CloneLinkOrCopy(sst_path, scratch, pace));
  rocksdb::ColumnFamilyHandle* family = nullptr;
  rocksdb::Status status = s.db->CreateColumnFamily(UserVectorsOptions(s.settings.block_cache),
                                                    UserVectorsFamily(version), &family);
  if (!status.ok()) {
    unlink(scratch.c_str());
    return s.Error(status, "cannot create the family of user vectors");
  }
  auto vectors = std::make_shared<const UserVectors>(s.db.get(), family, record);
  const absl::Status ingested = [&]() -> absl::Status {
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    ingest.failed_move_fall_back_to_copy = true;
    ingest.write_global_seqno = false;  // never change the file: the snapshot shares it
    SWIFTLET_RETURN_IF_ERROR(FromRocksDb(s.db->IngestExternalFile(family, {scratch}, ingest), sst_path,
                                         "cannot ingest the user vectors"));
    std::unique_ptr<rocksdb::Iterator> it(s.db->NewIterator({}, family));
    it->SeekToFirst();
    SWIFTLET_RETURN_IF_ERROR(FromRocksDb(it->status(), sst_path, "cannot read the user vectors"));
    if (it->Valid() && it->value().size() != size_t{dim} * sizeof(float)) {
      return absl::DataLossError(absl::StrCat(sst_path, ": vectors of ", it->value().size(),
                                              " bytes, expected ", dim * sizeof(float), " (dim ", dim, ")"));
    }
    rocksdb::WriteBatch batch;  // the commit
    batch.Put(s.meta, UserVectorsKey(version), EncodeUserVectors(record));
    return s.WriteSynced(&batch, "cannot write the record of user vectors");
  }();
  unlink(scratch.c_str());
  if (!ingested.ok()) {
    // A family that stays because this fails too is dropped at the next start.
    s.db->DropColumnFamily(family).PermitUncheckedError();
    return ingested;
  }
  MutexLock lock(s.vectors_mu);
  s.vectors[version] = std::move(vectors);
  s.vector_damage.erase(version);
  return absl::OkStatus();
}

absl::Status Database::Impl::DropLocked(int64_t version) {
  const std::shared_ptr<const UserVectors> there = FindUserVectors(version);
  SetDamage(version, absl::OkStatus());
  if (there == nullptr) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  batch.Delete(meta, UserVectorsKey(version));
  SWIFTLET_RETURN_IF_ERROR(WriteSynced(&batch, "cannot delete the record of user vectors"));
  {
    MutexLock lock(vectors_mu);
    vectors.erase(version);
  }
  return Error(db->DropColumnFamily(there->family), "cannot drop user vectors");
}

absl::Status Database::DropUserVectors(int64_t version) {
  MutexLock lock(impl_->ingest_mu);
  return impl_->DropLocked(version);
}

void Database::Impl::SetDamage(int64_t version, const absl::Status& damage) {
  MutexLock lock(vectors_mu);
  if (damage.ok()) {
    vector_damage.erase(version);
  } else {
    vector_damage[version] = damage;
  }
}

bool Database::Impl::IsDamaged(int64_t version) const {
  MutexLock lock(vectors_mu);
  return vector_damage.contains(version);
}

std::vector<std::string> Database::DamagedUserVectors() const {
  MutexLock lock(impl_->vectors_mu);
  std::vector<std::string> lines;
  for (const auto& [version, damage] : impl_->vector_damage) lines.emplace_back(damage.message());
  return lines;
}

absl::StatusOr<std::vector<int64_t>> Database::IngestedVersions() {
  MutexLock lock(impl_->vectors_mu);
  std::vector<int64_t> versions;
  for (const auto& [version, vectors] : impl_->vectors) versions.push_back(version);
  return versions;
}

}  // namespace swiftlet

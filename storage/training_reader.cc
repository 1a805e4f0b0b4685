#include "storage/training_reader.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "rocksdb/db.h"
#include "storage/coding.h"
#include "storage/file_logger.h"
#include "storage/rocksdb_status.h"
#include "storage/schema.h"

namespace swiftlet {
namespace fs = std::filesystem;

struct TrainingReader::Impl {
  ~Impl() {
    Close();
    std::error_code ignored;
    fs::remove_all(scratch_dir, ignored);
  }

  absl::Status Open();
  void Close();
  std::set<std::string> ListLogs() const;
  absl::Status ReadMeta();
  absl::Status Error(const rocksdb::Status& status, std::string_view what) const {
    return FromRocksDb(status, path, what);
  }

  std::string path, scratch_dir;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::ColumnFamilyHandle *events = nullptr, *items = nullptr, *meta = nullptr;
  EventTypeTable event_types = EventTypeTable::Default();
  absl::flat_hash_map<std::string, ErasureRecord> erasures;  // by user id
  uint64_t num_erased_events = 0;
};

void TrainingReader::Impl::Close() {
  for (rocksdb::ColumnFamilyHandle* handle : handles) {
    db->DestroyColumnFamilyHandle(handle).PermitUncheckedError();
  }
  handles.clear();
  db.reset();
}

// The names of the write-ahead logs.
std::set<std::string> TrainingReader::Impl::ListLogs() const {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".log") && name != "rocksdb.log") names.insert(name);
  }
  return names;
}

absl::Status TrainingReader::Impl::Open() {
  rocksdb::DBOptions options = DatabaseOptionsOfRocksDb();
  options.info_log = std::make_shared<FileLogger>("");
  options.max_open_files = -1;  // all at once: the live server may delete files while we read them
  const FamilySettings settings = {.block_cache = rocksdb::NewLRUCache(size_t{16} << 20)};
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : {std::string(rocksdb::kDefaultColumnFamilyName), std::string(kEventsFamily),
                                  std::string(kItemsFamily), std::string(kMetaFamily)}) {
    families.emplace_back(name, FamilyOptions(name, settings));
  }
  // A live server may replace its manifest or drop a file between our steps: start over then. RocksDB reads
  // the manifest first and the logs second; what the server wrote out to tables and dropped from the logs in
  // between would be in neither, and erasures could be missing, or events: start over, too.
  rocksdb::Status status;
  bool complete = false;
  for (int attempt = 0; attempt < 20 && !complete; ++attempt) {
    Close();
    const std::set<std::string> logs = ListLogs();
    rocksdb::DB* raw = nullptr;
    status = rocksdb::DB::OpenAsSecondary(options, path, scratch_dir, families, &handles, &raw);
    if (!status.ok()) {
      handles.clear();
      continue;
    }
    db.reset(raw);
    const std::set<std::string> logs_now = ListLogs();
    complete = std::includes(logs_now.begin(), logs_now.end(), logs.begin(), logs.end());
  }
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot open the database for reading"));
  if (!complete) {
    return absl::UnavailableError(absl::StrCat(path, ": the server drops its logs too often to be read"));
  }
  events = handles[1];
  items = handles[2];
  meta = handles[3];
  return ReadMeta();
}

absl::Status TrainingReader::Impl::ReadMeta() {
  std::string value;
  rocksdb::Status status = db->Get({}, meta, kFormatKey, &value);
  if (status.IsNotFound())
    return absl::NotFoundError(absl::StrCat(path, ": the database is still being created"));
  SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read the format"));
  if (value != kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": the database has format \"", value, "\", this program knows format ", kFormat));
  }
  status = db->Get({}, meta, kEventTypesKey, &value);
  if (!status.IsNotFound()) {
    SWIFTLET_RETURN_IF_ERROR(Error(status, "cannot read the event types"));
    SWIFTLET_ASSIGN_OR_RETURN(event_types, DecodeEventTypes(value));
  }
  const std::string_view prefix = kErasedPrefix;
  std::unique_ptr<rocksdb::Iterator> it(db->NewIterator({}, meta));
  for (it->Seek(kErasedPrefix); it->Valid() && it->key().starts_with(kErasedPrefix); it->Next()) {
    ErasureRecord erasure;
    SWIFTLET_RETURN_IF_ERROR(DecodeErasure(FromSlice(it->value()), &erasure));
    erasures[std::string(FromSlice(it->key()).substr(prefix.size()))] = erasure;
  }
  return Error(it->status(), "cannot read the erasures");
}

TrainingReader::TrainingReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TrainingReader::~TrainingReader() = default;

absl::StatusOr<std::unique_ptr<TrainingReader>> TrainingReader::Open(const std::string& path,
                                                                     const std::string& scratch_dir) {
  std::error_code error;
  if (!fs::exists(path + "/" + kMarkerFile, error) || !fs::exists(path + "/CURRENT", error)) {
    return absl::NotFoundError(absl::StrCat(path, ": there is no Swiftlet database"));
  }
  if (!fs::create_directories(scratch_dir, error) && !fs::is_empty(scratch_dir, error)) {
    return absl::FailedPreconditionError(
        absl::StrCat(scratch_dir, ": the scratch directory cannot be created or is not empty"));
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->scratch_dir = scratch_dir;
  SWIFTLET_RETURN_IF_ERROR(impl->Open());
  return std::unique_ptr<TrainingReader>(new TrainingReader(std::move(impl)));
}

absl::Status TrainingReader::ForEachEvent(
    const std::function<absl::Status(int64_t arrival_ms, const EventRecord&)>& fn) {
  Impl& s = *impl_;
  s.num_erased_events = 0;
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  read.readahead_size = size_t{2} << 20;
  std::unique_ptr<rocksdb::Iterator> it(s.db->NewIterator(read, s.events));
  EventRecord event;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    uint64_t arrival = 0;
    int64_t arrival_ms = 0;
    absl::Status decoded = DecodeEventRecord(FromSlice(it->value()), &arrival_ms, &event);
    if (!DecodeKey64(FromSlice(it->key()), &arrival)) decoded = absl::DataLossError("malformed key");
    if (!decoded.ok()) {
      return absl::DataLossError(absl::StrCat(s.path, ": event log: key 0x", it->key().ToString(/*hex=*/true),
                                              ": ", decoded.message()));
    }
    if (!s.erasures.empty()) {
      const auto erasure = s.erasures.find(event.user_id);
      if (erasure != s.erasures.end() && arrival <= erasure->second.arrival) {
        ++s.num_erased_events;
        continue;
      }
    }
    SWIFTLET_RETURN_IF_ERROR(fn(static_cast<int64_t>(arrival >> kArrivalBits), event));
  }
  return s.Error(it->status(), "cannot read the event log");
}

absl::Status TrainingReader::ForEachItem(const std::function<absl::Status(const CatalogItem&)>& fn) {
  Impl& s = *impl_;
  rocksdb::ReadOptions read;
  read.fill_cache = false;
  std::unique_ptr<rocksdb::Iterator> it(s.db->NewIterator(read, s.items));
  CatalogItem item;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    SWIFTLET_RETURN_IF_ERROR(DecodeCatalogItem(FromSlice(it->value()), &item));
    SWIFTLET_RETURN_IF_ERROR(fn(item));
  }
  return s.Error(it->status(), "cannot read items");
}

uint64_t TrainingReader::num_erased_events() const { return impl_->num_erased_events; }
const EventTypeTable& TrainingReader::event_types() const { return impl_->event_types; }
const absl::flat_hash_map<std::string, ErasureRecord>& TrainingReader::erasures() const {
  return impl_->erasures;
}

}  // namespace swiftlet

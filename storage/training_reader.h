// Reads a database that a live server has open (RocksDB secondary instance), or one at rest: the trainer's
// input.
#ifndef SWIFTLET_STORAGE_TRAINING_READER_H_
#define SWIFTLET_STORAGE_TRAINING_READER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/event_types.h"
#include "storage/records.h"

namespace swiftlet {

// Thread-compatible.
class TrainingReader {
 public:
  // path: a server's data_dir. scratch_dir: for the secondary's own files; created, and removed on
  // destruction. NOT_FOUND when there is no database.
  static absl::StatusOr<std::unique_ptr<TrainingReader>> Open(const std::string& path,
                                                              const std::string& scratch_dir);
  ~TrainingReader();

  // Calls fn for every logged event in order of arrival, without those of users who were erased after the
  // event arrived. arrival_ms never decreases: the server's clock, or later where the clock was set back.
  // fn's error stops and is returned.
  absl::Status ForEachEvent(const std::function<absl::Status(int64_t arrival_ms, const EventRecord&)>& fn);
  absl::Status ForEachItem(const std::function<absl::Status(const CatalogItem&)>& fn);
  // Events that ForEachEvent left out because their user was erased.
  uint64_t num_erased_events() const;
  const EventTypeTable& event_types() const;
  // Users who were erased, each with the last time.
  const absl::flat_hash_map<std::string, ErasureRecord>& erasures() const;

 private:
  struct Impl;
  explicit TrainingReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_STORAGE_TRAINING_READER_H_

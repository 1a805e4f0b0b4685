// From what was fitted to a snapshot directory.
#ifndef SWIFTLET_ENGINE_TRAINER_WRITE_MODEL_H_
#define SWIFTLET_ENGINE_TRAINER_WRITE_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/dataset.h"
#include "engine/trainer/fit_model.h"

namespace swiftlet {

// A directory that is removed with everything in it when this goes, unless released.
class ScopedDirectory {
 public:
  explicit ScopedDirectory(std::string path) : path_(std::move(path)) {}
  ~ScopedDirectory();
  ScopedDirectory(const ScopedDirectory&) = delete;
  ScopedDirectory& operator=(const ScopedDirectory&) = delete;
  const std::string& path() const { return path_; }
  void Release() { path_.clear(); }

 private:
  std::string path_;
};

// A new directory under $TMPDIR (or /tmp).
absl::StatusOr<std::unique_ptr<ScopedDirectory>> MakeTemporaryDirectory();

// A name that no other snapshot has, such as "als-7-1f83d9ab": vectors that were upserted for one training
// must not be taken for another's, not even when a model directory is begun anew and versions start from 1
// again.
std::string NewEmbeddingSpace(std::string_view kind, int64_t version, std::string_view fingerprint,
                              int64_t now_ms);

// Ids, metadata, popularity (event counts) and event types of `data`; no vectors yet.
SnapshotContents DescribeItems(const Dataset& data, int64_t version, int64_t now_ms);
// The same with vectors of one zero, for snapshots that are asked for other things than a ranking by vectors.
SnapshotContents ContentsWithoutVectors(const Dataset& data, int64_t now_ms);
// The trained encoder and both tables on top of DescribeItems.
SnapshotContents ContentsOf(const Dataset& data, const FittedModel& model, const FitOptions& options,
                            int64_t version, int64_t now_ms);
// Uniform attention over max_events events of any type, those of a negative weight counting against: one
// class for each of the manifest's event types. No long-term slot (its weight is that of an event), x = v.
void SetUniformAttention(uint32_t max_events, SnapshotContents* contents);
// The baseline: the plain mean of the iALS vectors of the history's newest events.
SnapshotContents MeanOfHistoryContents(const Dataset& data, const FittedModel& model, uint32_t max_events,
                                       int64_t now_ms);
// The same over the output vectors of any snapshot.
SnapshotContents MeanOfHistoryContents(const ModelSnapshot& snapshot, int64_t now_ms);

// Writes user_vectors.sst for the users (ids in byte order) whose row of `vectors` ([users, dim] or empty) is
// not zero; no file when there is none. Returns how many.
absl::StatusOr<uint64_t> WriteUserVectors(const std::string& directory,
                                          const std::vector<std::string>& user_ids, const MatrixF& vectors);

// User vectors, then the snapshot itself, into `directory`. Users' vectors are the sample that an index is
// tried with, unless the contents have one.
absl::Status WriteModel(const std::string& directory, SnapshotContents contents,
                        const std::vector<std::string>& user_ids, const MatrixF& user_vectors);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_WRITE_MODEL_H_

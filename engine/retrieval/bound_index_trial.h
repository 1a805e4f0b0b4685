// Whether an index is worth having for the vectors it was built for, and how an approximate search through it
// is best done, by measurement.
#ifndef SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_
#define SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/retrieval/bound_index.h"
#include "engine/retrieval/retriever.h"

namespace swiftlet {

// What an approximate search must find in the trial on average of the best 10 and of the best 100, and of the
// best 10 when the best 100 are filtered out; of either half of the queries .003 less. At least the .99 that
// is promised, and more: the trial is a sample, and the cheapest of many scales is picked by it.
inline constexpr double kCalibratedRecall = 0.995, kCalibratedFilteredRecall = 0.99;

// How approximate searches by one similarity are best done.
struct Calibration {
  // The cheapest that reach kCalibratedRecall, or 1 and 1.
  BoundScale scale;
  double recall = 1;        // the least of all that was asked
  double rows_scanned = 0;  // for the best ten, as a fraction of all rows
};

// Means over the trial's queries.
struct BoundIndexTrial {
  size_t num_queries = 0;
  // Of exact searches for the best ten.
  double recall = 0;        // of the full scan's; below 1 only by a mistake
  double rows_scanned = 0;  // as fractions of a full scan's
  double bytes_read = 0;
  Calibration dot, cosine;

  // A full scan streams through memory, an index jumps: measured at 20,000 shapeless rows of dims 32 to 128,
  // it is as fast when it reads a sixth of the bytes.
  bool IsWorthIt() const { return bytes_read < 0.2; }
};

struct BoundIndexTrialOptions {
  // Vectors [S, dim] without padding that users are searched for with, which the index was not built from.
  // Empty: means of four items stand in for them.
  std::span<const float> user_vectors = {};
  size_t num_queries = 512;  // half of them by the dot product for a user, half by the cosine to an item
  size_t num_threads = 0;    // 0: one for each core
  uint64_t seed = 1;
};

// The same numbers on every run on one CPU target.
BoundIndexTrial TryBoundIndex(const ItemMatrix& items, std::span<const float> inverse_norms,
                              const BoundIndexView& index, const BoundIndexTrialOptions& options);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_RETRIEVAL_BOUND_INDEX_TRIAL_H_

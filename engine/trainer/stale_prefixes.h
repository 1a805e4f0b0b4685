// Long-term vectors as old as those that a server has: they were made with the snapshot, and lack what the
// user did since. A fit to vectors that know everything relies on what it will not have (on Amazon Beauty,
// tested one event after the vectors: NDCG@10 .0450 with, .0435 without).
#ifndef SWIFTLET_ENGINE_TRAINER_STALE_PREFIXES_H_
#define SWIFTLET_ENGINE_TRAINER_STALE_PREFIXES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/trainer/attention_fit.h"

namespace swiftlet {

// How many events happened since a user's long-term vector was made, for `count` examples: geometric, of this
// mean (>= 0), a function of the seed.
std::vector<uint32_t> DrawStaleness(size_t count, double mean, uint64_t seed);

// FoldInPrefixes without the newest staleness[e] of the events before example e; at least one event is left.
// examples: in order of user, then event. staleness: [examples]. [examples, dim].
MatrixF FoldInStalePrefixes(const Dataset& data, std::span<const EventClass> classes, const MatrixF& items,
                            const AlsOptions& als, std::span<const FitExample> examples,
                            std::span<const uint32_t> staleness, ThreadPool* pool);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_STALE_PREFIXES_H_

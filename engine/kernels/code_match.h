// Dot products of small integers for rows that stand in groups of sixteen, compared with a limit at once: the
// filter before a float dot product. All arithmetic is exact, so every SIMD target gives the same masks.
//
// A group of codes: for each quad of coordinates, 4 codes of row 0, 4 codes of row 1, .. 4 codes of row 15:
// group g, quad j, row r, coordinate 4 j + c is codes[((g * quads + j) * 16 + r) * 4 + c]. Sixteen rows fill
// one 512-bit vector, and no sum crosses lanes.
#ifndef SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_
#define SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

inline constexpr size_t kGroupRows = 16;
// Coordinates of one section; keeps sums far inside int32.
inline constexpr size_t kMaxQuads = 64;

struct CodeSection {
  const uint8_t* codes = nullptr;  // [groups, quads, 16, 4], 64-byte aligned
  const int8_t* query = nullptr;   // [quads * 4]
  size_t quads = 0;                // 0: the section adds nothing
};

// masks[i], bit r = (sum over both sections of code * query of row r of group groups[i]) >= limits[i].
// groups, limits, masks: [n]. sums: [n, 16], the sums themselves, or null. Prefetches ahead. Thread-safe.
void MatchGroups(const CodeSection& first, const CodeSection& second, const uint32_t* groups,
                 const int32_t* limits, size_t n, uint16_t* masks, int32_t* sums = nullptr);

// Whether MatchGroups uses AVX-512 VNNI at target AVX3 (where the CPU has it). For tests; not thread-safe.
void AllowVnni(bool allow);
bool UsesVnni();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_

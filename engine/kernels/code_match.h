// Dot products of small integers: the filters before a float dot product. All arithmetic is exact (or modulo
// 2^32, which is the same where results fit), so every SIMD target gives the same numbers.
//
// MatchGroups takes rows that stand in groups of sixteen and compares with a limit at once. A group of codes:
// for each quad of coordinates, 4 codes of row 0, 4 codes of row 1, .. 4 codes of row 15: group g, quad j,
// row r, coordinate 4 j + c is codes[((g * quads + j) * 16 + r) * 4 + c]. Sixteen rows fill one 512-bit
// vector, and no sum crosses lanes.
//
// DotCodes takes rows one by one, each of consecutive bytes, and a query of 16 bits.
#ifndef SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_
#define SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_

#include <cstddef>
#include <cstdint>

namespace swiftlet {

inline constexpr size_t kGroupRows = 16;
struct CodeSection {
  const uint8_t* codes = nullptr;  // [groups, quads, 16, 4], 64-byte aligned
  const int8_t* query = nullptr;   // [quads * 4]
  size_t quads = 0;                // >= 1
};

// masks[i], bit r = (sum of code * query over row r of group groups[i]) >= limits[i].
// groups, limits, masks: [n]. Prefetches ahead. Thread-safe.
void MatchGroups(const CodeSection& section, const uint32_t* groups, const int32_t* limits, size_t n,
                 uint16_t* masks);

inline constexpr size_t kMaxCodeRowBytes = 512;
// Of coordinates: with as many as kMaxCodeRowBytes, sums of (code - 128) * query still fit into int32.
inline constexpr int32_t kMaxCodeQuery = 32000;

// A query as DotCodes wants it.
struct CodeQuery {
  // query: [n], n <= kMaxCodeRowBytes, each in [-kMaxCodeQuery, kMaxCodeQuery].
  void Set(const int16_t* query, size_t n);

  size_t bytes = 0;                                                  // n, rounded up to a multiple of 16
  alignas(64) int16_t coordinates[kMaxCodeRowBytes];                 // padded with zeros to a multiple of 64
  alignas(64) int8_t high[kMaxCodeRowBytes], low[kMaxCodeRowBytes];  // coordinate = 256 * high + low
};

// sums[i] = sum over j of codes[rows[i] * query.bytes + j] * query.coordinates[j], modulo 2^32.
// codes: uint8 [rows, query.bytes], 16-byte aligned. rows, sums: [n]. Asks for nothing ahead. Thread-safe.
void DotCodes(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n, uint32_t* sums);

// Whether these functions use AVX-512 VNNI at target AVX3 (where the CPU has it). For tests; not thread-safe.
void AllowVnni(bool allow);
bool UsesVnni();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_CODE_MATCH_H_

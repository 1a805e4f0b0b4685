#include "engine/kernels/code_match_vnni.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define SWIFTLET_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#endif

namespace swiftlet {

#if defined(__x86_64__)

namespace {

constexpr size_t kAhead = 6;  // groups

SWIFTLET_VNNI inline __m512i Word(const int8_t* query, size_t quad) {
  int32_t word;
  std::memcpy(&word, query + quad * 4, 4);
  return _mm512_set1_epi32(word);
}

// Modulo 2^32. GCC's _mm512_reduce_add_epi32 adds signed numbers, whose overflow is undefined.
SWIFTLET_VNNI inline uint32_t SumOfLanes(__m512i x) {
  const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b01001110));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b10110001));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(sum));
}

SWIFTLET_VNNI inline __m512i AddSection(const CodeSection& s, uint32_t group, __m512i sum) {
  const uint8_t* codes = s.codes + size_t{group} * s.quads * 64;
  for (size_t j = 0; j < s.quads; ++j) {
    sum = _mm512_dpbusd_epi32(sum, _mm512_load_si512(codes + j * 64), Word(s.query, j));
  }
  return sum;
}

inline void PrefetchSection(const CodeSection& s, uint32_t group) {
  const uint8_t* codes = s.codes + size_t{group} * s.quads * 64;
  for (size_t j = 0; j < s.quads; ++j) __builtin_prefetch(codes + j * 64);
}

// One section of four quads, the query in registers: the case that carries the load.
SWIFTLET_VNNI void MatchFourQuads(const CodeSection& s, const uint32_t* groups, const int32_t* limits,
                                  size_t n, uint16_t* masks) {
  const __m512i q0 = Word(s.query, 0), q1 = Word(s.query, 1), q2 = Word(s.query, 2), q3 = Word(s.query, 3);
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) PrefetchSection(s, groups[i + kAhead]);
    const uint8_t* codes = s.codes + size_t{groups[i]} * 256;
    __m512i a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_load_si512(codes), q0);
    __m512i b = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_load_si512(codes + 64), q1);
    a = _mm512_dpbusd_epi32(a, _mm512_load_si512(codes + 128), q2);
    b = _mm512_dpbusd_epi32(b, _mm512_load_si512(codes + 192), q3);
    masks[i] = _mm512_cmpge_epi32_mask(_mm512_add_epi32(a, b), _mm512_set1_epi32(limits[i]));
  }
}

}  // namespace

bool CpuHasVnni() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vnni");
  return has;
}

SWIFTLET_VNNI void MatchGroupsVnni(const CodeSection& section, const uint32_t* groups, const int32_t* limits,
                                   size_t n, uint16_t* masks) {
  if (section.quads == 4) return MatchFourQuads(section, groups, limits, n, masks);
  for (size_t i = 0; i < std::min(n, kAhead); ++i) PrefetchSection(section, groups[i]);
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) PrefetchSection(section, groups[i + kAhead]);
    const __m512i sum = AddSection(section, groups[i], _mm512_setzero_si512());
    masks[i] = _mm512_cmpge_epi32_mask(sum, _mm512_set1_epi32(limits[i]));
  }
}

SWIFTLET_VNNI void DotCodesVnni(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n,
                                uint32_t* sums) {
  const size_t bytes = query.bytes, whole = bytes / 64 * 64;
  const auto tail = static_cast<__mmask64>(bytes == whole ? 0 : ~uint64_t{0} >> (64 - (bytes - whole)));
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* const row = codes + size_t{rows[i]} * bytes;
    __m512i high = _mm512_setzero_si512(), low = _mm512_setzero_si512();
    for (size_t j = 0; j < whole; j += 64) {
      const __m512i values = _mm512_loadu_si512(row + j);
      high = _mm512_dpbusd_epi32(high, values, _mm512_load_si512(query.high + j));
      low = _mm512_dpbusd_epi32(low, values, _mm512_load_si512(query.low + j));
    }
    if (tail != 0) {
      const __m512i values = _mm512_maskz_loadu_epi8(tail, row + whole);
      high = _mm512_dpbusd_epi32(high, values, _mm512_load_si512(query.high + whole));
      low = _mm512_dpbusd_epi32(low, values, _mm512_load_si512(query.low + whole));
    }
    sums[i] = SumOfLanes(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
  }
}

#else

bool CpuHasVnni() { return false; }

void MatchGroupsVnni(const CodeSection&, const uint32_t*, const int32_t*, size_t, uint16_t*) { std::abort(); }
void DotCodesVnni(const uint8_t*, const CodeQuery&, const uint32_t*, size_t, uint32_t*) { std::abort(); }

#endif

}  // namespace swiftlet

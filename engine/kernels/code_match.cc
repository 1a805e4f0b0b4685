#include "engine/kernels/code_match.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/kernels/code_match_vnni.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/code_match.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#ifndef SWIFTLET_ENGINE_KERNELS_CODE_MATCH_CC_ONCE_
#define SWIFTLET_ENGINE_KERNELS_CODE_MATCH_CC_ONCE_
namespace swiftlet {
namespace {

std::atomic<bool> vnni_allowed{true};

}  // namespace
}  // namespace swiftlet
#endif

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE

void AddSection(const CodeSection& s, uint32_t group, int32_t* HWY_RESTRICT sums) {
  const uint8_t* codes = s.codes + size_t{group} * s.quads * 64;
  for (size_t j = 0; j < s.quads; ++j) {
    for (size_t r = 0; r < kGroupRows; ++r) {
      for (size_t c = 0; c < 4; ++c) sums[r] += codes[j * 64 + r * 4 + c] * s.query[j * 4 + c];
    }
  }
}

void MatchGroupsImpl(const CodeSection& section, const uint32_t* groups, const int32_t* limits, size_t n,
                     uint16_t* masks) {
  for (size_t i = 0; i < n; ++i) {
    int32_t sums[kGroupRows] = {};
    AddSection(section, groups[i], sums);
    uint32_t mask = 0;
    for (size_t r = 0; r < kGroupRows; ++r) mask |= uint32_t{sums[r] >= limits[i]} << r;
    masks[i] = static_cast<uint16_t>(mask);
  }
}

void DotCodesImpl(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n,
                  uint32_t* sums) {
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* const row = codes + size_t{rows[i]} * query.bytes;
    uint32_t sum = 0;
    for (size_t j = 0; j < query.bytes; ++j) sum += static_cast<uint32_t>(row[j] * query.coordinates[j]);
    sums[i] = sum;
  }
}

#else

// Adds a section's sums for the codes [begin, begin + lanes of int16) of every quad: two int32 lanes to a
// row.
template <class D16, class V32>
HWY_INLINE void AddSection(D16 d16, const CodeSection& s, uint32_t group, size_t begin, V32& sum0,
                           V32& sum1) {
  const hn::RepartitionToWide<D16> d32;
  const hn::Repartition<int64_t, D16> d64;
  const hn::Rebind<uint8_t, D16> d8;
  const uint8_t* codes = s.codes + size_t{group} * s.quads * 64 + begin;
  for (size_t j = 0; j < s.quads; ++j) {
    const int8_t* q = s.query + j * 4;
    int64_t word;
    const int16_t wide[4] = {q[0], q[1], q[2], q[3]};
    std::memcpy(&word, wide, sizeof(word));
    const auto query = hn::BitCast(d16, hn::Set(d64, word));
    const auto values = hn::PromoteTo(d16, hn::LoadU(d8, codes + j * 64));
    sum0 = hn::ReorderWidenMulAccumulate(d32, values, query, sum0, sum1);
  }
}

void MatchGroupsImpl(const CodeSection& section, const uint32_t* groups, const int32_t* limits, size_t n,
                     uint16_t* masks) {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
  if (vnni_allowed.load(std::memory_order_relaxed) && CpuHasVnni()) {
    return MatchGroupsVnni(section, groups, limits, n, masks);
  }
#endif
  const hn::CappedTag<int16_t, 32> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const size_t lanes16 = hn::Lanes(d16);
  alignas(64) int32_t halves[2 * kGroupRows];
  for (size_t i = 0; i < n; ++i) {
    if (i + 4 < n) {
      const uint8_t* codes = section.codes + size_t{groups[i + 4]} * section.quads * 64;
      for (size_t j = 0; j < section.quads; ++j) hwy::Prefetch(codes + j * 64);
    }
    for (size_t begin = 0; begin < 64; begin += lanes16) {
      auto sum0 = hn::Zero(d32), sum1 = hn::Zero(d32);
      AddSection(d16, section, groups[i], begin, sum0, sum1);
      hn::StoreU(hn::RearrangeToOddPlusEven(sum0, sum1), d32, halves + begin / 2);
    }
    uint32_t mask = 0;
    for (size_t r = 0; r < kGroupRows; ++r) {
      mask |= uint32_t{halves[2 * r] + halves[2 * r + 1] >= limits[i]} << r;
    }
    masks[i] = static_cast<uint16_t>(mask);
  }
}

void DotCodesImpl(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n,
                  uint32_t* sums) {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
  if (vnni_allowed.load(std::memory_order_relaxed) && CpuHasVnni()) {
    return DotCodesVnni(codes, query, rows, n, sums);
  }
#endif
  const hn::CappedTag<int16_t, 16> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const hn::Rebind<uint8_t, decltype(d16)> d8;
  const size_t lanes = hn::Lanes(d16);  // divides query.bytes
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* const row = codes + size_t{rows[i]} * query.bytes;
    auto sum0 = hn::Zero(d32), sum1 = hn::Zero(d32);
    for (size_t j = 0; j < query.bytes; j += lanes) {
      const auto values = hn::PromoteTo(d16, hn::LoadU(d8, row + j));
      sum0 = hn::ReorderWidenMulAccumulate(d32, values, hn::Load(d16, query.coordinates + j), sum0, sum1);
    }
    sums[i] = static_cast<uint32_t>(hn::GetLane(hn::SumOfLanes(d32, hn::Add(sum0, sum1))));
  }
}

#endif

bool TargetUsesVnniImpl() {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
  return vnni_allowed.load(std::memory_order_relaxed) && CpuHasVnni();
#else
  return false;
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {

HWY_EXPORT(MatchGroupsImpl);
HWY_EXPORT(DotCodesImpl);
HWY_EXPORT(TargetUsesVnniImpl);

void MatchGroups(const CodeSection& section, const uint32_t* groups, const int32_t* limits, size_t n,
                 uint16_t* masks) {
  HWY_DYNAMIC_DISPATCH(MatchGroupsImpl)(section, groups, limits, n, masks);
}

void CodeQuery::Set(const int16_t* query, size_t n) {
  bytes = (n + 15) / 16 * 16;
  const size_t padded = (n + 63) / 64 * 64;
  for (size_t j = 0; j < padded; ++j) {
    const int value = j < n ? query[j] : 0;
    coordinates[j] = static_cast<int16_t>(value);
    // Rounded up, so that low is in [-128, 127].
    const int upper = (value + 128) >> 8;
    high[j] = static_cast<int8_t>(upper);
    low[j] = static_cast<int8_t>(value - upper * 256);
  }
}

void DotCodes(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n, uint32_t* sums) {
  HWY_DYNAMIC_DISPATCH(DotCodesImpl)(codes, query, rows, n, sums);
}

void AllowVnni(bool allow) { vnni_allowed.store(allow, std::memory_order_relaxed); }
bool UsesVnni() { return HWY_DYNAMIC_DISPATCH(TargetUsesVnniImpl)(); }

}  // namespace swiftlet
#endif  // HWY_ONCE

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

void MatchGroupsImpl(const CodeSection& first, const CodeSection& second, const uint32_t* groups,
                     const int32_t* limits, size_t n, uint16_t* masks, int32_t* sums) {
  for (size_t i = 0; i < n; ++i) {
    int32_t own[kGroupRows] = {};
    AddSection(first, groups[i], own);
    AddSection(second, groups[i], own);
    uint32_t mask = 0;
    for (size_t r = 0; r < kGroupRows; ++r) mask |= uint32_t{own[r] >= limits[i]} << r;
    if (sums != nullptr) std::copy_n(own, kGroupRows, sums + i * kGroupRows);
    masks[i] = static_cast<uint16_t>(mask);
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

void MatchGroupsImpl(const CodeSection& first, const CodeSection& second, const uint32_t* groups,
                     const int32_t* limits, size_t n, uint16_t* masks, int32_t* sums) {
#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
  if (vnni_allowed.load(std::memory_order_relaxed) && CpuHasVnni()) {
    return MatchGroupsVnni(first, second, groups, limits, n, masks, sums);
  }
#endif
  const hn::CappedTag<int16_t, 32> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const size_t lanes16 = hn::Lanes(d16);
  alignas(64) int32_t halves[2 * kGroupRows];
  for (size_t i = 0; i < n; ++i) {
    if (i + 4 < n) {
      for (const CodeSection* s : {&first, &second}) {
        const uint8_t* codes = s->codes + size_t{groups[i + 4]} * s->quads * 64;
        for (size_t j = 0; j < s->quads; ++j) hwy::Prefetch(codes + j * 64);
      }
    }
    for (size_t begin = 0; begin < 64; begin += lanes16) {
      auto sum0 = hn::Zero(d32), sum1 = hn::Zero(d32);
      AddSection(d16, first, groups[i], begin, sum0, sum1);
      AddSection(d16, second, groups[i], begin, sum0, sum1);
      hn::StoreU(hn::RearrangeToOddPlusEven(sum0, sum1), d32, halves + begin / 2);
    }
    uint32_t mask = 0;
    for (size_t r = 0; r < kGroupRows; ++r) {
      const int32_t sum = halves[2 * r] + halves[2 * r + 1];
      mask |= uint32_t{sum >= limits[i]} << r;
      if (sums != nullptr) sums[i * kGroupRows + r] = sum;
    }
    masks[i] = static_cast<uint16_t>(mask);
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
HWY_EXPORT(TargetUsesVnniImpl);

void MatchGroups(const CodeSection& first, const CodeSection& second, const uint32_t* groups,
                 const int32_t* limits, size_t n, uint16_t* masks, int32_t* sums) {
  HWY_DYNAMIC_DISPATCH(MatchGroupsImpl)(first, second, groups, limits, n, masks, sums);
}

void AllowVnni(bool allow) { vnni_allowed.store(allow, std::memory_order_relaxed); }
bool UsesVnni() { return HWY_DYNAMIC_DISPATCH(TargetUsesVnniImpl)(); }

}  // namespace swiftlet
#endif  // HWY_ONCE

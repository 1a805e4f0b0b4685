// MatchGroups and DotCodes with AVX-512 VNNI, which Highway's targets do not have. Private to this folder.
#ifndef SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_
#define SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_

#include "engine/kernels/code_match.h"

namespace swiftlet {

// Whether this CPU runs the functions below. Always false on other architectures.
bool CpuHasVnni();
// Both require CpuHasVnni().
void MatchGroupsVnni(const CodeSection& section, const uint32_t* groups, const int32_t* limits, size_t n,
                     uint16_t* masks);
void DotCodesVnni(const uint8_t* codes, const CodeQuery& query, const uint32_t* rows, size_t n,
                  uint32_t* sums);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_

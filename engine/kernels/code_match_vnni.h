// MatchGroups with AVX-512 VNNI, which Highway's targets do not have. Private to this folder.
#ifndef SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_
#define SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_

#include "engine/kernels/code_match.h"

namespace swiftlet {

// Whether this CPU runs the function below. Always false on other architectures.
bool CpuHasVnni();
// Requires CpuHasVnni().
void MatchGroupsVnni(const CodeSection& first, const CodeSection& second, const uint32_t* groups,
                     const int32_t* limits, size_t n, uint16_t* masks, int32_t* sums);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_CODE_MATCH_VNNI_H_

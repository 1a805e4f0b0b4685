// Which SIMD target the kernels use.
#ifndef SWIFTLET_ENGINE_KERNELS_CPU_TARGET_H_
#define SWIFTLET_ENGINE_KERNELS_CPU_TARGET_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace swiftlet {

// The target in use, such as "AVX3" or "SSE4". For logs, benchmarks and GetStatus.
std::string ActiveCpuTarget();

// All targets that this binary has and this CPU can run, best first.
std::vector<std::string> SupportedCpuTargets();

// Makes kernels use `name` from now on ("" returns to the best). For tests and experiments; not thread-safe.
// NOT_FOUND, with the supported names, for a target that this CPU cannot run.
absl::Status ForceCpuTarget(const std::string& name);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_KERNELS_CPU_TARGET_H_

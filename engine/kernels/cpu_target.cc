#include "engine/kernels/cpu_target.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/cpu_target.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace swiftlet {
namespace HWY_NAMESPACE {

int64_t ThisTargetImpl() { return HWY_TARGET; }

}  // namespace HWY_NAMESPACE
}  // namespace swiftlet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swiftlet {
namespace {

HWY_EXPORT(ThisTargetImpl);

// The targets compiled here that the CPU can run, best first. Asked for once, before ForceCpuTarget restricts
// what Highway reports.
const std::vector<int64_t>& RunnableTargets() {
  static const auto* const targets = new std::vector<int64_t>(hwy::SupportedAndGeneratedTargets());
  return *targets;
}

}  // namespace

std::string ActiveCpuTarget() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(ThisTargetImpl)()); }

std::vector<std::string> SupportedCpuTargets() {
  std::vector<std::string> names;
  for (const int64_t target : RunnableTargets()) names.emplace_back(hwy::TargetName(target));
  return names;
}

absl::Status ForceCpuTarget(const std::string& name) {
  int64_t mask = 0;  // Highway: no restriction
  const std::vector<int64_t>& runnable = RunnableTargets();
  if (!name.empty()) {
    for (const int64_t target : runnable) {
      if (name == hwy::TargetName(target)) mask = target;
    }
    if (mask == 0) {
      return absl::NotFoundError(absl::StrCat("CPU target \"", name, "\": this CPU runs ",
                                              absl::StrJoin(SupportedCpuTargets(), ", ")));
    }
  }
  hwy::SetSupportedTargetsForTest(mask);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return absl::OkStatus();
}

}  // namespace swiftlet
#endif  // HWY_ONCE

// Early return on a failed absl::Status or absl::StatusOr.
//
//   SWIFTLET_RETURN_IF_ERROR(writer.Append(rows));
//   SWIFTLET_ASSIGN_OR_RETURN(auto snapshot, ModelSnapshot::Load(dir));
#ifndef SWIFTLET_ENGINE_BASE_STATUS_MACROS_H_
#define SWIFTLET_ENGINE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define SWIFTLET_RETURN_IF_ERROR(expr)                   \
  do {                                                   \
    absl::Status swiftlet_status_ = (expr);              \
    if (!swiftlet_status_.ok()) return swiftlet_status_; \
  } while (false)

#define SWIFTLET_CONCAT_INNER_(a, b) a##b
#define SWIFTLET_CONCAT_(a, b) SWIFTLET_CONCAT_INNER_(a, b)
#define SWIFTLET_ASSIGN_OR_RETURN(lhs, expr) \
  SWIFTLET_ASSIGN_OR_RETURN_IMPL_(SWIFTLET_CONCAT_(swiftlet_statusor_, __LINE__), lhs, expr)
#define SWIFTLET_ASSIGN_OR_RETURN_IMPL_(var, lhs, expr) \
  auto var = (expr);                                    \
  if (!var.ok()) return std::move(var).status();        \
  lhs = std::move(var).value()

#endif  // SWIFTLET_ENGINE_BASE_STATUS_MACROS_H_

// Every method of the API.
#ifndef SWIFTLET_SERVER_METHOD_H_
#define SWIFTLET_SERVER_METHOD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace swiftlet {

enum class Method : uint8_t {
  kRecommend,
  kSimilarItems,
  kScoreItems,
  kRecordEvents,
  kUpsertItems,
  kDeleteItems,
  kGetItems,
  kGetUser,
  kDeleteUser,
  kListSnapshots,
  kLoadSnapshot,
  kGetStatus,
  kLoadEvents,
  kPredict,
  kExportUser,
  kCreateBackup,
  kListBackups,
  kVerifyBackup,
  kPreviewSnapshot,
};
inline constexpr std::array<std::string_view, 19> kMethodNames = {
    "Recommend",    "SimilarItems", "ScoreItems",   "RecordEvents",   "UpsertItems",
    "DeleteItems",  "GetItems",     "GetUser",      "DeleteUser",     "ListSnapshots",
    "LoadSnapshot", "GetStatus",    "LoadEvents",   "Predict",        "ExportUser",
    "CreateBackup", "ListBackups",  "VerifyBackup", "PreviewSnapshot"};
inline constexpr size_t kNumMethods = kMethodNames.size();

constexpr std::string_view MethodName(Method method) { return kMethodNames[static_cast<size_t>(method)]; }

constexpr std::optional<Method> MethodByName(std::string_view name) {
  for (size_t m = 0; m < kNumMethods; ++m) {
    if (kMethodNames[m] == name) return static_cast<Method>(m);
  }
  return std::nullopt;
}

// Whether operators need it most when the server has too much to do: it is then let in all the same.
constexpr bool IsAdministration(Method method) {
  return method == Method::kListSnapshots || method == Method::kLoadSnapshot || method == Method::kGetStatus;
}

// Of AdminService, whose calls take as long as what they do.
constexpr bool IsOfAdminService(Method method) {
  return IsAdministration(method) || method == Method::kCreateBackup || method == Method::kListBackups ||
         method == Method::kVerifyBackup || method == Method::kPreviewSnapshot;
}

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_METHOD_H_

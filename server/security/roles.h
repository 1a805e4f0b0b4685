// Who may call what. The one table, for every way in which the API is offered.
//
//   role        may call
//   recommend   Recommend, SimilarItems, ScoreItems, Predict, GetItems
//   ingest      RecordEvents, LoadEvents, UpsertItems, DeleteItems, GetItems
//   admin       everything: besides the above GetUser, ExportUser and DeleteUser (what is known about a
//   person),
//               ListSnapshots, LoadSnapshot, PreviewSnapshot, GetStatus, CreateBackup, ListBackups and
//               VerifyBackup
//
// grpc.health.v1 asks for no token: load balancers and probes have none. Reflection tells what the API looks
// like and asks for none either; where tokens are asked for, it is off unless the configuration turns it on.
#ifndef SWIFTLET_SERVER_SECURITY_ROLES_H_
#define SWIFTLET_SERVER_SECURITY_ROLES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/method.h"

namespace swiftlet {

enum class Role : uint8_t { kRecommend, kIngest, kAdmin };
inline constexpr std::array<std::string_view, 3> kRoleNames = {"recommend", "ingest", "admin"};

constexpr std::optional<Role> RoleByName(std::string_view name) {
  for (size_t r = 0; r < kRoleNames.size(); ++r) {
    if (kRoleNames[r] == name) return static_cast<Role>(r);
  }
  return std::nullopt;
}

// A value.
class RoleSet {
 public:
  constexpr RoleSet() = default;
  template <typename... Roles>
  static constexpr RoleSet Of(Roles... roles) {
    RoleSet set;
    (set.Add(roles), ...);
    return set;
  }
  constexpr void Add(Role role) { bits_ |= static_cast<uint8_t>(1u << static_cast<unsigned>(role)); }
  constexpr bool Has(Role role) const { return (bits_ >> static_cast<unsigned>(role) & 1u) != 0; }
  constexpr bool Meets(RoleSet other) const { return (bits_ & other.bits_) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  // "recommend,ingest".
  std::string ToString() const {
    std::string text;
    for (size_t r = 0; r < kRoleNames.size(); ++r) {
      if (!Has(static_cast<Role>(r))) continue;
      if (!text.empty()) text += ',';
      text += kRoleNames[r];
    }
    return text;
  }
  friend constexpr bool operator==(RoleSet, RoleSet) = default;

 private:
  uint8_t bits_ = 0;
};

// Those that may call it. A new method does not compile before it is here.
constexpr RoleSet RolesThatMay(Method method) {
  switch (method) {
    case Method::kRecommend:
    case Method::kSimilarItems:
    case Method::kScoreItems:
    case Method::kPredict:
      return RoleSet::Of(Role::kRecommend, Role::kAdmin);
    case Method::kRecordEvents:
    case Method::kLoadEvents:
    case Method::kUpsertItems:
    case Method::kDeleteItems:
      return RoleSet::Of(Role::kIngest, Role::kAdmin);
    case Method::kGetItems:
      return RoleSet::Of(Role::kRecommend, Role::kIngest, Role::kAdmin);
    case Method::kGetUser:
    case Method::kExportUser:
    case Method::kDeleteUser:
    case Method::kListSnapshots:
    case Method::kLoadSnapshot:
    case Method::kGetStatus:
    case Method::kCreateBackup:
    case Method::kListBackups:
    case Method::kVerifyBackup:
    case Method::kPreviewSnapshot:
      return RoleSet::Of(Role::kAdmin);
  }
  return {};  // no method: nobody
}

// Which calls the audit log keeps: those that only an admin may make.
enum class Audit : uint8_t {
  kNone,
  kRead,    // kept where the audit log is a file of its own: some are made every few seconds
  kChange,  // always kept: changes what is served, or what is known about a person, or hands that out
};
constexpr Audit AuditOf(Method method) {
  if (RolesThatMay(method) != RoleSet::Of(Role::kAdmin)) return Audit::kNone;
  const bool reads = method == Method::kGetUser || method == Method::kListSnapshots ||
                     method == Method::kGetStatus || method == Method::kListBackups ||
                     method == Method::kVerifyBackup || method == Method::kPreviewSnapshot;
  return reads ? Audit::kRead : Audit::kChange;
}

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_SECURITY_ROLES_H_

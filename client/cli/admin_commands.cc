// swiftlet snapshot list/load/follow, swiftlet status.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "client/cli/text.h"
#include "client/rpc_status.h"

namespace swiftlet::cli {
namespace {

// SNAPSHOT_STATE_SERVING -> "serving".
std::string StateText(v1::SnapshotState state) {
  std::string name = v1::SnapshotState_Name(state);
  name = name.substr(std::min(name.size(), std::string_view("SNAPSHOT_STATE_").size()));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

// The model's own metrics, NDCG first. Names with a dot ("popularity.ndcg@10") are those of baselines.
std::string MetricsText(const v1::SnapshotInfo& snapshot, bool with_baselines) {
  std::vector<std::pair<std::string, double>> metrics(snapshot.metrics().begin(), snapshot.metrics().end());
  const auto rank = [](const std::string& name) {
    return std::tuple(name.find('.') != std::string::npos, name.rfind("ndcg", 0) != 0, name);
  };
  std::sort(metrics.begin(), metrics.end(),
            [&](const auto& a, const auto& b) { return rank(a.first) < rank(b.first); });
  std::vector<std::string> texts;
  for (const auto& [name, value] : metrics) {
    if (with_baselines || name.find('.') == std::string::npos) {
      texts.push_back(absl::StrFormat("%s %.4f", name, value));
    }
  }
  return absl::StrJoin(texts, ", ");
}

std::string SnapshotText(const v1::SnapshotInfo& snapshot) {
  std::string text = absl::StrCat(snapshot.version(), " (", StateText(snapshot.state()));
  if (!snapshot.model_kind().empty()) {
    absl::StrAppend(&text, ", ", snapshot.model_kind(), ", ", snapshot.dim(), " dimensions, ",
                    Count(snapshot.num_items(), "item"), ", ", Count(snapshot.num_users(), "user"));
  }
  if (snapshot.created_ms() != 0) absl::StrAppend(&text, ", made ", TimeText(snapshot.created_ms()));
  if (snapshot.pinned()) absl::StrAppend(&text, ", pinned");
  return text + ")";
}

int RunSnapshotList(Session& session) {
  const std::unique_ptr<Client> client = session.Connect("snapshot list");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::ListSnapshotsResponse> answer = client->ListSnapshots(session.Call());
  if (!answer.ok()) return session.Fail("snapshot list", answer.status());
  if (session.json) return session.PrintJson(*answer);
  if (answer->snapshots_size() == 0) {
    session.io.out
        << "No snapshots. swiftlet-trainer train publishes one into the server's model directory.\n";
    return kOk;
  }
  Table table({{"Version", Table::Align::kRight},
               {"State"},
               {"Model"},
               {"Dim", Table::Align::kRight},
               {"Items", Table::Align::kRight},
               {"Users", Table::Align::kRight},
               {"Made (UTC)"},
               {"Size", Table::Align::kRight},
               {"Offline metrics", Table::Align::kLeft, 60}});
  for (const v1::SnapshotInfo& snapshot : answer->snapshots()) {
    table.AddRow({absl::StrCat(snapshot.version()),
                  absl::StrCat(StateText(snapshot.state()), snapshot.pinned() ? ", pinned" : ""),
                  snapshot.model_kind(), absl::StrCat(snapshot.dim()), WithThousands(snapshot.num_items()),
                  WithThousands(snapshot.num_users()), TimeText(snapshot.created_ms()),
                  BytesText(snapshot.size_bytes()), MetricsText(snapshot, /*with_baselines=*/false)});
    if (!snapshot.error().empty()) table.AddNote(absl::StrCat("refused: ", snapshot.error()));
  }
  table.Print(session.io.out, session.io.out_is_terminal);
  return kOk;
}

int RunSnapshotLoad(Session& session, const std::string& name, int64_t version) {
  v1::LoadSnapshotRequest request;
  request.set_version(version);
  const std::unique_ptr<Client> client = session.Connect(name);
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::LoadSnapshotResponse> answer =
      client->LoadSnapshot(request, session.Call(absl::Minutes(2)));
  if (!answer.ok()) return session.Fail(name, answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << "Serving snapshot " << SnapshotText(answer->snapshot()) << " after "
                 << absl::StrFormat("%.3f s", answer->seconds()) << ".\n";
  if (version == 0) {
    session.io.out << "New publications are loaded by themselves again.\n";
  } else {
    session.io.out << "It is pinned: newer publications wait until `swiftlet snapshot follow`.\n";
  }
  return kOk;
}

constexpr char kRecommendationService[] = "swiftlet.v1.RecommendationService";
const std::pair<const char*, const char*> kServices[] = {{"", "server"},
                                                         {kRecommendationService, "recommendations"},
                                                         {"swiftlet.v1.EventService", "events"},
                                                         {"swiftlet.v1.CatalogService", "catalogue"},
                                                         {"swiftlet.v1.UserService", "users"},
                                                         {"swiftlet.v1.AdminService", "administration"}};

// Waits until the recommendation service serves or `wait` has passed; the last answer is for the caller to
// ask.
void WaitUntilServing(Client& client, absl::Duration wait) {
  constexpr absl::Duration kPause = absl::Milliseconds(100);
  const absl::Time end = absl::Now() + wait;
  for (;;) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return;
    // Not longer than a second at a time: a connection that hangs is given up and made again.
    const absl::StatusOr<ServingStatus> health = client.CheckHealth(
        kRecommendationService, {.timeout = std::min(left, absl::Seconds(1)), .wait_for_ready = true});
    if (health.ok() && *health == ServingStatus::kServing) return;
    absl::SleepFor(std::min(kPause, std::max(end - absl::Now(), absl::ZeroDuration())));
  }
}

void PrintStatus(const v1::GetStatusResponse& status, const std::vector<ServingStatus>& health,
                 Session& session) {
  std::ostream& out = session.io.out;
  out << "Server " << Printable(session.server) << ", version " << Printable(status.server_version())
      << ", up since " << TimeText(status.start_time_ms()) << " UTC, kernels "
      << Printable(status.cpu_target()) << "\n";
  if (status.draining()) out << "It is shutting down.\n";
  out << "\n";
  Table table({{"Service"}, {"Health"}});
  for (size_t i = 0; i < health.size(); ++i) {
    table.AddRow({kServices[i].second, std::string(ServingStatusName(health[i]))});
  }
  table.Print(out, session.io.out_is_terminal);
  out << "\nSnapshot   " << (status.has_serving() ? Printable(SnapshotText(status.serving())) : "none loaded")
      << "\n";
  if (const std::string metrics = MetricsText(status.serving(), /*with_baselines=*/true); !metrics.empty()) {
    out << "           offline: " << Printable(metrics) << "\n";
  }
  out << "Catalogue  " << Count(status.num_overlay_items(), "item") << " changed since the snapshot, "
      << WithThousands(status.num_items_without_vector()) << " without a vector\n"
      << "Users      " << WithThousands(status.user_cache_entries()) << " in the cache ("
      << BytesText(status.user_cache_bytes()) << ")\n"
      << "Memory     " << BytesText(status.resident_bytes()) << "\n";
  if (!status.last_load_error().empty()) {
    out << "Last failed load: " << Printable(status.last_load_error()) << "\n";
  }
}

// live: recommendations need not be served.
int RunStatus(Session& session, double wait_seconds, bool live) {
  const std::unique_ptr<Client> client = session.Connect("status");
  if (client == nullptr) return kFailed;
  if (wait_seconds > 0) WaitUntilServing(*client, absl::Seconds(wait_seconds));
  std::vector<ServingStatus> health;
  for (const auto& [service, label] : kServices) {
    const absl::StatusOr<ServingStatus> answer = client->CheckHealth(service, session.Call());
    if (!answer.ok()) return session.Fail("status", answer.status());
    health.push_back(*answer);
  }
  const absl::StatusOr<v1::GetStatusResponse> status = client->GetStatus(session.Call());
  if (live && (absl::IsUnauthenticated(status.status()) || absl::IsPermissionDenied(status.status()))) {
    // It answers, which is all that is asked; a probe of a container needs no token of an admin.
    session.io.err << "swiftlet: status: only health: " << Printable(ServerMessage(status.status())) << "\n";
    return kOk;
  }
  if (!status.ok()) return session.Fail("status", status.status());
  const bool serving = live || health[1] == ServingStatus::kServing;
  if (session.json) {
    nlohmann::json object = nlohmann::json::parse(ToJson(*status));
    for (size_t i = 0; i < health.size(); ++i) {
      object["health"][kServices[i].first] = std::string(ServingStatusName(health[i]));
    }
    session.io.out << object.dump(1) << "\n";
  } else {
    PrintStatus(*status, health, session);
  }
  if (serving) return kOk;
  session.io.err << "swiftlet: status: the recommendation service is " << ServingStatusName(health[1])
                 << "\n";
  return kFailed;
}

}  // namespace

void AddAdminCommands(CLI::App& app, Session& session) {
  CLI::App* snapshot = app.add_subcommand("snapshot", "The model snapshots of the server");
  snapshot->require_subcommand(1);
  snapshot->footer("Example:\n  swiftlet snapshot list");
  AddCommand(*snapshot, session, "list", "The snapshots in the server's model directory, newest first",
             "  swiftlet snapshot list", [&session] { return RunSnapshotList(session); });
  const auto version = std::make_shared<int64_t>(0);
  CLI::App* load =
      AddCommand(*snapshot, session, "load",
                 "Serves a version (a roll-forward or a rollback) and pins it; returns when it serves",
                 "  swiftlet snapshot load 3",
                 [&session, version] { return RunSnapshotLoad(session, "snapshot load", *version); });
  load->add_option("version", *version, "A version of `swiftlet snapshot list`")
      ->required()
      ->check(WholeNumber(0))
      ->type_name("VERSION")
      ->default_str("");
  AddCommand(
      *snapshot, session, "follow", "Unpins: serves the newest snapshot, now and whenever one is published",
      "  swiftlet snapshot follow", [&session] { return RunSnapshotLoad(session, "snapshot follow", 0); });

  const auto wait = std::make_shared<double>(0);
  const auto live = std::make_shared<bool>(false);
  CLI::App* status = AddCommand(
      app, session, "status",
      "Health and state of the server; exit code 0 only when it can answer recommendation requests",
      "  swiftlet status --wait 30   # in a start-up script",
      [&session, wait, live] { return RunStatus(session, *wait, *live); });
  status->add_flag("--live", *live,
                   "Exit code 0 as soon as the server answers, also while it waits for its first snapshot");
  status->add_option("--wait", *wait, "Wait up to this long until recommendations are served")
      ->check(SecondsFrom0())
      ->type_name("SECONDS");
}

}  // namespace swiftlet::cli

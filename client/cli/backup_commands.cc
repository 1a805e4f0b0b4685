// swiftlet backup create/list/verify.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

// Of making and verifying: as long as it takes. Ctrl-C stops the server's work, too.
constexpr absl::Duration kTimeout = absl::Hours(24);

std::string Summary(const v1::BackupInfo& backup, double seconds) {
  return absl::StrCat("Backup ", backup.id(), ", made ", TimeText(backup.created_ms()),
                      " UTC: ", BytesText(backup.size_bytes()), ", ", Count(backup.num_files(), "file"),
                      absl::StrFormat(", in %.2f s.", seconds));
}

int RunCreate(Session& session) {
  const std::unique_ptr<Client> client = session.Connect("backup create");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::CreateBackupResponse> answer = client->CreateBackup(session.Call(kTimeout));
  if (!answer.ok()) return session.Fail("backup create", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Summary(answer->backup(), answer->seconds()) << "\n";
  return kOk;
}

int RunVerify(Session& session, uint32_t id) {
  const std::unique_ptr<Client> client = session.Connect("backup verify");
  if (client == nullptr) return kFailed;
  v1::VerifyBackupRequest request;
  request.set_id(id);
  const absl::StatusOr<v1::VerifyBackupResponse> answer =
      client->VerifyBackup(request, session.Call(kTimeout));
  if (!answer.ok()) return session.Fail("backup verify", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Summary(answer->backup(), answer->seconds()) << "\nEvery file is as it was written.\n";
  return kOk;
}

int RunList(Session& session) {
  const std::unique_ptr<Client> client = session.Connect("backup list");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::ListBackupsResponse> answer = client->ListBackups(session.Call());
  if (!answer.ok()) return session.Fail("backup list", answer.status());
  if (session.json) return session.PrintJson(*answer);
  std::ostream& out = session.io.out;
  if (answer->backups_size() == 0) {
    out << "No backups in " << Printable(answer->directory()) << ". `swiftlet backup create` makes one.\n";
  } else {
    Table table({{"Backup", Table::Align::kRight},
                 {"Made (UTC)"},
                 {"Size", Table::Align::kRight},
                 {"Files", Table::Align::kRight}});
    for (const v1::BackupInfo& backup : answer->backups()) {
      table.AddRow({absl::StrCat(backup.id()), TimeText(backup.created_ms()), BytesText(backup.size_bytes()),
                    WithThousands(backup.num_files())});
      if (backup.damaged()) table.AddNote("damaged: it cannot be restored");
    }
    table.Print(out, session.io.out_is_terminal);
    out << "\nIn " << Printable(answer->directory())
        << " of the server. Of a stopped one: swiftlet-server --restore.\n";
  }
  if (answer->has_running()) {
    const v1::BackupJob& job = answer->running();
    out << "A backup is being " << (job.kind() == "verify" ? "verified" : "made") << " since "
        << TimeText(job.start_time_ms()) << " UTC: " << BytesText(job.num_bytes()) << " so far.\n";
  }
  if (!answer->last_error().empty()) {
    out << "The last attempt failed: " << Printable(answer->last_error()) << "\n";
  }
  return kOk;
}

}  // namespace

void AddBackupCommands(CLI::App& app, Session& session) {
  CLI::App* backup = app.add_subcommand("backup", "Backups of the server's users, items and events");
  backup->require_subcommand(1);
  backup->footer("Example:\n  swiftlet backup create && swiftlet backup verify");
  AddCommand(*backup, session, "create",
             "Makes one while the server serves, in its backup.directory; returns when it is on disk",
             "  swiftlet backup create", [&session] { return RunCreate(session); });
  AddCommand(*backup, session, "list", "The backups in the server's directory, newest first",
             "  swiftlet backup list", [&session] { return RunList(session); });
  const auto id = std::make_shared<uint32_t>(0);
  AddCommand(*backup, session, "verify", "Reads one and compares checksums; exit code 1 when it is damaged",
             "  swiftlet backup verify 12", [&session, id] { return RunVerify(session, *id); })
      ->add_option("id", *id, "A backup of `swiftlet backup list`; 0: the newest")
      ->check(WholeNumber(0))
      ->type_name("ID");
}

}  // namespace swiftlet::cli

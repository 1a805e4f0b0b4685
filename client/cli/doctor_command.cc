// swiftlet doctor: looks at this machine by the server's own program.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "client/cli/command.h"

namespace swiftlet::cli {
namespace {

constexpr char kServerProgram[] = "swiftlet-server";

struct DoctorFlags {
  std::string config, data_dir, model_dir, listen, program;
};

// swiftlet-server beside this program, where there is one; else by its name, to be looked for in PATH.
std::string ServerProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path beside = self.parent_path() / kServerProgram;
    if (access(beside.c_str(), X_OK) == 0) return beside.string();
  }
  return kServerProgram;
}

// Becomes the server's program; comes back only when that cannot be run.
int RunDoctor(Session& session, const DoctorFlags& flags) {
  const std::string program = flags.program.empty() ? ServerProgram() : flags.program;
  std::vector<std::string> args = {program, "--doctor"};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) args.insert(args.end(), {name, value});
  };
  add("--config", flags.config);
  add("--data-dir", flags.data_dir);
  add("--model-dir", flags.model_dir);
  add("--listen", flags.listen);
  if (session.json) args.push_back("--json");
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  session.io.out.flush();
  execvp(program.c_str(), argv.data());
  return session.Fail("doctor", absl::NotFoundError(program + ": cannot run it: " + std::strerror(errno) +
                                                    " (--server-program names the server's program)"));
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<DoctorFlags>();
  CLI::App* const command = AddCommand(
      app, session, "doctor",
      "Look at this machine as a server will meet it: processor, memory, limits, addresses, directories, "
      "the snapshot and the configuration; say what to do. Exit code 1 where there is a problem.",
      "  swiftlet doctor --config /etc/swiftlet.textproto",
      [&session, flags] { return RunDoctor(session, *flags); });
  command->add_option("--config", flags->config, "The server's configuration file")->type_name("FILE");
  command->add_option("--data-dir", flags->data_dir, "As of swiftlet-server")->type_name("DIR");
  command->add_option("--model-dir", flags->model_dir, "As of swiftlet-server")->type_name("DIR");
  command->add_option("--listen", flags->listen, "As of swiftlet-server")->type_name("HOST:PORT");
  command
      ->add_option("--server-program", flags->program,
                   "swiftlet-server; default: the one beside this program, or in PATH")
      ->type_name("FILE");
}

}  // namespace swiftlet::cli

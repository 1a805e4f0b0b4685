#include "client/load/managed_server.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>
#include <unordered_set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/load/driver.h"

namespace swiftlet::load {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kPoll = std::chrono::milliseconds(5);
constexpr auto kTermTimeout = std::chrono::seconds(20);

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The end of a log, for an error message.
std::string Tail(const std::string& path) {
  std::string text = ReadFile(path);
  constexpr size_t kMost = 1000;
  if (text.size() > kMost) text = "... " + text.substr(text.size() - kMost);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

double ProcessCpu(pid_t pid) {
  constexpr pid_t kMaxPid = 1 << 22;  // Linux's; the clock's number of a larger one is another clock's
  if (pid <= 0 || pid > kMaxPid) return -1;
  clockid_t clock;
  timespec time = {};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return -1;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

int64_t ResidentBytes(pid_t pid) {
  std::ifstream statm(absl::StrCat("/proc/", pid, "/statm"));
  int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::optional<pid_t> FindListener(std::string_view address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || !absl::SimpleAtoi(std::string(address.substr(colon + 1)), &port)) {
    return std::nullopt;
  }
  // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...; state 0A listens.
  std::unordered_set<std::string> sockets;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(table);
    for (std::string line; std::getline(in, line);) {
      const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() < 10 || fields[3] != "0A") continue;
      const size_t at = fields[1].rfind(':');
      if (at != std::string::npos && std::strtol(fields[1].c_str() + at + 1, nullptr, 16) == port) {
        sockets.insert("socket:[" + fields[9] + "]");
      }
    }
  }
  if (sockets.empty()) return std::nullopt;
  std::error_code error;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", error)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(process.path().filename().string(), &pid)) continue;
    for (fs::directory_iterator fd(process.path() / "fd", error), end; !error && fd != end;
         fd.increment(error)) {
      std::error_code gone;
      if (sockets.contains(fs::read_symlink(fd->path(), gone).string())) return pid;
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<int>> ParseCpus(std::string_view text) {
  std::vector<int> cpus;
  for (const absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    const std::vector<std::string> ends = absl::StrSplit(part, '-');
    int first = 0, last = 0;
    if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) ||
        first < 0 || last < first || last >= CPU_SETSIZE) {
      return absl::InvalidArgumentError(absl::StrCat("\"", part, "\" is not a CPU or a range of CPUs"));
    }
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

absl::StatusOr<std::unique_ptr<ManagedServer>> ManagedServer::Start(const ManagedServerOptions& options) {
  if (access(options.binary.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot run ", options.binary, ": ", std::strerror(errno)));
  }
  const std::string port_path = options.directory + "/ports", log_path = options.directory + "/server.log";
  unlink(port_path.c_str());
  std::vector<std::string> args = options.args;
  args.insert(args.end(), {"--port-file", port_path});
  std::vector<char*> argv = {const_cast<char*>(options.binary.c_str())};
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const int cpu : options.cpus) CPU_SET(cpu, &cpus);
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0)
    return absl::UnavailableError(absl::StrCat("cannot write ", log_path, ": ", std::strerror(errno)));
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Not ended by Ctrl-C on the terminal, but with this process.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    if (!options.cpus.empty() && sched_setaffinity(0, sizeof(cpus), &cpus) != 0) _exit(126);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(log);
  if (pid < 0) return absl::UnavailableError(absl::StrCat("cannot start a process: ", std::strerror(errno)));
  std::unique_ptr<ManagedServer> server(new ManagedServer(pid));
  const Clock::time_point end = Clock::now() + absl::ToChronoNanoseconds(options.start_timeout);
  for (int port = 0; port == 0;) {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      server->pid_ = -1;
      const std::string how = WIFEXITED(status) && WEXITSTATUS(status) == 126 ? "cannot run on these CPUs"
                              : WIFEXITED(status) ? absl::StrCat("exit status ", WEXITSTATUS(status))
                                                  : absl::StrCat("signal ", WTERMSIG(status));
      return absl::UnavailableError(
          absl::StrCat(options.binary, " did not start (", how, "): ", Tail(log_path)));
    }
    if (Interrupted()) return absl::CancelledError("interrupted");
    if (Clock::now() > end) {
      return absl::DeadlineExceededError(absl::StrCat(options.binary, " does not listen after ",
                                                      absl::FormatDuration(options.start_timeout), ": ",
                                                      Tail(log_path)));
    }
    if (!(std::ifstream(port_path) >> port >> server->metrics_port_)) port = 0;
    if (port != 0) server->address_ = absl::StrCat("127.0.0.1:", port);
    if (port == 0) std::this_thread::sleep_for(kPoll);
  }
  return server;
}

ManagedServer::~ManagedServer() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  const Clock::time_point end = Clock::now() + kTermTimeout;
  while (waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (Clock::now() > end) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      return;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

absl::StatusOr<std::unique_ptr<ScratchDirectory>> ScratchDirectory::Create() {
  const char* parent = std::getenv("TMPDIR");
  std::string path =
      absl::StrCat(parent != nullptr && *parent != '\0' ? parent : "/tmp", "/swiftlet-load.XXXXXX");
  if (mkdtemp(path.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot make a directory ", path, ": ", std::strerror(errno)));
  }
  return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(std::move(path)));
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace swiftlet::load

#include "server/doctor.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/memory_limit.h"
#include "engine/kernels/cpu_target.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "server/io_threads.h"
#include "server/listen_check.h"
#include "server/process_stats.h"
#include "server/unix_socket.h"
#include "storage/data_directory.h"
#include "storage/file_handle.h"
#include "storage/training_reader.h"

namespace swiftlet {
namespace fs = std::filesystem;

namespace {

using Verdict = Finding::Verdict;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
// Threads, write buffers, gRPC: what a server needs beside caches and snapshots.
constexpr uint64_t kBaseBytes = 300 * kMiB;
constexpr uint64_t kEnoughFiles = 10'000;
constexpr double kSlowSyncMs = 10;

std::string Bytes(uint64_t bytes) {
  return bytes >= kGiB ? absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB))
                       : absl::StrFormat("%d MiB", bytes / kMiB);
}

class Examination {
 public:
  Examination(const ServerOptions& options, const HostFacts& host) : options_(options), host_(host) {}

  std::vector<Finding> Run() {
    Processor();
    // The database first: an address in use is the server's own where that has it open.
    std::vector<Finding> before = std::move(findings_);
    findings_.clear();
    DataDirectory();
    std::vector<Finding> data = std::move(findings_);
    findings_.clear();
    ModelDirectoryAndSnapshot();
    std::vector<Finding> models = std::move(findings_);
    findings_ = std::move(before);
    Memory();
    Files();
    Address("listen_address", options_.listen_address);
    if (!options_.unix_socket.empty()) Socket("unix_socket", options_.unix_socket);
    if (!options_.http.listen_address.empty()) Address("http.listen_address", options_.http.listen_address);
    if (!options_.metrics_address.empty()) Address("metrics_address", options_.metrics_address);
    for (const std::vector<Finding>& more :
         {ExamineSecurity(options_), data, models, ExamineBackups(options_), ExamineWrittenFiles(options_)}) {
      findings_.insert(findings_.end(), more.begin(), more.end());
    }
    return std::move(findings_);
  }

 private:
  void Ok(std::string about, std::string detail) { Add(Verdict::kOk, about, detail, ""); }
  void Advise(std::string about, std::string detail, std::string advice) {
    Add(Verdict::kAdvice, about, detail, advice);
  }
  void Problem(std::string about, std::string detail, std::string advice) {
    Add(Verdict::kProblem, about, detail, advice);
  }
  void Add(Verdict verdict, std::string& about, std::string& detail, std::string advice) {
    findings_.push_back({verdict, std::move(about), std::move(detail), std::move(advice)});
  }

  void Processor() {
    const std::string detail =
        absl::StrCat(host_.cpu_target, " kernels, ", host_.num_cpus, host_.num_cpus == 1 ? " CPU" : " CPUs");
    if (host_.cpu_target.starts_with("SSE") || host_.cpu_target == "EMU128" || host_.cpu_target == "SCALAR") {
      Advise("processor", detail,
             "scoring is several times faster with AVX2 or AVX-512: choose such a machine, or let "
             "the virtual machine pass the host's CPU through");
    } else {
      Ok("processor", detail);
    }
    if (options_.num_io_threads > host_.num_cpus) {
      Advise("num_io_threads",
             absl::StrCat(options_.num_io_threads, " threads for ", host_.num_cpus, " CPUs"),
             "threads that share a CPU hand calls to each other: leave it 0");
    }
  }

  void Memory() {
    const int threads = options_.num_io_threads > 0 ? options_.num_io_threads : host_.num_cpus;
    const uint64_t caches =
        static_cast<uint64_t>(options_.user_cache_bytes + options_.block_cache_bytes) +
        static_cast<uint64_t>(options_.user_vector_memo_bytes) * static_cast<uint64_t>(threads);
    const uint64_t needed = caches + 2 * snapshot_bytes_ + kBaseBytes;
    const std::string detail =
        absl::StrCat(Bytes(needed), " wanted (caches ", Bytes(caches), ", two snapshots of ",
                     Bytes(snapshot_bytes_), " during a swap, the rest ", Bytes(kBaseBytes), ")");
    if (host_.available_bytes == 0) {
      Ok("memory", detail + "; what is available is unknown");
    } else if (needed > host_.available_bytes && !running_) {
      Problem("memory", absl::StrCat(detail, ", ", Bytes(host_.available_bytes), " available"),
              "lower storage.user_cache_bytes, train with fewer dimensions or as bf16, or add memory");
    } else {
      Ok("memory", absl::StrCat(detail, ", ", Bytes(host_.available_bytes), " available"));
    }
    if (host_.swap_used_bytes > 64 * kMiB) {
      Advise("swap space", Bytes(host_.swap_used_bytes) + " in use",
             "what is swapped out costs milliseconds: turn swap off or set vm.swappiness to 1");
    }
  }

  void Files() {
    const std::string detail = absl::StrCat(host_.max_files, " open files allowed");
    if (host_.max_files < kEnoughFiles) {
      Advise("open files", detail,
             absl::StrCat("each connection and table file takes one: allow ", kEnoughFiles,
                          " (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile of docker)"));
    } else {
      Ok("open files", detail);
    }
  }

  void Address(const std::string& about, const std::string& address) {
    if (address.starts_with("unix:")) return Socket(about, address.substr(5));
    const ListenCheck check = CheckListening(address);
    if (check.ok) return Ok(about, absl::StrCat(address, " is free"));
    if (check.in_use && running_) {
      return Ok(about, absl::StrCat(address, " is in use, as a server is running"));
    }
    Problem(about, absl::StrCat(address, ": ", check.reason),
            check.in_use ? "another program listens there: name another port, or stop it"
                         : "name an address of this machine, and a port that this user may listen on");
  }

  void Socket(const std::string& about, const std::string& path) {
    const absl::StatusOr<SocketPath> found = LookAtSocketPath(path);
    if (!found.ok()) {
      return Problem(about, std::string(found.status().message()),
                     "name a path in a directory that the user that the server runs as may write");
    }
    if (*found != SocketPath::kInUse) return Ok(about, absl::StrCat(path, " is free"));
    if (running_) return Ok(about, absl::StrCat(path, " is in use, as a server is running"));
    Problem(about, absl::StrCat("cannot listen on ", path, ": another process listens on it"),
            "name another path, or stop that process");
  }

  // Free space, kind of file system and fsync of the directory that is at or above `path`.
  void Disk(const std::string& about, const std::string& path, bool exists) {
    struct statfs info = {};
    if (statfs(path.c_str(), &info) == 0 && (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)) {
      Advise(about, absl::StrCat(path, " is in memory (tmpfs)"),
             "everything is lost when the machine stops: use a disk");
    }
    if (const std::optional<DiskSpace> space = ReadDiskSpace(path); space.has_value()) {
      const std::string detail = absl::StrCat(Bytes(space->available), " free of ", Bytes(space->size));
      if (space->available < 512 * kMiB) {
        Problem(about, detail,
                "make room: writes fail on a full disk (storage.event_retention_hours bounds the log)");
      } else if (space->available < space->size / 20) {
        Advise(about, detail, "make room soon: compactions need some of it for a while");
      } else {
        Ok(about, detail);
      }
    }
    if (!exists) return;
    const std::string probe = absl::StrCat(path, "/.doctor-", getpid());
    std::vector<double> milliseconds;
    {
      const FileHandle file(open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      const std::string block(4096, 'x');
      for (int i = 0; i < 5 && file.fd() >= 0; ++i) {
        const auto start = std::chrono::steady_clock::now();
        if (write(file.fd(), block.data(), block.size()) < 0 || fdatasync(file.fd()) != 0) break;
        milliseconds.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
      }
    }
    const int error = errno;
    unlink(probe.c_str());
    if (milliseconds.size() < 5) {
      return Problem(about, absl::StrCat(path, ": cannot write: ", std::strerror(error)),
                     "give it to the user that the server runs as, on a file system that is not read-only");
    }
    std::nth_element(milliseconds.begin(), milliseconds.begin() + 2, milliseconds.end());
    const std::string detail = absl::StrFormat("fsync takes %.2f ms (median of 5)", milliseconds[2]);
    if (options_.sync_writes && milliseconds[2] > kSlowSyncMs) {
      Advise(about, detail,
             "every RecordEvents waits for one: use a faster disk, or storage.sync_writes: false if the "
             "last events may be lost with the power");
    } else {
      Ok(about, detail);
    }
  }

  // The nearest directory at or above a path that is there.
  static std::string Existing(const std::string& path) {
    std::error_code error;
    fs::path at = fs::absolute(path, error).lexically_normal();
    while (!fs::exists(at, error) && at != at.parent_path()) at = at.parent_path();
    return at.string();
  }

  // Whether a directory that is not there can be made; a finding where it cannot.
  bool CanBeCreated(const std::string& about, const std::string& path) {
    const std::string above = Existing(path);
    std::error_code error;
    const bool is_directory = fs::is_directory(above, error);
    if (is_directory && access(above.c_str(), W_OK | X_OK) == 0) return true;
    Problem(about,
            absl::StrCat(path, " is not there, and ", above,
                         is_directory ? " cannot be written" : " is not a directory"),
            "create it for the user that the server runs as");
    return false;
  }

  void DataDirectory() {
    const std::string& path = options_.data_dir;
    std::error_code error;
    if (!fs::exists(path, error)) {
      if (!CanBeCreated("data_dir", path)) return;
      Ok("data_dir", absl::StrCat(path, " will be created"));
      return Disk("data_dir", Existing(path), false);
    }
    const absl::StatusOr<DataDirectoryState> state = LookAtDataDirectory(path);
    if (!state.ok()) {
      return Problem("data_dir", std::string(state.status().message()),
                     "give it to the user that the server runs as");
    }
    running_ = *state == DataDirectoryState::kInUse;
    const bool is_database = running_ || *state == DataDirectoryState::kDatabase;
    switch (*state) {
      case DataDirectoryState::kMissing:  // since a moment ago
        return Ok("data_dir", absl::StrCat(path, " will be created"));
      case DataDirectoryState::kNotADirectory:
        return Problem("data_dir", path + " is not a directory", "name another data_dir");
      case DataDirectoryState::kHalfRestored:
        Problem("data_dir", absl::StrCat(path, ": ", kHalfRestoredProblem), kHalfRestoredAdvice);
        break;
      case DataDirectoryState::kDatabase:
      case DataDirectoryState::kInUse:
        Database(path);
        break;
      case DataDirectoryState::kEmpty:
        Ok("data_dir", path + " is empty: a database will be made");
        break;
      case DataDirectoryState::kForeign:
        Problem("data_dir", path + " holds other things than a database", "name another data_dir");
        break;
    }
    // Into an empty directory nothing is written, not even for a moment: a server that starts would refuse
    // it.
    Disk("data_dir", path, is_database);
  }

  void Database(const std::string& path) {
    std::error_code error;
    const fs::path temporary = fs::temp_directory_path(error);
    if (error || access(temporary.c_str(), W_OK) != 0) {
      return Advise("data_dir",
                    path + " holds a database that was not looked into: no directory for scratch files",
                    "set TMPDIR to one");
    }
    const std::string scratch = absl::StrCat(temporary.string(), "/swiftlet-doctor-", getpid());
    const auto reader = TrainingReader::Open(path, scratch);
    if (!reader.ok()) {
      return Problem("data_dir", std::string(reader.status().message()),
                     "if files are damaged, restore a backup; if a newer Swiftlet wrote it, run that");
    }
    Ok("data_dir", absl::StrCat(path, " holds a database", running_ ? ", which a server has open" : ""));
  }

  void ModelDirectoryAndSnapshot() {
    const ModelDirectory models(options_.model_dir);
    std::error_code error;
    if (!fs::exists(options_.model_dir, error)) {
      if (!CanBeCreated("model_dir", options_.model_dir)) return;
      return Advise(
          "model_dir", options_.model_dir + " is not there",
          absl::StrCat("the server creates it; train and publish a snapshot with `swiftlet-trainer train "
                       "--models ",
                       options_.model_dir, "`"));
    }
    if (!fs::is_directory(options_.model_dir, error)) {
      return Problem("model_dir", options_.model_dir + " is not a directory", "name another model_dir");
    }
    const absl::StatusOr<std::optional<int64_t>> current = models.ReadCurrent();
    const absl::StatusOr<std::optional<int64_t>> pinned = models.ReadPinned();
    if (!current.ok() || !pinned.ok()) {
      return Problem("model_dir", std::string((current.ok() ? pinned.status() : current.status()).message()),
                     "delete the file, or publish a snapshot");
    }
    const std::optional<int64_t> version = pinned->has_value() ? *pinned : *current;
    if (!version.has_value()) {
      return Advise("model_dir", options_.model_dir + " holds no published snapshot",
                    "recommendations fail with FAILED_PRECONDITION until one is: swiftlet-trainer train");
    }
    const auto start = std::chrono::steady_clock::now();
    const auto snapshot = ModelSnapshot::Load(models.VersionPath(*version), {});
    if (!snapshot.ok()) {
      return Problem(
          "model_dir",
          absl::StrCat("snapshot ", *version, " is refused: ", std::string(snapshot.status().message())),
          "publish another, or hold an older one with `swiftlet snapshot load`");
    }
    const Manifest& manifest = (*snapshot)->manifest();
    for (const auto& [name, file] : manifest.files) {
      if (name == "model.safetensors") snapshot_bytes_ += file.bytes;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    Ok("model_dir", absl::StrFormat("snapshot %d (%s, %d items of dimension %d, %s) is whole; read in %.2f s",
                                    *version, manifest.model_kind, manifest.num_items, manifest.dim,
                                    Bytes(snapshot_bytes_), seconds));
    if (pinned->has_value() && current->has_value() && **pinned != **current) {
      Advise("model_dir",
             absl::StrCat("snapshot ", **pinned, " is pinned, ", **current, " was published last"),
             "`swiftlet snapshot follow` serves the newest again");
    }
  }

  const ServerOptions& options_;
  const HostFacts& host_;
  std::vector<Finding> findings_;
  bool running_ = false;  // a server has the database open
  uint64_t snapshot_bytes_ = 0;
};

// The value of "name: 123 kB" lines, in bytes.
uint64_t MemInfo(const std::string& name) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kAdvice:
      return "advice";
    case Verdict::kProblem:
      return "problem";
  }
  return "";
}

int64_t CountOf(const std::vector<Finding>& findings, Verdict verdict) {
  return std::count_if(findings.begin(), findings.end(),
                       [&](const Finding& f) { return f.verdict == verdict; });
}

}  // namespace

HostFacts ReadHostFacts() {
  HostFacts host;
  host.cpu_target = ActiveCpuTarget();
  host.num_cpus = AvailableCpus();
  host.available_bytes = MemInfo("MemAvailable");
  host.swap_used_bytes = MemInfo("SwapTotal") - MemInfo("SwapFree");
  if (const std::optional<uint64_t> limit = CgroupMemoryLimit(); limit.has_value()) {
    host.available_bytes = std::min(host.available_bytes == 0 ? *limit : host.available_bytes, *limit);
  }
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) host.max_files = files.rlim_max;
  return host;
}

std::vector<Finding> Examine(const ServerOptions& options, const HostFacts& host) {
  return Examination(options, host).Run();
}

bool HasProblem(const std::vector<Finding>& findings) { return CountOf(findings, Verdict::kProblem) > 0; }

std::string FindingsText(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& f : findings) {
    absl::StrAppendFormat(&text, "%-8s %-16s %s\n", VerdictName(f.verdict), f.about, f.detail);
    if (!f.advice.empty()) absl::StrAppendFormat(&text, "%-8s %-16s -> %s\n", "", "", f.advice);
  }
  const int64_t problems = CountOf(findings, Verdict::kProblem), advice = CountOf(findings, Verdict::kAdvice);
  absl::StrAppend(
      &text, "\n",
      problems == 0 ? "No problem" : absl::StrCat(problems, problems == 1 ? " problem" : " problems"),
      advice == 0 ? "" : absl::StrCat(", ", advice, advice == 1 ? " piece" : " pieces", " of advice"), ".\n");
  return text;
}

std::string FindingsJson(const std::vector<Finding>& findings) {
  nlohmann::ordered_json json = {{"findings", nlohmann::ordered_json::array()},
                                 {"problems", CountOf(findings, Verdict::kProblem)}};
  for (const Finding& f : findings) {
    json["findings"].push_back({{"verdict", VerdictName(f.verdict)},
                                {"about", f.about},
                                {"detail", f.detail},
                                {"advice", f.advice}});
  }
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace swiftlet

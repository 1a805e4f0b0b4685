// swiftlet-soak: a real server under everything at once for a long time. See tests/soak/run.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/snapshot/model_directory.h"
#include "tests/integration/server_process.h"
#include "tests/soak/soak_load.h"
#include "tests/testing/random_snapshot.h"
#include "tests/testing/random_user_vectors.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::soak {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using testing::ServerProcess;

constexpr uint32_t kNumItems = 5000, kDim = 32;
constexpr uint64_t kNumUsersWithVectors = 20'000;
constexpr auto kWindow = std::chrono::seconds(30);
// Between two looks at the memory.
constexpr auto kSample = std::chrono::milliseconds(500);
// From the second sixth of the time to the last one, the most resident memory may grow by this share of it,
// and so may the heap in use without what the budgets hold. The latter shows what the former's swings hide.
// Budgets are counted as charges, not as the allocator's size classes: that a cache holds fewer and longer
// histories moves the difference by a megabyte or two.
constexpr double kMaxGrowth = 0.05;

// Small budgets, so that all of them are used up after the first minutes.
constexpr char kConfig[] = R"(
  limits { max_history_events: 50 }
  storage { user_cache_bytes: 16777216 block_cache_bytes: 16777216 }
)";

std::atomic<bool> interrupted{false};

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the process has in memory, open and running.
struct Resources {
  double resident_mb = 0;
  int open_files = 0, threads = 0;
};

Resources ResourcesOf(pid_t pid) {
  Resources resources;
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) resources.resident_mb = std::stod(line.substr(6)) / 1024;
    if (line.starts_with("Threads:")) resources.threads = std::stoi(line.substr(8));
  }
  std::error_code ignored;
  for (fs::directory_iterator it(absl::StrCat("/proc/", pid, "/fd"), ignored), end; it != end;
       it.increment(ignored)) {
    ++resources.open_files;
  }
  return resources;
}

// What has a budget and is at any time somewhere between empty and full: write buffers (96 MB, written out
// when they are full) and the caches of users and blocks.
double BudgetedMb(const ServerProcess& server) {
  double bytes = 0;
  for (const char* name : {"swiftlet_rocksdb_memtable_bytes", "swiftlet_rocksdb_block_cache_usage_bytes",
                           "swiftlet_user_cache_bytes"}) {
    bytes += std::max(0.0, server.Metric(name));
  }
  return bytes / (1 << 20);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

double MaxOf(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

// Compares the second sixth of the windows with the last, and says so. The growth is held against `whole` MB.
bool IsFlat(const std::string& what, const std::vector<double>& windows,
            const std::function<double(const std::vector<double>&)>& of, double whole) {
  const auto sixth = static_cast<ptrdiff_t>(windows.size() / 6);
  const double early = of({windows.begin() + sixth, windows.begin() + 2 * sixth});
  const double late = of({windows.end() - sixth, windows.end()});
  const double growth = (late - early) / whole;
  const bool flat = growth <= kMaxGrowth;
  std::cout << absl::StreamFormat(
      "%s: %.1f MB in the second sixth of the time, %.1f MB in the last (%+.1f %% of %.1f MB): %s\n", what,
      early, late, 100 * growth, whole, flat ? "flat" : "NOT FLAT");
  return flat;
}

int RunTrainer(const std::vector<std::string>& args, const std::string& log) {
  std::vector<char*> argv = {const_cast<char*>(SWIFTLET_TRAINER_BINARY)};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    if (freopen(log.c_str(), "a", stdout) == nullptr || dup2(STDOUT_FILENO, STDERR_FILENO) < 0) _exit(126);
    if (nice(10) == -1) _exit(125);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Publishes, rolls back, publishes what must be refused, and trains from the server's own data.
class Publisher {
 public:
  Publisher(ServerProcess* server, Load* load, Tally* tally, const std::string& dir)
      : server_(server), load_(load), tally_(tally), dir_(dir), models_(server->model_dir()) {}

  // Publishes a random snapshot of the next version and waits until it serves.
  void PublishRandom() {
    const int64_t version = Next();
    if (version == 0) return;
    if (!Require(testing::PublishRandomSnapshot(models_, Options(version)), "publish")) return;
    WaitFor(version);
  }

  // Serves an older version, which pins it, then follows the newest again.
  void RollBack() {
    v1::ListSnapshotsResponse list;
    if (!Require(server_->ListSnapshots(&list), "ListSnapshots")) return;
    int64_t newest = 0, older = 0;
    for (const v1::SnapshotInfo& info : list.snapshots()) {
      if (info.state() == v1::SNAPSHOT_STATE_SERVING) newest = info.version();
      if (info.state() == v1::SNAPSHOT_STATE_RETIRED && info.version() < newest && older == 0) {
        older = info.version();
      }
    }
    if (newest == 0 || older == 0) return;
    load_->SetOldestAllowed(0);
    v1::LoadSnapshotResponse response;
    tally_->Count("roll back");
    if (!Require(server_->LoadSnapshot(older, &response), "roll back")) return;
    if (response.snapshot().version() != older) tally_->Fail("roll back: another version serves", "");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    tally_->Count("follow the newest");
    if (!Require(server_->LoadSnapshot(0, &response), "follow the newest")) return;
    load_->SetOldestAllowed(response.snapshot().version());
  }

  // A publication with a flipped bit: refused, and the one before serves on.
  void PublishBroken() {
    const int64_t before = server_->GetStatus().serving().version();
    const int64_t version = Next();
    if (version == 0) return;
    absl::StatusOr<std::string> staging = models_.CreateStaging();
    if (!Require(staging.status(), "stage")) return;
    if (!Require(testing::WriteRandomSnapshot(*staging, Options(version)), "write")) return;
    const std::string file = *staging + "/model.safetensors";
    {
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      const auto at = static_cast<std::streamoff>(rng_() % fs::file_size(file));
      stream.seekg(at);
      const int byte = stream.get();
      stream.seekp(at);
      stream.put(static_cast<char>(byte ^ (1 << (rng_() % 8))));
    }
    if (!Require(models_.Publish(*staging, version), "publish")) return;
    tally_->Count("refused snapshot");
    if (!server_->WaitForState(version, v1::SNAPSHOT_STATE_FAILED)) {
      tally_->Fail("a broken snapshot was not refused", absl::StrCat(version));
    }
    if (server_->GetStatus().serving().version() != before) {
      tally_->Fail("a broken snapshot took the old one away", absl::StrCat(version));
    }
  }

  // Trains from the data directory of the running server, and waits until the result serves.
  void Train() {
    const int64_t version = Next();
    if (version == 0) return;
    tally_->Count("training");
    const int code =
        RunTrainer({"train", "--data-dir", server_->data_dir(), "--models", server_->model_dir(), "--dim",
                    absl::StrCat(kDim), "--als-epochs", "2", "--epochs", "1", "--max-examples", "20000",
                    "--num-negatives", "64", "--no-holdout", "--threads", "1"},
                   dir_ + "/trainer.log");
    if (code != 0) {
      tally_->Fail("the training failed", absl::StrCat("exit code ", code, ", see ", dir_, "/trainer.log"));
      return;
    }
    WaitFor(version);
  }

 private:
  testing::RandomSnapshotOptions Options(int64_t version) const {
    return {.num_items = kNumItems,
            .dim = kDim,
            .seed = static_cast<uint64_t>(version),
            .version = version,
            .num_users = kNumUsersWithVectors,
            .write_user_vectors =
                testing::RandomUserVectors(kNumUsersWithVectors, static_cast<uint64_t>(version))};
  }
  int64_t Next() {
    absl::StatusOr<int64_t> version = models_.NextVersion();
    return Require(version.status(), "next version") ? *version : 0;
  }
  bool Require(const absl::Status& status, const std::string& what) {
    if (!status.ok()) tally_->Fail(what, std::string(status.message()));
    return status.ok();
  }
  bool Require(const grpc::Status& status, const std::string& what) {
    if (!status.ok()) tally_->Fail(what, status.error_message());
    return status.ok();
  }
  void WaitFor(int64_t version) {
    tally_->Count("swap");
    if (!server_->WaitForVersion(version)) {
      tally_->Fail("a published snapshot does not serve", absl::StrCat(version));
      return;
    }
    load_->SetOldestAllowed(version);
  }

  ServerProcess* const server_;
  Load* const load_;
  Tally* const tally_;
  const std::string dir_;
  const ModelDirectory models_;
  std::mt19937_64 rng_{7};
};

// Metadata and an event for every item, so that each is in the trainings too.
bool Prepare(ServerProcess& server) {
  for (uint32_t begin = 0; begin < kNumItems; begin += 500) {
    v1::UpsertItemsRequest items;
    v1::RecordEventsRequest events;
    for (uint32_t i = begin; i < begin + 500; ++i) {
      v1::Item* item = items.add_items();
      item->set_item_id(absl::StrCat("item-", i));
      item->mutable_metadata()->set_title(absl::StrCat("Title ", i));
      item->mutable_metadata()->add_categories(absl::StrCat("cat-", i % 5));
      for (int n = 0; n < 2; ++n) {
        *events.add_events() =
            testing::MakeEvent(absl::StrCat("user-", (i * 7 + n * 13) % 1000), item->item_id(), "view");
      }
    }
    v1::UpsertItemsResponse upserted;
    v1::RecordEventsResponse recorded;
    grpc::Status status = server.UpsertItems(items, &upserted);
    if (status.ok()) status = server.RecordEvents(events, &recorded);
    if (!status.ok()) {
      std::cerr << "cannot fill the server: " << status.error_message() << "\n";
      return false;
    }
  }
  return true;
}

int Run(double minutes, const std::string& dir) {
  const ModelDirectory models(dir + "/models");
  if (absl::Status status =
          testing::PublishRandomSnapshot(models, {.num_items = kNumItems, .dim = kDim, .version = 1});
      !status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  ServerProcess server({.dir = dir, .config = kConfig});
  if (!server.running() || !server.WaitForVersion(1) || !Prepare(server)) return 1;
  std::cout << absl::StreamFormat("Server %d; data, models and logs in %s\n", server.pid(), dir);

  Tally tally;
  // Of each window: the least heap in use (while one snapshot is loaded) apart from what has a budget, and
  // the most resident memory. Without jemalloc (sanitizers) the heap is not known.
  std::vector<double> heaps, peaks;
  Resources resources;
  int most_files = 0, first_files = 0;
  {
    Load load(&server, {.num_items = kNumItems, .dim = kDim}, &tally);
    Publisher publisher(&server, &load, &tally, dir);
    const Clock::time_point start = Clock::now();
    std::atomic<bool> done{false};
    std::thread publishing([&] {
      for (uint64_t n = 1; !done; ++n) {
        if (n % 40 == 20) {
          publisher.Train();
        } else if (n % 10 == 5) {
          publisher.PublishBroken();
        } else if (n % 10 == 9) {
          publisher.RollBack();
        } else {
          publisher.PublishRandom();
        }
        for (int i = 0; i < 20 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    });
    std::cout << "  time   resident     at most  heap without budgets  files threads      calls   swaps "
                 "trainings failures\n";
    while (!interrupted && SecondsSince(start) < minutes * 60 && tally.num_failures() < 1000) {
      double least_heap = 1e30, least_resident = 1e30, most_resident = 0;
      const Clock::time_point window = Clock::now();
      while (!interrupted && Clock::now() - window < kWindow && SecondsSince(start) < minutes * 60) {
        resources = ResourcesOf(server.pid());
        if (resources.resident_mb == 0) break;
        const double heap_mb = server.Metric("swiftlet_heap_allocated_bytes") / (1 << 20);
        if (heap_mb > 0) least_heap = std::min(least_heap, heap_mb - BudgetedMb(server));
        least_resident = std::min(least_resident, resources.resident_mb);
        most_resident = std::max(most_resident, resources.resident_mb);
        most_files = std::max(most_files, resources.open_files);
        std::this_thread::sleep_for(kSample);
      }
      if (resources.resident_mb == 0) {
        tally.Fail("the server is gone", absl::StrCat("see ", dir, "/server.log"));
        break;
      }
      if (Clock::now() - window >= kWindow) {
        peaks.push_back(most_resident);
        if (least_heap < 1e30) heaps.push_back(least_heap);
      }
      if (first_files == 0) first_files = most_files;
      const std::map<std::string, int64_t> counts = tally.counts();
      int64_t calls = 0;
      for (const auto& [kind, number] : counts) calls += number;
      const auto number_of = [&](const char* kind) {
        const auto it = counts.find(kind);
        return it == counts.end() ? 0 : it->second;
      };
      std::cout << absl::StreamFormat("%5.1f m %7.1f MB %8.1f MB %17.1f MB %6d %7d %10d %7d %9d %8d\n",
                                      SecondsSince(start) / 60, least_resident, most_resident,
                                      least_heap < 1e30 ? least_heap : -1.0, resources.open_files,
                                      resources.threads, calls, number_of("swap"), number_of("training"),
                                      tally.num_failures())
                << std::flush;
    }
    done = true;
    publishing.join();
  }
  std::cout << "\nCalls:\n";
  for (const auto& [kind, number] : tally.counts())
    std::cout << absl::StreamFormat("%10d  %s\n", number, kind);
  if (server.Terminate() != 0) tally.Fail("the server did not stop cleanly", "see its log");

  bool good = tally.num_failures() == 0;
  std::cout << "\n" << (good ? "No failure.\n" : "Failures:\n") << tally.Failures();
  if (peaks.size() < 12) {
    std::cout << "Too short to say whether memory is flat (6 minutes at least).\n";
  } else {
    const auto sixth = static_cast<ptrdiff_t>(peaks.size() / 6);
    const double whole = MaxOf({peaks.begin() + sixth, peaks.begin() + 2 * sixth});
    good = IsFlat("Most resident memory", peaks, MaxOf, whole) && good;
    if (heaps.size() == peaks.size()) {
      good = IsFlat("Heap without write buffers and caches", heaps, Median, whole) && good;
    }
  }
  std::cout << absl::StreamFormat("Open files: %d at most, %d at most in the first window\n", most_files,
                                  first_files);
  return good && !interrupted ? 0 : 1;
}

}  // namespace
}  // namespace swiftlet::soak

int main(int argc, char** argv) {
  CLI::App app("Runs swiftlet-server under everything at once, checks every answer and watches its memory");
  double minutes = 30;
  std::string dir;
  app.add_option("--minutes", minutes, "How long")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--dir", dir, "Where data, models and logs are kept (default: a temporary directory)");
  CLI11_PARSE(app, argc, argv);
  struct sigaction action = {};
  action.sa_handler = [](int) { swiftlet::soak::interrupted = true; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  if (!dir.empty()) {
    std::filesystem::create_directories(dir);
    if (!std::filesystem::is_empty(dir)) {
      std::cerr << "--dir: " << dir << " is not empty\n";
      return 2;
    }
    return swiftlet::soak::Run(minutes, std::filesystem::absolute(dir));
  }
  const swiftlet::testing::TempDir temporary;
  const int code = swiftlet::soak::Run(minutes, temporary.path());
  if (code != 0) {
    const std::string kept = "build/soak-failed";
    std::error_code error;
    std::filesystem::remove_all(kept, error);
    std::filesystem::copy(temporary.path(), kept, std::filesystem::copy_options::recursive, error);
    std::cout << (error ? "Cannot keep the logs: " + error.message() : "Kept in " + kept) << "\n";
  }
  return code;
}

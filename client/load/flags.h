// The flags of swiftlet-load. Private to client/load.
#ifndef SWIFTLET_CLIENT_LOAD_FLAGS_H_
#define SWIFTLET_CLIENT_LOAD_FLAGS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/channel_security.h"
#include "client/load/subject.h"

namespace swiftlet::load {

// As given on the command line.
struct Flags {
  // The server.
  std::string server = "127.0.0.1:50051";
  int server_pid = 0;
  std::string server_binary, server_a, server_b, model_dir, model_dir_b, data_dir, server_config, server_cpus;
  std::vector<std::string> server_args, server_args_a, server_args_b;
  bool restart = false;
  ChannelSecurityFiles security;
  // The load.
  int concurrency = 8, channels = 1, threads = 1, max_in_flight = 8192;
  std::string rate;
  bool constant = false, spin = false, null = false;
  double seconds = 10, warmup = 1, timeout = 5;
  // The calls.
  std::string mix = "recommend=1";
  WorkloadOptions workload;
  bool check_freshness = false, no_prepare = false;
  ItemOptions items;
  // Measurements of several windows.
  int rounds = 3, max_concurrency = 256;
  double search_seconds = 2;
  // Swaps during a run.
  std::vector<int64_t> swap_versions;
  double swap_every = 5;
  int swaps = 0;
  // Output.
  std::string json, svg;
  bool quiet = false, allow_errors = false;
};

// Each adds a group of flags to a command.
void AddServerFlags(CLI::App* command, Flags& flags);  // one server: running, or started
void AddStartFlags(CLI::App* command, Flags& flags);   // how a server is started
void AddLoadFlags(CLI::App* command, Flags& flags);
void AddWorkloadFlags(CLI::App* command, Flags& flags);
void AddOutputFlags(CLI::App* command, Flags& flags);

// What the flags ask for; INVALID_ARGUMENT for flags that contradict each other.
absl::StatusOr<SubjectOptions> ToSubjectOptions(const Flags& flags);
// The rate is not set: see ParseRate.
WindowOptions ToWindowOptions(const Flags& flags);

// "5000" calls a second, or "50%" of saturation.
struct Rate {
  double number = 0;  // 0: closed loop
  bool of_saturation = false;
};
absl::StatusOr<Rate> ParseRate(const std::string& text);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_FLAGS_H_

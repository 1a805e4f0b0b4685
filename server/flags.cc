#include "server/flags.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "server/version.h"

namespace swiftlet {
namespace {

constexpr char kFooter[] = R"(
Flags override the configuration file; deploy/swiftlet.textproto is one with every default written out.

Examples:
  swiftlet-server --data-dir data --model-dir models
  swiftlet-server --config deploy/swiftlet.textproto --listen 0.0.0.0:50051 --tls-cert cert.pem --tls-key key.pem \
    --token-file tokens
  swiftlet-server --config deploy/swiftlet.textproto --check-config
  swiftlet-server --list-backups /backup
  swiftlet-server --restore /backup --backup-id 7 --data-dir data)";

CommandLine Exit(int code) {
  CommandLine line;
  line.exit_code = code;
  return line;
}

}  // namespace

CommandLine ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app("Swiftlet: a low-latency recommendation server (gRPC and HTTP/JSON).", "swiftlet-server");
  app.footer(kFooter);
  std::string tls_cert, tls_key, tls_client_ca, token_file, audit_log;
  bool insecure_listen = false, insecure_metrics = false;
  std::string config_file, listen, http_listen, unix_socket, metrics, data_dir, model_dir, port_file,
      log_format, log_level, retrieval_mode;
  int budget_rows = 0, budget_us = 0;
  double recall_sample_rate = 0;
  bool check_config = false, doctor = false, json = false;
  std::string backup, restore, list_backups;
  uint32_t backup_id = 0;
  app.add_option("--config", config_file, "Configuration file (protobuf text format, see config.proto)")
      ->type_name("FILE");
  app.add_option("--listen", listen, "gRPC address; port 0 picks a free one [127.0.0.1:50051]")
      ->type_name("HOST:PORT");
  app.add_option("--unix-socket", unix_socket, "Listen on this Unix domain socket, too [none]")
      ->type_name("PATH");
  app.add_option("--http-listen", http_listen, "HTTP/JSON address, or off; port 0 picks a free one [off]")
      ->type_name("HOST:PORT");
  app.add_option("--metrics", metrics, "Prometheus address, or off [127.0.0.1:9464]")->type_name("HOST:PORT");
  app.add_option("--data-dir", data_dir, "Users, events and items live here; created when missing [data]")
      ->type_name("DIR");
  app.add_option("--model-dir", model_dir, "Snapshots are published here; created when missing [models]")
      ->type_name("DIR");
  app.add_option("--tls-cert", tls_cert, "TLS: the server's certificate chain (PEM) [no TLS]")
      ->type_name("FILE");
  app.add_option("--tls-key", tls_key, "TLS: its private key (PEM)")->type_name("FILE");
  app.add_option("--tls-client-ca", tls_client_ca,
                 "Mutual TLS: clients need a certificate of one of these authorities (PEM)")
      ->type_name("FILE");
  app.add_option("--token-file", token_file,
                 "Calls need a token of this file, which `swiftlet token new` writes [no tokens]")
      ->type_name("FILE");
  app.add_option("--audit-log", audit_log, "Log who did what to snapshots and users to this file [the log]")
      ->type_name("FILE");
  app.add_flag("--insecure-listen", insecure_listen,
               "Let --listen and --http-listen be addresses that other machines reach, without TLS");
  app.add_flag("--insecure-metrics", insecure_metrics, "The same for --metrics, which has no TLS");
  app.add_option("--port-file", port_file,
                 "Write \"grpc_port metrics_port [http_port]\" to this file once all listen")
      ->type_name("FILE");
  app.add_option("--retrieval-mode", retrieval_mode, "exact or approximate [exact]")->type_name("MODE");
  app.add_option("--budget-rows", budget_rows, "Rows that a search may look at; 0: all [0]");
  app.add_option("--budget-us", budget_us, "Microseconds that a search may take; 0: no limit [0]");
  app.add_option("--recall-sample-rate", recall_sample_rate,
                 "Share of answers made again in full to measure recall; 0: none [0.001]");
  app.add_option("--log-format", log_format, "text or json [text]")->type_name("FORMAT");
  app.add_option("--log-level", log_level, "debug, info, warn or error [info]")->type_name("LEVEL");
  app.add_flag("--check-config", check_config, "Check the configuration and exit");
  app.add_flag("--doctor", doctor,
               "Look at the machine, the directories and the configuration, say what to do, and exit");
  app.add_flag("--json", json, "With --doctor: print JSON")->needs("--doctor");
  app.add_option("--backup", backup,
                 "Add a backup of --data-dir to DIR, and exit; only where no server has it open")
      ->type_name("DIR")
      ->excludes("--doctor")
      ->excludes("--check-config");
  app.add_option("--restore", restore, "Make --data-dir of a backup in DIR, and exit")
      ->type_name("DIR")
      ->excludes("--doctor")
      ->excludes("--backup")
      ->excludes("--check-config");
  app.add_option("--backup-id", backup_id, "With --restore: which one of --list-backups; 0: the newest [0]")
      ->needs("--restore");
  app.add_option("--list-backups", list_backups,
                 "Print the backups in DIR with their ids, times and sizes, and exit")
      ->type_name("DIR")
      ->excludes("--doctor")
      ->excludes("--backup")
      ->excludes("--restore")
      ->excludes("--check-config");
  app.set_version_flag("--version", std::string("swiftlet-server ") + kServerVersion,
                       "Print the version and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return Exit(app.exit(e) == 0 ? 0 : 2);
  }

  for (const char* flag : {"--backup", "--restore", "--list-backups"}) {
    if (app.count(flag) > 0 && backup.empty() && restore.empty() && list_backups.empty()) {
      std::fprintf(stderr, "%s: the directory is empty\n", flag);
      return Exit(2);
    }
  }
  const auto doctors = json ? CommandLine::Action::kDoctorJson : CommandLine::Action::kDoctor;
  const auto refuse = [&](const absl::Status& status) {
    CommandLine refused;
    refused.error = std::string(status.message());
    refused.action = doctors;
    if (!doctor) refused.exit_code = 2;
    return refused;
  };
  v1::ServerConfig config;
  if (!config_file.empty()) {
    absl::StatusOr<v1::ServerConfig> read = ReadConfigFile(config_file);
    if (!read.ok()) return refuse(read.status());
    config = *std::move(read);
  }
  if (app.count("--listen") > 0) config.set_listen_address(listen);
  if (app.count("--http-listen") > 0) config.mutable_http()->set_listen_address(http_listen);
  if (app.count("--unix-socket") > 0) config.set_unix_socket(unix_socket);
  if (app.count("--metrics") > 0) config.set_metrics_address(metrics);
  if (app.count("--data-dir") > 0) config.set_data_dir(data_dir);
  if (app.count("--model-dir") > 0) config.set_model_dir(model_dir);
  if (app.count("--port-file") > 0) config.set_port_file(port_file);
  v1::SecurityConfig& security = *config.mutable_security();
  if (app.count("--tls-cert") > 0) security.set_tls_certificate(tls_cert);
  if (app.count("--tls-key") > 0) security.set_tls_private_key(tls_key);
  if (app.count("--tls-client-ca") > 0) security.set_tls_client_ca(tls_client_ca);
  if (app.count("--token-file") > 0) security.set_token_file(token_file);
  if (app.count("--audit-log") > 0) security.set_audit_log(audit_log);
  if (insecure_listen) security.set_insecure_listen(true);
  if (insecure_metrics) security.set_insecure_metrics(true);
  v1::RetrievalConfig& retrieval = *config.mutable_retrieval();
  if (app.count("--retrieval-mode") > 0) retrieval.set_mode(retrieval_mode);
  if (app.count("--budget-rows") > 0) retrieval.set_budget_rows(budget_rows);
  if (app.count("--budget-us") > 0) retrieval.set_budget_us(budget_us);
  if (app.count("--recall-sample-rate") > 0) retrieval.set_recall_sample_rate(recall_sample_rate);
  if (app.count("--log-format") > 0) config.mutable_log()->set_format(log_format);
  if (app.count("--log-level") > 0) config.mutable_log()->set_level(log_level);
  absl::StatusOr<ServerOptions> options = ResolveConfig(config);
  if (!options.ok()) return refuse(options.status());
  if (check_config) {
    std::printf("configuration is valid\n");
    return Exit(0);
  }
  CommandLine line;
  line.options = *std::move(options);
  line.config = std::move(config);
  line.has_config_file = !config_file.empty();
  if (doctor) line.action = doctors;
  if (app.count("--restore") > 0) line.action = CommandLine::Action::kRestore;
  if (app.count("--backup") > 0) line.action = CommandLine::Action::kBackup;
  if (app.count("--list-backups") > 0) line.action = CommandLine::Action::kListBackups;
  line.backups = backup + restore + list_backups;  // one of them
  line.backup_id = backup_id;
  return line;
}

}  // namespace swiftlet

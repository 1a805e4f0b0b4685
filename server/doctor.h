// What may keep a server from starting, or from doing well, on this machine with this configuration, looked
// at without starting one: `swiftlet-server --doctor`, which `swiftlet doctor` runs. May be used beside a
// running server.
#ifndef SWIFTLET_SERVER_DOCTOR_H_
#define SWIFTLET_SERVER_DOCTOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/config.h"

namespace swiftlet {

struct Finding {
  enum class Verdict {
    kOk,
    kAdvice,   // it works, and could work better
    kProblem,  // it does not start, or not as configured
  };
  Verdict verdict = Verdict::kOk;
  std::string about;   // such as "data_dir"
  std::string detail;  // what was found
  std::string advice;  // what to do; empty where all is well
};

// Of the machine and the process, as the system tells them.
struct HostFacts {
  std::string cpu_target;        // ActiveCpuTarget()
  int num_cpus = 1;              // that the process may use, its control group's quota included
  uint64_t available_bytes = 0;  // of memory, less where the control group allows less; 0: unknown
  uint64_t max_files = 0;        // hard limit of open files
  uint64_t swap_used_bytes = 0;
};
HostFacts ReadHostFacts();

// In the order of the checks: processor, memory, open files, addresses, ExamineSecurity, data_dir, model_dir,
// ExamineBackups, ExamineWrittenFiles. Writes and
// deletes a small file in data_dir, where that is there, to time its fsync; changes nothing else. Takes as
// long as reading the snapshot that would serve.
std::vector<Finding> Examine(const ServerOptions& options, const HostFacts& host);
// Of a configuration that no server starts with: a problem for each line of its errors.
std::vector<Finding> ConfigurationProblems(const std::string& errors);
// Certificates, tokens, and who reaches the server.
std::vector<Finding> ExamineSecurity(const ServerOptions& options);
std::vector<Finding> ExamineBackups(const ServerOptions& options);
// security.audit_log and port_file.
std::vector<Finding> ExamineWrittenFiles(const ServerOptions& options);

// One line for each finding, its advice on the next, and a last line that counts.
std::string FindingsText(const std::vector<Finding>& findings);
// {"findings": [{"verdict": "ok", "about": ..., "detail": ..., "advice": ...}], "problems": 0}
std::string FindingsJson(const std::vector<Finding>& findings);
bool HasProblem(const std::vector<Finding>& findings);

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_DOCTOR_H_

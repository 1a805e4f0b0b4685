// What a benchmark found: lines for people, and lines of JSON for tests/bench/retrieval_report.py.
#ifndef SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_REPORT_H_
#define SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_REPORT_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "tests/bench/engine/retrieval/measure.h"

namespace swiftlet::bench {

// Thread-compatible.
class Report {
 public:
  // json_path: appended to; empty: none.
  absl::Status Open(const std::string& json_path);

  // Fields of every record from now on: the workload.
  nlohmann::json& common() { return common_; }
  // One method's figures. method: "hnswlib M 16 efC 100", parameter: "ef 40".
  void Line(const std::string& method, const std::string& parameter, size_t k, const Measurement& m);
  // A record of another kind; printed as JSON, too.
  void Fact(const std::string& kind, const nlohmann::json& fields);

 private:
  void Write(nlohmann::json record);
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> json_;
  nlohmann::json common_ = nlohmann::json::object();
};

// The most memory that this process ever had, in MB, and how many processes wanted a core in the last minute.
double PeakMemoryMb();
double LoadAverage();

}  // namespace swiftlet::bench

#endif  // SWIFTLET_TESTS_BENCH_ENGINE_RETRIEVAL_REPORT_H_

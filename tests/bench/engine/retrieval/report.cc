#include "tests/bench/engine/retrieval/report.h"

#include <sys/resource.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace swiftlet::bench {
namespace {

double Rounded(double x, double digits) {
  const double unit = std::pow(10, digits);
  return std::round(x * unit) / unit;
}

}  // namespace

absl::Status Report::Open(const std::string& json_path) {
  if (json_path.empty()) return absl::OkStatus();
  json_.reset(std::fopen(json_path.c_str(), "a"));
  if (json_ == nullptr) return absl::UnavailableError(absl::StrCat(json_path, ": ", std::strerror(errno)));
  return absl::OkStatus();
}

void Report::Line(const std::string& method, const std::string& parameter, size_t k, const Measurement& m) {
  const std::string name = absl::StrCat(method, parameter.empty() ? "" : ", ", parameter);
  std::printf(
      "%-36s k %4zu  %9.0f QPS  p50 %8.1f us  p99 %8.1f us  recall %.4f  scanned %8.0f  scored %7.0f  MB "
      "%.3f\n",
      name.c_str(), k, m.qps, m.p50_us, m.p99_us, m.recall, m.rows_scanned, m.rows_scored,
      m.bytes_read / 1e6);
  std::fflush(stdout);
  Write({{"kind", "method"},
         {"method", method},
         {"parameter", parameter},
         {"k", k},
         {"qps", Rounded(m.qps, 1)},
         {"p50_us", Rounded(m.p50_us, 2)},
         {"p99_us", Rounded(m.p99_us, 2)},
         {"recall", Rounded(m.recall, 5)},
         {"proven", Rounded(m.proven, 4)},
         {"rows_scanned", Rounded(m.rows_scanned, 1)},
         {"rows_scored", Rounded(m.rows_scored, 1)},
         {"bytes_read", std::round(m.bytes_read)},
         {"load", Rounded(LoadAverage(), 2)}});
}

void Report::Fact(const std::string& kind, const nlohmann::json& fields) {
  std::printf("%s: %s\n", kind.c_str(), fields.dump().c_str());
  std::fflush(stdout);
  nlohmann::json record = fields;
  record["kind"] = kind;
  Write(std::move(record));
}

void Report::Write(nlohmann::json record) {
  if (json_ == nullptr) return;
  for (const auto& [key, value] : common_.items()) record[key] = value;
  const std::string line = record.dump() + "\n";
  std::fwrite(line.data(), 1, line.size(), json_.get());
  std::fflush(json_.get());
}

double PeakMemoryMb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::round(static_cast<double>(usage.ru_maxrss) / 1024);
}

double LoadAverage() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

}  // namespace swiftlet::bench

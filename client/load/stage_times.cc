#include "client/load/stage_times.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>

#include "absl/strings/numbers.h"

namespace swiftlet::load {

StageTimes ParseStageTimes(std::string_view page) {
  constexpr std::string_view kName = "swiftlet_stage_seconds_", kLabel = "{stage=\"";
  StageTimes times;
  while (!page.empty()) {
    const size_t end = page.find('\n');
    std::string_view line = page.substr(0, end);
    page.remove_prefix(end == std::string_view::npos ? page.size() : end + 1);
    if (line.substr(0, kName.size()) != kName) continue;
    line.remove_prefix(kName.size());
    const size_t label = line.find(kLabel);
    if (label == std::string_view::npos) continue;
    const std::string_view what = line.substr(0, label);
    line.remove_prefix(label + kLabel.size());
    const size_t quote = line.find("\"} ");
    double value = 0;
    if (quote == std::string_view::npos || !absl::SimpleAtod(std::string(line.substr(quote + 3)), &value))
      continue;
    StageTime& time = times[std::string(line.substr(0, quote))];
    if (what == "sum") time.seconds = value;
    if (what == "count") time.count = value;
  }
  return times;
}

StageTimes ReadStageTimes(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  const timeval timeout = {.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string page;
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.0\r\nConnection: close\r\n\r\n";
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      write(fd, kRequest.data(), kRequest.size()) == static_cast<ssize_t>(kRequest.size())) {
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = read(fd, buffer.data(), buffer.size())) > 0;) page.append(buffer.data(), n);
  }
  close(fd);
  return ParseStageTimes(page);
}

std::map<std::string, double> MeanStageUs(const StageTimes& before, const StageTimes& after) {
  std::map<std::string, double> means;
  for (const auto& [stage, time] : after) {
    const auto it = before.find(stage);
    const StageTime then = it == before.end() ? StageTime() : it->second;
    const double count = time.count - then.count;
    if (count > 0) means[stage] = (time.seconds - then.seconds) / count * 1e6;
  }
  return means;
}

}  // namespace swiftlet::load

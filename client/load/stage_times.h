// What a server says of the time that the stages of its requests take: swiftlet_stage_seconds of its metrics.
#ifndef SWIFTLET_CLIENT_LOAD_STAGE_TIMES_H_
#define SWIFTLET_CLIENT_LOAD_STAGE_TIMES_H_

#include <map>
#include <string>
#include <string_view>

namespace swiftlet::load {

struct StageTime {
  double seconds = 0;  // all calls together
  double count = 0;
};
using StageTimes = std::map<std::string, StageTime>;  // by stage

// From a page in Prometheus' text format; lines that are of something else are skipped.
StageTimes ParseStageTimes(std::string_view page);
// From the page of 127.0.0.1:port; empty when it cannot be read.
StageTimes ReadStageTimes(int port);
// Mean microseconds by stage of what came between the two; stages without calls are left out.
std::map<std::string, double> MeanStageUs(const StageTimes& before, const StageTimes& after);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_STAGE_TIMES_H_

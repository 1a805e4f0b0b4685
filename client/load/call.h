// What passes between the driver, which sends and times, and a source, which makes requests and checks
// answers.
#ifndef SWIFTLET_CLIENT_LOAD_CALL_H_
#define SWIFTLET_CLIENT_LOAD_CALL_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace swiftlet::load {

// Calls are counted and timed by kind.
enum class Kind : uint8_t {
  kRecommend,       // a stored user that is asked for often
  kCold,            // a stored user that has not been asked for lately
  kAnonymous,       // an inline history
  kSimilar,         // SimilarItems
  kEvents,          // RecordEvents
  kUpsert,          // UpsertItems
  kFreshEvent,      // RecordEvents of one event, before ...
  kFreshRecommend,  // ... a Recommend that has to reflect it
  kNull,            // Recommend of a server that does nothing
};
inline constexpr int kNumKinds = 9;

// "recommend", "cold", ...
std::string_view KindName(Kind kind);
// "/swiftlet.v1.RecommendationService/Recommend".
const char* MethodOf(Kind kind);

struct Call {
  Kind kind = Kind::kRecommend;
  std::string request;  // the message's bytes
  // The source's own.
  uint64_t user = 0;
  uint32_t lane = 0;
  // The newest snapshot version that had answered on this connection when the call began; set by the driver.
  int64_t version_before = 0;
};

// What a source says of an answer.
struct Verdict {
  // Empty: the answer is right. Not looked at when the call failed by its status.
  std::string wrong = {};
  // The snapshot version of the answer, 0 when it has none.
  int64_t version = 0;
  // `call` was filled with another call, which is sent at once in its place, on the next connection.
  bool follow_up = false;
};

// Makes the calls of one worker. Next and OnAnswer may run at the same time, each on one thread at a time.
class CallSource {
 public:
  virtual ~CallSource() = default;
  // Fills kind and request. False when there are no more calls.
  virtual bool Next(Call& call) = 0;
  // `answer` is empty unless `code` is OK.
  virtual Verdict OnAnswer(Call& call, absl::StatusCode code, std::string_view answer) = 0;
};

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_CALL_H_

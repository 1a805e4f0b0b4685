// Progress for people: one line that updates itself on a terminal, plain lines otherwise.
//
//   Progress progress(stderr);
//   progress.Say("read 100,004 events");
//   progress.Begin("iALS", 16);
//   for (...) progress.Step(epoch + 1, absl::StrCat("loss ", loss));
//   progress.End();
#ifndef SWIFTLET_ENGINE_TRAINER_PROGRESS_H_
#define SWIFTLET_ENGINE_TRAINER_PROGRESS_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/time/time.h"

namespace swiftlet {

// Thread-compatible. Writes nothing when `out` is null.
class Progress {
 public:
  explicit Progress(std::FILE* out);
  // A line of its own.
  void Say(const std::string& line);
  // Starts a stage of `total` steps.
  void Begin(const std::string& stage, int64_t total);
  // `done` of the steps are done; `detail` is shown beside it. Shows the time left, from the time taken so
  // far.
  void Step(int64_t done, const std::string& detail);
  // Ends the stage; a terminal keeps the last line.
  void End();
  bool is_terminal() const { return terminal_; }

 private:
  std::FILE* const out_;
  const bool terminal_;
  std::string stage_;
  int64_t total_ = 0;
  size_t shown_ = 0;  // columns of the updating line
  absl::Time begin_;
};

// 1234567 as "1,234,567".
std::string WithCommas(uint64_t n);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_PROGRESS_H_

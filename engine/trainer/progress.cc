#include "engine/trainer/progress.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace swiftlet {

Progress::Progress(std::FILE* out) : out_(out), terminal_(out != nullptr && isatty(fileno(out)) != 0) {}

void Progress::Say(const std::string& line) {
  if (out_ == nullptr) return;
  std::fprintf(out_, "%s\n", line.c_str());
  std::fflush(out_);
}

void Progress::Begin(const std::string& stage, int64_t total) {
  stage_ = stage;
  total_ = total;
  shown_ = 0;
  begin_ = absl::Now();
}

void Progress::Step(int64_t done, const std::string& detail) {
  if (out_ == nullptr) return;
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin_);
  const double left = done > 0 ? seconds / done * (total_ - done) : 0;
  std::string line = absl::StrFormat("%s %d/%d  %s  %.1f s", stage_, done, total_, detail, seconds);
  if (done < total_) absl::StrAppend(&line, absl::StrFormat(", about %.0f s left", left));
  if (terminal_) {
    const size_t width = line.size();
    if (width < shown_) line.append(shown_ - width, ' ');
    std::fprintf(out_, "\r%s", line.c_str());
    shown_ = width;
  } else {
    std::fprintf(out_, "%s\n", line.c_str());
  }
  std::fflush(out_);
}

void Progress::End() {
  if (out_ == nullptr) return;
  if (terminal_ && shown_ > 0) std::fputc('\n', out_);
  std::fflush(out_);
  shown_ = 0;
}

std::string WithCommas(uint64_t n) {
  std::string digits = std::to_string(n);
  for (int64_t i = static_cast<int64_t>(digits.size()) - 3; i > 0; i -= 3) digits.insert(i, ",");
  return digits;
}

}  // namespace swiftlet

#include "engine/trainer/line_reader.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

constexpr size_t kReadBytes = size_t{1} << 16;

}  // namespace

absl::StatusOr<std::unique_ptr<LineReader>> LineReader::Open(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const std::string reason = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(reason) : absl::UnavailableError(reason);
  }
  if (S_ISDIR(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, expected a file"));
  std::unique_ptr<LineReader> reader(new LineReader(path));
  reader->file_ = gzopen(path.c_str(), "rb");
  if (reader->file_ == nullptr) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  gzbuffer(static_cast<gzFile>(reader->file_), kReadBytes);
  return reader;
}

LineReader::~LineReader() {
  if (file_ != nullptr) gzclose(static_cast<gzFile>(file_));
}

void LineReader::PutBackFirst(const std::string& text) {
  buffer_ = text + buffer_.substr(buffer_begin_);
  buffer_begin_ = 0;
  next_line_ = 1;
}

absl::StatusOr<bool> LineReader::ReadLine(std::string* line) {
  line->clear();
  for (;;) {
    const size_t end = buffer_.find('\n', buffer_begin_);
    if (end != std::string::npos) {
      line->append(buffer_, buffer_begin_, end - buffer_begin_);
      buffer_begin_ = end + 1;
      ++next_line_;
      if (!line->empty() && line->back() == '\r') line->pop_back();
      return true;
    }
    line->append(buffer_, buffer_begin_);
    buffer_begin_ = 0;
    if (line->size() > kMaxLineBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ":", next_line_, ": line longer than ", kMaxLineBytes, " bytes"));
    }
    buffer_.resize(kReadBytes);
    const int n = gzread(static_cast<gzFile>(file_), buffer_.data(), static_cast<unsigned>(buffer_.size()));
    buffer_.resize(std::max(n, 0));
    int code = Z_OK;
    const char* reason = gzerror(static_cast<gzFile>(file_), &code);
    if (n < 0 || (n == 0 && code == Z_BUF_ERROR)) {
      return absl::DataLossError(absl::StrCat(path_, ":", next_line_, ": ",
                                              code == Z_BUF_ERROR ? "the gzip file is truncated"
                                              : code == Z_ERRNO   ? std::strerror(errno)
                                                                  : reason));
    }
    if (n == 0) {
      if (!line->empty() && line->back() == '\r') line->pop_back();
      if (line->empty()) return false;
      ++next_line_;
      return true;
    }
  }
}

}  // namespace swiftlet

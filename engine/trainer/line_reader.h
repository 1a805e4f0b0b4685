// Reads lines of text from a file, plain or gzip.
#ifndef SWIFTLET_ENGINE_TRAINER_LINE_READER_H_
#define SWIFTLET_ENGINE_TRAINER_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace swiftlet {

// Thread-compatible.
class LineReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{1} << 20;

  // NOT_FOUND or UNAVAILABLE with the path and errno's text; INVALID_ARGUMENT for a directory.
  static absl::StatusOr<std::unique_ptr<LineReader>> Open(const std::string& path);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Without its "\n" or "\r\n". False at the end. DATA_LOSS with path and line for a truncated or corrupt
  // gzip file, INVALID_ARGUMENT for a line of more than kMaxLineBytes.
  absl::StatusOr<bool> ReadLine(std::string* line);
  // Number of the line that is read next, from 1.
  uint64_t next_line() const { return next_line_; }
  // Puts whole lines before what is read next, as if they were the file's first.
  void PutBackFirst(const std::string& text);

 private:
  explicit LineReader(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  void* file_ = nullptr;  // gzFile
  std::string buffer_;
  size_t buffer_begin_ = 0;
  uint64_t next_line_ = 1;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_LINE_READER_H_

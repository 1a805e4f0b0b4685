#include "tests/fuzz/fuzz_target.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace swiftlet::fuzz {

void Fail(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "%s:%d: does not hold: %s: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  std::abort();
}

bool IsShortLine(std::string_view message) {
  return !message.empty() && message.size() < 1000 &&
         std::none_of(message.begin(), message.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; });
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  // An empty view may have no data at all, which fwrite does not take.
  bool ok =
      file != nullptr && (bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  if (file != nullptr && std::fclose(file) != 0) ok = false;
  if (ok) return;
  std::perror(path.c_str());
  std::abort();
}

}  // namespace swiftlet::fuzz

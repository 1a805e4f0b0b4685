#include "storage/wal_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "storage/coding.h"
#include "storage/file_handle.h"
#include "storage/rocksdb_status.h"

namespace swiftlet {
namespace fs = std::filesystem;
namespace {

// Eight tables, so that eight bytes are taken at once.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    tables[0][i] = crc;
  }
  for (size_t t = 1; t < 8; ++t) {
    for (size_t i = 0; i < 256; ++i) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

// RocksDB's log format: blocks of 32 KiB, each a sequence of fragments that begin with a checksum (masked, of
// the type and the payload), the length of the payload and a type. A block's end that is too short for a
// fragment is filled up with zeros.
constexpr size_t kBlockBytes = 32768;
constexpr size_t kHeaderBytes = 7;
enum FragmentType : uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

bool IsWholeFragment(std::span<const char> bytes) {
  if (bytes.size() < kHeaderBytes) return false;
  const size_t length = LoadFixed<uint16_t>(bytes.data() + 4);
  return bytes[6] != kZero && kHeaderBytes + length <= bytes.size() &&
         Unmask(LoadFixed<uint32_t>(bytes.data())) == Crc32c(bytes.subspan(6, length + 1));
}

// Where a record begins in the rest of a block, whose fragments cannot be told apart any more; the size if
// nowhere.
size_t FindRecord(std::span<const char> bytes) {
  for (size_t at = 0; at + kHeaderBytes <= bytes.size(); ++at) {
    const char type = bytes[at + 6];
    if ((type == kFull || type == kFirst) && IsWholeFragment(bytes.subspan(at))) return at;
  }
  return bytes.size();
}

absl::Status CheckLog(const std::string& path) {
  const FileHandle file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd() < 0) return FromErrno(errno, path, "cannot open");
  std::vector<char> block(kBlockBytes);
  std::optional<uint64_t> damaged_at;
  for (uint64_t start = 0;; start += kBlockBytes) {
    const ssize_t n = pread(file.fd(), block.data(), block.size(), static_cast<off_t>(start));
    if (n < 0) return FromErrno(errno, path, "cannot read");
    const size_t size = static_cast<size_t>(n);
    size_t at = 0;
    while (at + kHeaderBytes <= size) {
      const std::span<const char> rest(block.data() + at, size - at);
      if (!damaged_at.has_value() && !IsWholeFragment(rest)) damaged_at = start + at;
      if (damaged_at.has_value()) {
        at += FindRecord(rest);
        if (at == size) break;  // the next block begins with a fragment
        return absl::DataLossError(absl::StrCat(path, ": damaged at byte ", *damaged_at,
                                                ", before acknowledged writes (at byte ", start + at,
                                                "): restore the data directory from a backup, or move this "
                                                "file away to go on without its writes"));
      }
      at += kHeaderBytes + LoadFixed<uint16_t>(rest.data() + 4);
    }
    if (size < kBlockBytes) return absl::OkStatus();
  }
}

}  // namespace

uint32_t Crc32c(std::span<const char> bytes) {
  uint32_t crc = 0xffffffffu;
  const char* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= 8; p += 8, n -= 8) {
    const uint64_t word = LoadFixed<uint64_t>(p) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; n > 0; ++p, --n) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint8_t>(*p)) & 0xff];
  return ~crc;
}

absl::Status CheckWriteAheadLogs(const std::string& directory) {
  std::vector<std::string> logs;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string stem = it->path().stem().string();
    if (it->path().extension() == ".log" && !stem.empty() &&
        stem.find_first_not_of("0123456789") == std::string::npos) {
      logs.push_back(it->path().string());
    }
  }
  if (error) return FromErrno(error.value(), directory, "cannot list the directory");
  std::sort(logs.begin(), logs.end());
  for (const std::string& log : logs) SWIFTLET_RETURN_IF_ERROR(CheckLog(log));
  return absl::OkStatus();
}

}  // namespace swiftlet

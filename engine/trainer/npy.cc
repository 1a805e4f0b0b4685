#include "engine/trainer/npy.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/safetensors.h"
#include "engine/trainer/import_model.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{1} << 16;

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
};

// Parses the header, a Python dictionary such as {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  // Empty when it is none.
  std::optional<Header> Parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    if (!Take('{')) return std::nullopt;
    while (!Take('}')) {
      std::string key;
      if (!TakeString(&key) || !Take(':')) return std::nullopt;
      bool* seen = key == "descr"           ? &descr
                   : key == "fortran_order" ? &order
                   : key == "shape"         ? &shape
                                            : nullptr;
      if (seen == nullptr || std::exchange(*seen, true)) return std::nullopt;
      const bool taken = key == "descr"           ? TakeString(&header.descr)
                         : key == "fortran_order" ? TakeBool(&header.fortran_order)
                                                  : TakeShape(&header.shape);
      if (!taken) return std::nullopt;
      if (!Take(',')) {
        if (!Take('}')) return std::nullopt;
        break;
      }
    }
    SkipSpace();
    if (!text_.empty() || !descr || !order || !shape) return std::nullopt;
    return header;
  }

 private:
  void SkipSpace() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  bool Take(char c) {
    SkipSpace();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  bool TakeString(std::string* value) {
    SkipSpace();
    if (text_.empty() || (text_[0] != '\'' && text_[0] != '"')) return false;
    const size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return false;
    *value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return true;
  }
  bool TakeBool(bool* value) {
    *value = TakeWord("True");
    return *value || TakeWord("False");
  }
  bool TakeShape(std::vector<uint64_t>* shape) {
    if (!Take('(')) return false;
    while (!Take(')')) {
      SkipSpace();
      size_t digits = 0;
      while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9') ++digits;
      uint64_t size = 0;
      if (digits == 0 || !absl::SimpleAtoi(std::string(text_.substr(0, digits)), &size)) return false;
      text_.remove_prefix(digits);
      shape->push_back(size);
      if (!Take(',')) {
        if (!Take(')')) return false;
        break;
      }
    }
    return true;
  }

  std::string_view text_;
};

}  // namespace

absl::StatusOr<MatrixF> ReadNpy(const std::string& path) {
  std::error_code error;
  const uint64_t file_size = std::filesystem::file_size(path, error);
  if (error) {
    const std::string reason = absl::StrCat(path, ": ", error.message());
    return error == std::errc::no_such_file_or_directory ? absl::NotFoundError(reason)
                                                         : absl::UnavailableError(reason);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  const auto fail = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
  };
  unsigned char start[12] = {};
  file.read(reinterpret_cast<char*>(start), 10);
  if (!file || std::memcmp(start, "\x93NUMPY", 6) != 0) return fail("this is no .npy file");
  const int version = start[6];
  if (version < 1 || version > 3) return fail(absl::StrCat("format version ", version, ", expected 1 to 3"));
  uint64_t header_size = start[8] | uint64_t{start[9]} << 8, begin = 10;
  if (version > 1) {
    file.read(reinterpret_cast<char*>(start) + 10, 2);
    header_size |= uint64_t{start[10]} << 16 | uint64_t{start[11]} << 24;
    begin = 12;
  }
  if (!file || header_size > file_size - begin || header_size > kMaxHeaderBytes) {
    return fail(absl::StrCat("a header of ", header_size, " bytes in a file of ", file_size));
  }
  std::string text(header_size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(header_size));
  const std::optional<Header> header = HeaderParser(text).Parse();
  if (!file || !header.has_value()) {
    return fail(absl::StrCat("the header \"", absl::CHexEscape(text.substr(0, 80)),
                             "\" is not a dictionary with descr, fortran_order and shape"));
  }
  TensorView tensor;
  if (header->descr == "<f4") {
    tensor.dtype = DType::kF32;
  } else if (header->descr == "<f2") {
    tensor.dtype = DType::kF16;
  } else if (header->descr == "<f8") {
    tensor.dtype = DType::kF64;
  } else {
    return fail(absl::StrCat("elements are '", absl::CHexEscape(header->descr.substr(0, 40)),
                             "', expected '<f4', '<f2' or '<f8'"));
  }
  if (header->shape.empty() || header->shape.size() > 2) {
    return fail(absl::StrCat("the array has ", header->shape.size(), " dimensions, expected [rows, dim]"));
  }
  // Compared by division: hostile sizes overflow.
  const uint64_t bytes = file_size - begin - header_size, element = DTypeBytes(tensor.dtype);
  const uint64_t rows = header->shape[0], columns = header->shape.size() == 2 ? header->shape[1] : 1;
  const bool empty = rows == 0 || columns == 0;
  if (empty ? bytes != 0
            : (bytes % element != 0 || bytes / element % columns != 0 || bytes / element / columns != rows)) {
    return fail(absl::StrCat("the array is [", rows, ", ", columns, "] of ", element,
                             " bytes an element, and ", bytes, " bytes follow the header"));
  }
  if (empty)
    return fail(
        absl::StrCat("the array is [", rows, ", ", columns, "], expected at least one row and column"));
  std::vector<std::byte> data(bytes);
  file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(bytes));
  if (!file) return absl::UnavailableError(absl::StrCat(path, ": the file ended while it was read"));
  tensor.data = data;
  const bool transposed = header->fortran_order && header->shape.size() == 2;
  tensor.shape = transposed ? std::vector<uint64_t>{columns, rows} : std::vector<uint64_t>{rows, columns};
  SWIFTLET_ASSIGN_OR_RETURN(MatrixF matrix, TensorToMatrix(tensor, path));
  if (transposed) return MatrixF(matrix.transpose());
  return matrix;
}

}  // namespace swiftlet

#include "engine/snapshot/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/base/internal/raw_logging.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/huge_pages.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/json_check.h"

namespace swiftlet {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors are mapped, not converted");

constexpr char kPadPrefix[] = "__pad__.";
constexpr char kMetadata[] = "__metadata__";
constexpr size_t kLengthBytes = 8;
// What the format's reference implementation allows.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// {"name": {"shape": []}}
constexpr size_t kMaxHeaderDepth = 3;
constexpr size_t kMaxRank = 8;

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  size_t bytes;
};
constexpr std::array<DTypeInfo, 9> kDTypes = {{{DType::kF32, "F32", 4},
                                               {DType::kU64, "U64", 8},
                                               {DType::kU32, "U32", 4},
                                               {DType::kU8, "U8", 1},
                                               {DType::kI64, "I64", 8},
                                               {DType::kI32, "I32", 4},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kF64, "F64", 8}}};

const DTypeInfo& InfoOf(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

// Bytes of a tensor; nothing when the product overflows.
std::optional<uint64_t> BytesOf(DType dtype, std::span<const uint64_t> shape) {
  uint64_t bytes = DTypeBytes(dtype);
  for (const uint64_t n : shape) {
    if (__builtin_mul_overflow(bytes, n, &bytes)) return std::nullopt;
  }
  return bytes;
}

bool IsPad(std::string_view name) { return name.starts_with(kPadPrefix); }

// One entry of the header, before the offsets are compared with each other.
struct Entry {
  std::string name;
  TensorView view;
  uint64_t begin = 0, end = 0;
};

absl::StatusOr<uint64_t> ReadOffset(const json& value, std::string_view what) {
  if (!value.is_number_unsigned()) {
    return absl::DataLossError(
        absl::StrCat(std::string(what), " holds something else than integers of at least 0"));
  }
  return value.get<uint64_t>();
}

absl::StatusOr<Entry> ReadEntry(const std::string& name, const json& value, std::span<const std::byte> data) {
  Entry entry;
  entry.name = name;
  if (!value.is_object()) return absl::DataLossError("is not an object");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string())
    return absl::DataLossError("dtype is missing or no string");
  const std::string dtype_name = dtype->get<std::string>();
  const auto info =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeInfo& d) { return d.name == dtype_name; });
  if (info == kDTypes.end()) {
    return absl::DataLossError(absl::StrCat("dtype ", Quoted(dtype_name), " is not supported"));
  }
  entry.view.dtype = info->dtype;

  const auto shape = value.find("shape");
  if (shape == value.end() || !shape->is_array()) return absl::DataLossError("shape is missing or no array");
  if (shape->size() > kMaxRank) {
    return absl::DataLossError(absl::StrCat("shape has ", shape->size(), " dimensions, at most ", kMaxRank));
  }
  for (const json& n : *shape) {
    SWIFTLET_ASSIGN_OR_RETURN(const uint64_t size, ReadOffset(n, "shape"));
    entry.view.shape.push_back(size);
  }

  const auto offsets = value.find("data_offsets");
  if (offsets == value.end() || !offsets->is_array() || offsets->size() != 2) {
    return absl::DataLossError("data_offsets is missing or not [begin, end]");
  }
  SWIFTLET_ASSIGN_OR_RETURN(entry.begin, ReadOffset((*offsets)[0], "data_offsets"));
  SWIFTLET_ASSIGN_OR_RETURN(entry.end, ReadOffset((*offsets)[1], "data_offsets"));
  if (entry.begin > entry.end || entry.end > data.size()) {
    return absl::DataLossError(absl::StrCat("data_offsets [", entry.begin, ", ", entry.end,
                                            "] are not within the ", data.size(), " bytes of data"));
  }
  const std::optional<uint64_t> bytes = BytesOf(entry.view.dtype, entry.view.shape);
  if (!bytes.has_value() || *bytes != entry.end - entry.begin) {
    return absl::DataLossError(
        absl::StrCat("shape [", absl::StrJoin(entry.view.shape, ", "), "] of ", dtype_name, " needs ",
                     bytes.has_value() ? absl::StrCat(*bytes) : "more than 2^64", " bytes, data_offsets [",
                     entry.begin, ", ", entry.end, "] hold ", entry.end - entry.begin));
  }
  entry.view.data = data.subspan(entry.begin, entry.end - entry.begin);
  return entry;
}

absl::Status ReadMetadata(const json& value, std::map<std::string, std::string>& metadata) {
  if (!value.is_object()) return absl::DataLossError("is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      return absl::DataLossError(absl::StrCat("the value of ", Quoted(key), " is no string"));
    }
    metadata[key] = text.get<std::string>();
  }
  return absl::OkStatus();
}

}  // namespace

size_t DTypeBytes(DType dtype) { return InfoOf(dtype).bytes; }
std::string_view DTypeName(DType dtype) { return InfoOf(dtype).name; }

uint64_t TensorView::num_elements() const { return data.size() / DTypeBytes(dtype); }

bool TensorView::is_aligned() const {
  return reinterpret_cast<uintptr_t>(data.data()) % DTypeBytes(dtype) == 0;
}

void TensorView::CheckAccess(bool dtype_matches) const {
  if (!dtype_matches) ABSL_RAW_LOG(FATAL, "tensor of %s read as another type", DTypeName(dtype).data());
  if (!is_aligned())
    ABSL_RAW_LOG(FATAL, "tensor of %s read in place is not aligned", DTypeName(dtype).data());
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return absl::DataLossError(absl::StrCat(path, ": not a regular file"));
  const auto size = static_cast<size_t>(info.st_size);
  if (size < kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": has ", size, " bytes, too few for a header"));
  }
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (start == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->bytes_ = {static_cast<const std::byte*>(start), size};
  file->mapped_ = true;
  SWIFTLET_RETURN_IF_ERROR(file->ParseHeader(path));
  return file;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(std::span<const std::byte> bytes,
                                                                        std::string_view name_for_errors) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->bytes_ = bytes;
  SWIFTLET_RETURN_IF_ERROR(file->ParseHeader(name_for_errors));
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (mapped_) UnmapInPieces(bytes_.data(), bytes_.size());
}

absl::Status SafetensorsFile::ParseHeader(std::string_view name_for_errors) {
  const std::string file_name(name_for_errors);
  const auto malformed = [&](const auto&... parts) {
    return absl::DataLossError(absl::StrCat(file_name, ": ", parts...));
  };
  if (bytes_.size() < kLengthBytes) {
    return malformed("has ", bytes_.size(), " bytes, too few for a header");
  }
  uint64_t header_bytes;
  std::memcpy(&header_bytes, bytes_.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes_.size() - kLengthBytes) {
    return malformed("header length ", header_bytes, " is more than ",
                     std::min<uint64_t>(kMaxHeaderBytes, bytes_.size() - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + kLengthBytes, header_bytes);
  if (!text.starts_with('{')) return malformed("the header does not start with '{'");
  const absl::StatusOr<json> header = ParseStrictJson(text, kMaxHeaderDepth);
  if (!header.ok()) return malformed("header: ", header.status().message());

  const std::span<const std::byte> data = bytes_.subspan(kLengthBytes + header_bytes);
  std::vector<Entry> entries;
  entries.reserve(header->size());
  for (const auto& [name, value] : header->items()) {
    if (name == kMetadata) {
      const absl::Status status = ReadMetadata(value, metadata_);
      if (!status.ok()) return malformed(kMetadata, ": ", status.message());
      continue;
    }
    absl::StatusOr<Entry> entry = ReadEntry(name, value, data);
    if (!entry.ok()) {
      return malformed("tensor ", Quoted(name), ": ", entry.status().message());
    }
    entries.push_back(*std::move(entry));
  }

  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t position = 0;
  for (Entry& entry : entries) {
    if (entry.begin != position) {
      return malformed("tensor ", Quoted(entry.name), ": starts at byte ", entry.begin, " of the data, ",
                       entry.begin < position ? "overlapping the tensor before, which ends at "
                                              : "leaving a hole after the tensor before, which ends at ",
                       position);
    }
    position = entry.end;
    if (!IsPad(entry.name)) tensors_.emplace(std::move(entry.name), std::move(entry.view));
  }
  if (position != data.size()) {
    return malformed("has ", data.size() - position, " bytes after the last tensor");
  }
  return absl::OkStatus();
}

const TensorView* SafetensorsFile::Find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

absl::Status WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  static constexpr std::array<char, kRowAlignment> kZeros = {};
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  uint64_t position = 0;
  size_t num_pads = 0;
  std::vector<std::span<const std::byte>> pieces;
  const auto add = [&](const std::string& name, DType dtype, std::span<const uint64_t> shape,
                       std::span<const std::byte> data) {
    header[name] = {{"dtype", std::string(DTypeName(dtype))},
                    {"shape", std::vector<uint64_t>(shape.begin(), shape.end())},
                    {"data_offsets", std::vector<uint64_t>{position, position + data.size()}}};
    position += data.size();
    pieces.push_back(data);
  };
  for (const NamedTensor& named : tensors) {
    const TensorView& tensor = named.tensor;
    if (named.name.empty() || named.name == kMetadata || IsPad(named.name) || header.contains(named.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor name \"", named.name, "\" is empty, reserved or used twice"));
    }
    if (BytesOf(tensor.dtype, tensor.shape) != tensor.data.size() || tensor.shape.size() > kMaxRank) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", named.name, "\" has ",
                                                     tensor.data.size(), " bytes, not those of its shape [",
                                                     absl::StrJoin(tensor.shape, ", "), "]"));
    }
    if (const uint64_t used = position % kRowAlignment; used != 0) {
      const uint64_t pad[] = {kRowAlignment - used};
      add(absl::StrCat(kPadPrefix, num_pads++), DType::kU8, pad,
          std::as_bytes(std::span(kZeros)).first(pad[0]));
    }
    add(named.name, tensor.dtype, tensor.shape, tensor.data);
  }

  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((kRowAlignment - (kLengthBytes + text.size()) % kRowAlignment) % kRowAlignment, ' ');
  const uint64_t header_bytes = text.size();
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  SWIFTLET_RETURN_IF_ERROR(file->Append(&header_bytes, kLengthBytes));
  SWIFTLET_RETURN_IF_ERROR(file->Append(text.data(), text.size()));
  for (const std::span<const std::byte> piece : pieces) {
    SWIFTLET_RETURN_IF_ERROR(file->Append(piece.data(), piece.size()));
  }
  return file->Sync();
}

}  // namespace swiftlet

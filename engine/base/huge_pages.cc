#include "engine/base/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;  // of x86-64, and of arm64 with small pages of 4 KiB

size_t RoundUp(size_t size) { return (size + kHugePage - 1) / kHugePage * kHugePage; }

}  // namespace

bool AllowsHugePages(std::string_view enabled) {
  return enabled.find("[always]") != std::string_view::npos ||
         enabled.find("[madvise]") != std::string_view::npos;
}

bool HugePagesAvailable() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return std::getline(file, line) && AllowsHugePages(line);
}

absl::StatusOr<HugePages> HugePages::Allocate(size_t size) {
  HugePages pages;
  if (size == 0) return pages;
  const size_t mapped = RoundUp(size) + kHugePage;  // some of it stands before the boundary
  void* const all = size > SIZE_MAX - 2 * kHugePage
                        ? MAP_FAILED
                        : ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", size, " bytes"));
  }
  auto* const begin = static_cast<std::byte*>(all);
  const size_t before = RoundUp(reinterpret_cast<uintptr_t>(begin)) - reinterpret_cast<uintptr_t>(begin);
  pages.start_ = begin + before;
  pages.size_ = size;
  if (before > 0) ::munmap(begin, before);
  if (before < kHugePage) ::munmap(pages.start_ + RoundUp(size), kHugePage - before);
  ::madvise(pages.start_, RoundUp(size), MADV_HUGEPAGE);
  return pages;
}

HugePages& HugePages::operator=(HugePages&& other) noexcept {
  std::swap(start_, other.start_);
  std::swap(size_, other.size_);
  return *this;
}

void HugePages::Touch(size_t begin, size_t size) {
  constexpr size_t kSmallPage = 4096;  // where the kernel has no huge page to give
  const size_t end = begin < size_ ? begin + std::min(size, size_ - begin) : begin;
  for (size_t i = begin; i < end; i += kSmallPage - i % kSmallPage) {
    volatile std::byte* const at = start_ + i;
    *at = *at;
  }
}

HugePages::~HugePages() { UnmapInPieces(start_, RoundUp(size_)); }

void UnmapInPieces(const std::byte* start, size_t size) {
  constexpr size_t kPiece = 2 * kHugePage;
  for (size_t begin = 0; begin < size; begin += kPiece) {
    ::munmap(const_cast<std::byte*>(start + begin), std::min(kPiece, size - begin));
  }
}

}  // namespace swiftlet

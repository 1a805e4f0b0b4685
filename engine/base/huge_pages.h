// Memory that much of is read at random or front to back, on huge pages: the processor finds two megabytes by
// one entry of its translation buffer, and a server of a million items answers 1.07 times as many calls.
#ifndef SWIFTLET_ENGINE_BASE_HUGE_PAGES_H_
#define SWIFTLET_ENGINE_BASE_HUGE_PAGES_H_

#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace swiftlet {

// Of the kernel's /sys/kernel/mm/transparent_hugepage/enabled, such as "always [madvise] never": whether a
// program may have huge pages by asking for them.
bool AllowsHugePages(std::string_view enabled);
// Of this machine.
bool HugePagesAvailable();

// Private memory. Movable, not copyable.
class HugePages {
 public:
  HugePages() = default;
  // Zeros. Every page is made when it is first touched: a huge one where the kernel has one to give, and
  // small ones where not, which is no error. RESOURCE_EXHAUSTED with the size when there is no address space.
  static absl::StatusOr<HugePages> Allocate(size_t size);
  HugePages(HugePages&& other) noexcept { *this = std::move(other); }
  HugePages& operator=(HugePages&& other) noexcept;
  // Gives the memory back a piece at a time, so that other threads never wait long for the address space.
  ~HugePages();

  // Starts on a huge page's boundary.
  std::span<std::byte> bytes() { return {start_, size_}; }
  std::span<const std::byte> bytes() const { return {start_, size_}; }

  // Makes the pages of [begin, begin + size), or of what there is of that, where they are not made yet. To be
  // called before a system call writes there: Linux makes a page for one under a lock of the whole address
  // space, which every thread that maps memory or meets such a page then waits for (two megabytes of zeros,
  // and longer where the thread is of low priority), but for a thread's own access under a lock of this
  // memory alone.
  void Touch(size_t begin, size_t size);

 private:
  std::byte* start_ = nullptr;
  size_t size_ = 0;
};

// Unmaps [start, start + size), whole pages of one mapping, a piece at a time.
void UnmapInPieces(const std::byte* start, size_t size);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_BASE_HUGE_PAGES_H_

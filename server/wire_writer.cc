#include "server/wire_writer.h"

#include <algorithm>
#include <utility>

namespace swiftlet {

void WireWriter::Grow(size_t n) {
  constexpr size_t kFirst = 4096;
  const size_t capacity = std::max(kFirst, std::bit_ceil(size() + n));
  auto data = std::make_unique_for_overwrite<char[]>(capacity);
  const size_t begin = capacity - size();
  if (size() > 0) std::memcpy(data.get() + begin, data_.get() + begin_, size());
  data_ = std::move(data);
  begin_ = begin;
  capacity_ = capacity;
}

void WireWriter::Free() {
  data_.reset();
  capacity_ = begin_ = 0;
}

}  // namespace swiftlet

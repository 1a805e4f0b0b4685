#include "server/call_arena.h"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <bit>
#include <memory>

namespace swiftlet {
namespace {

struct ThreadBlock {
  std::unique_ptr<char[]> data;
  size_t size = 0;
  bool leased = false;
};

ThreadBlock& Mine() {
  thread_local ThreadBlock block;
  return block;
}

// What does not fit into the block.
constexpr size_t kMaxFurtherBlock = size_t{64} << 10;

google::protobuf::ArenaOptions Options(char* data, size_t size) {
  google::protobuf::ArenaOptions options;
  options.initial_block = data;
  options.initial_block_size = size;
  options.start_block_size = CallArena::kFirstBlock;
  options.max_block_size = kMaxFurtherBlock;
  return options;
}

}  // namespace

CallArena::Lease::Lease() {
  ThreadBlock& block = Mine();
  if (block.leased) return;
  if (block.data == nullptr) {
    block.size = kFirstBlock;
    block.data = std::make_unique_for_overwrite<char[]>(block.size);
  }
  block.leased = true;
  data = block.data.get();
  size = block.size;
  ASAN_UNPOISON_MEMORY_REGION(data, size);
}

CallArena::Lease::~Lease() {
  if (data == nullptr) return;
  ThreadBlock& block = Mine();
  block.leased = false;
  if (num_needed > size && size < kMaxKept) {
    block.size = std::min(std::bit_ceil(num_needed), kMaxKept);
    block.data.reset();
    block.data = std::make_unique_for_overwrite<char[]>(block.size);
  }
  // Whoever still points there is found.
  ASAN_POISON_MEMORY_REGION(block.data.get(), block.size);
}

CallArena::CallArena() : arena_(Options(lease_.data, lease_.size)) {}

size_t CallArena::NumKept() { return Mine().size; }

}  // namespace swiftlet

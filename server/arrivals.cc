#include "server/arrivals.h"

#include <algorithm>
#include <new>
#include <vector>

namespace swiftlet {
namespace {

// Memory of contexts, used again. One thread's: those who end calls are those who read them.
class FreeBlocks {
 public:
  FreeBlocks() { blocks_.reserve(kMaxBlocks); }
  ~FreeBlocks() {
    for (void* block : blocks_) ::operator delete(block);
  }
  void* Take(size_t size) {
    if (blocks_.empty()) return ::operator new(size);
    void* block = blocks_.back();
    blocks_.pop_back();
    return block;
  }
  void Give(void* block) {
    if (blocks_.size() == kMaxBlocks) return ::operator delete(block);
    blocks_.push_back(block);
  }

 private:
  static constexpr size_t kMaxBlocks = 64;
  std::vector<void*> blocks_;
};

FreeBlocks& ThreadsBlocks() {
  thread_local FreeBlocks blocks;
  return blocks;
}

}  // namespace

class Arrivals::Context final : public grpc::CallbackServerContext {
 public:
  Context(int64_t number, Clock::time_point arrived) : number(number), arrived(arrived) {}

  static void* operator new(size_t size) { return ThreadsBlocks().Take(size); }
  static void operator delete(void* memory) { ThreadsBlocks().Give(memory); }

  const int64_t number;
  const Clock::time_point arrived;
};

class Arrivals::Allocator final : public grpc::ContextAllocator {
 public:
  explicit Allocator(Arrivals* arrivals) : arrivals_(arrivals) {}

  // On the thread that has read the call.
  grpc::CallbackServerContext* NewCallbackServerContext() override {
    return new Context(arrivals_->num_arrived_.fetch_add(1, std::memory_order_relaxed) + 1, Clock::now());
  }
  // gRPC passes contexts of its own, too: those of calls of methods that do not exist.
  void Release(grpc::CallbackServerContext* context) override { delete dynamic_cast<Context*>(context); }

 private:
  Arrivals* const arrivals_;
};

std::unique_ptr<grpc::ContextAllocator> Arrivals::NewAllocator() {
  has_allocator_ = true;
  return std::make_unique<Allocator>(this);
}

Arrivals::Wait Arrivals::Started(const grpc::CallbackServerContext* context, Clock::time_point now) {
  if (!has_allocator_) return {};
  const auto* call = static_cast<const Context*>(context);
  last_started_.store(call->number, std::memory_order_relaxed);
  return {.waited = now - call->arrived,
          .num_behind = num_arrived_.load(std::memory_order_relaxed) - call->number};
}

int64_t Arrivals::num_waiting() const {
  return std::max<int64_t>(
      0, num_arrived_.load(std::memory_order_relaxed) - last_started_.load(std::memory_order_relaxed));
}

}  // namespace swiftlet

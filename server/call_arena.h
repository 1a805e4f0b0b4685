// Memory for the messages of one call, used again by the next call of the thread.
//
//   CallArena arena;                                             // on the stack of what answers the call
//   auto* request = arena.Create<v1::RecommendRequest>();        // its submessages, lists and strings, too
//
// A message that is used again instead of made again does not do: Clear() of protobuf's deletes submessages.
#ifndef SWIFTLET_SERVER_CALL_ARENA_H_
#define SWIFTLET_SERVER_CALL_ARENA_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "google/protobuf/arena.h"
#include "google/protobuf/message_lite.h"

namespace swiftlet {

// What is created ends with this object, and nothing may point to it then: to keep a message, Swap or copy it
// into one that has no arena. Of the thread that makes it; may nest.
//
// A thread keeps one block, as large as its largest call so far needed but for kMaxKept: what a call needs
// beyond is allocated, and freed with it. So is, of strings over 15 bytes, the text.
class CallArena {
 public:
  static constexpr size_t kFirstBlock = size_t{8} << 10;
  static constexpr size_t kMaxKept = size_t{256} << 10;

  CallArena();
  ~CallArena() { lease_.num_needed = arena_.SpaceAllocated(); }
  CallArena(const CallArena&) = delete;
  CallArena& operator=(const CallArena&) = delete;

  template <typename Message>
  Message* Create() {
#ifdef __SANITIZE_THREAD__
    // protobuf's headers add a member to maps then, which the library as Debian builds it knows nothing of:
    // in an arena it takes them for maps of the heap, and frees what it finds.
    auto message = std::make_unique<Message>();
    Message* const made = message.get();
    messages_.push_back(std::move(message));
    return made;
#else
    return google::protobuf::Arena::CreateMessage<Message>(&arena_);
#endif
  }

  // Bytes of the block that this thread keeps; 0 before its first call.
  static size_t NumKept();

 private:
  // The thread's block, or none where an outer CallArena has it. Afterwards larger, if that was too little.
  struct Lease {
    Lease();
    ~Lease();
    char* data = nullptr;
    size_t size = 0;
    size_t num_needed = 0;
  };
  Lease lease_;  // outlives the arena
  google::protobuf::Arena arena_;
#ifdef __SANITIZE_THREAD__
  std::vector<std::unique_ptr<google::protobuf::MessageLite>> messages_;
#endif
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_CALL_ARENA_H_

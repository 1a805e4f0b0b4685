// Mutates protobuf messages field by field, so that what comes out still parses.
#ifndef SWIFTLET_TESTS_FUZZ_MESSAGE_MUTATOR_H_
#define SWIFTLET_TESTS_FUZZ_MESSAGE_MUTATOR_H_

#include <cstdint>
#include <random>
#include <span>
#include <string>

#include "google/protobuf/message.h"

namespace swiftlet::fuzz {

// What values are drawn from, besides mutations of what is there.
struct MutatorValues {
  std::span<const std::string> strings;
  std::span<const int64_t> integers;
  std::span<const double> numbers;
};

// One change: a field set, cleared, repeated or mutated, at any depth. Strings are mutated by
// LLVMFuzzerMutate.
void MutateMessage(const MutatorValues& values, std::mt19937_64& random, google::protobuf::Message* message);

}  // namespace swiftlet::fuzz

#endif  // SWIFTLET_TESTS_FUZZ_MESSAGE_MUTATOR_H_

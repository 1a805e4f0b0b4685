// What a fuzz target is: a file <name>_fuzz.cc that defines
//
//   extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);   // checks one input
//   std::vector<std::string> swiftlet::fuzz::Seeds();                          // good inputs, from the real
//   writers
//
// and, where mutating bytes would mostly break what is around them, LLVMFuzzerCustomMutator.
// libfuzzer_main.cc or replay_main.cc makes a program of it.
#ifndef SWIFTLET_TESTS_FUZZ_FUZZ_TARGET_H_
#define SWIFTLET_TESTS_FUZZ_FUZZ_TARGET_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

// libFuzzer's interface (https://llvm.org/docs/LibFuzzer.html).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Ends the process with the message where the condition does not hold: libFuzzer then keeps the input.
#define FUZZ_CHECK(condition, message)                                                   \
  do {                                                                                   \
    if (!(condition)) ::swiftlet::fuzz::Fail(__FILE__, __LINE__, #condition, (message)); \
  } while (false)

namespace swiftlet::fuzz {

// Inputs from which the fuzzer starts, the same at every call.
std::vector<std::string> Seeds();

[[noreturn]] void Fail(const char* file, int line, const char* condition, std::string_view message);

// True for a message as errors should have: not empty, less than 1000 bytes, without control characters.
bool IsShortLine(std::string_view message);

// Writes a file; ends the process when that fails.
void WriteFile(const std::string& path, std::string_view bytes);

// The bytes of an input as values. Past the end, everything is 0.
class InputReader {
 public:
  InputReader(const uint8_t* data, size_t size) : bytes_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return bytes_.empty(); }
  template <typename T>
  T Take() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    const size_t size = std::min(sizeof(T), bytes_.size());
    if (size > 0) std::memcpy(&value, bytes_.data(), size);
    bytes_.remove_prefix(size);
    return value;
  }
  // Takes at most `size` bytes.
  std::string_view TakeBytes(size_t size) {
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view TakeRest() { return TakeBytes(bytes_.size()); }

 private:
  std::string_view bytes_;
};

// The counterpart of InputReader: for seeds.
template <typename T>
void Put(T value, std::string* out) {
  static_assert(std::is_arithmetic_v<T>);
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

}  // namespace swiftlet::fuzz

#endif  // SWIFTLET_TESTS_FUZZ_FUZZ_TARGET_H_

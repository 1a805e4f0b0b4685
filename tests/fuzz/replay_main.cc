// A fuzz target as an ordinary test: its seeds, the files given, and random mutations of them. Which they are
// follows from seeds, files and numbers alone, whatever the target does with them: two builds run the same.
//
//   fuzz_safetensors [--mutations=N] [--seed=N] [--seconds=N] [--failure=FILE] [FILE or DIRECTORY]...
//
// --seconds: mutations end after so long; the line at the end says how many there were, and what all inputs
// hash to. An input at which the process aborts is written to --failure, by default fuzz_<target>-failure in
// the working directory. (Sanitizers abort with abort_on_error=1 in ASAN_OPTIONS and UBSAN_OPTIONS.)
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

// Null where the target has none.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                                                unsigned int seed);

namespace {

constexpr size_t kMaxInputBytes = 16384;

std::mt19937_64& Random() {
  static std::mt19937_64 random;
  return random;
}
size_t Below(size_t n) { return n == 0 ? 0 : static_cast<size_t>(Random()() % n); }

std::string* current_input = nullptr;
std::string failure_file;

// Keeps what the target choked on.
void OnAbort(int) {
  if (current_input != nullptr) {
    std::ofstream(failure_file, std::ios::binary) << *current_input;
    std::fprintf(stderr, "the input is in %s\n", failure_file.c_str());
  }
  std::signal(SIGABRT, SIG_DFL);
  std::raise(SIGABRT);
}

// FNV-1a of all inputs (http://www.isthe.com/chongo/tech/comp/fnv), for comparing two runs.
uint64_t hash = 0xCBF29CE484222325;

void Run(std::string input) {
  current_input = &input;
  for (const char c : input) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  // Without room to spare, so that AddressSanitizer sees a read past the end.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  current_input = nullptr;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string Mutated(const std::string& input, const std::vector<std::string>& others) {
  std::vector<uint8_t> bytes(input.begin(), input.end());
  size_t size = std::min(bytes.size(), kMaxInputBytes);
  bytes.resize(kMaxInputBytes);
  for (size_t i = 0, n = 1 + Below(4); i < n; ++i) {
    size = LLVMFuzzerCustomMutator != nullptr ? LLVMFuzzerCustomMutator(bytes.data(), size, kMaxInputBytes,
                                                                        static_cast<unsigned>(Random()()))
                                              : LLVMFuzzerMutate(bytes.data(), size, kMaxInputBytes);
  }
  std::string result(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
  // Now and then the beginning of one and the end of another.
  if (Below(8) == 0) {
    const std::string& other = others[Below(others.size())];
    // One after the other: compilers differ in which operand they take first.
    result.resize(Below(result.size() + 1));
    result += other.substr(Below(other.size() + 1));
  }
  return result;
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  static constexpr uint8_t kInteresting[] = {0, 1, 0x7F, 0x80, 0xFF, '"', '\n', ',', '{', '}', '9', '-'};
  switch (Below(6)) {
    case 0:  // one bit
      if (size > 0) data[Below(size)] ^= static_cast<uint8_t>(1 << Below(8));
      return size;
    case 1:  // one byte
      if (size > 0) data[Below(size)] = kInteresting[Below(sizeof(kInteresting))];
      return size;
    case 2: {  // a little more
      const size_t n = std::min<size_t>(1 + Below(8), max_size - size), at = Below(size + 1);
      std::copy_backward(data + at, data + size, data + size + n);
      for (size_t i = 0; i < n; ++i) data[at + i] = static_cast<uint8_t>(Random()());
      return size + n;
    }
    case 3: {  // less
      const size_t at = Below(size), n = std::min(size - at, size_t{1} << Below(8));
      std::copy(data + at + n, data + size, data + at);
      return size - n;
    }
    case 4: {  // a part twice
      const size_t from = Below(size), n = std::min({size - from, size_t{1} << Below(8), max_size - size});
      const std::vector<uint8_t> part(data + from, data + from + n);
      const size_t at = Below(size + 1);
      std::copy_backward(data + at, data + size, data + size + n);
      std::copy(part.begin(), part.end(), data + at);
      return size + n;
    }
    default: {  // a number
      if (size < 8) return size;
      const size_t at = Below(size - 7), n = size_t{1} << Below(4);
      static constexpr uint64_t kNumbers[] = {
          0,          1,          ~uint64_t{0},          uint64_t{1} << 63,
          0x7FFFFFFF, 0xFFFFFFFF, 0x7FC000007F800000ull, uint64_t{1} << 32};
      const uint64_t number = kNumbers[Below(std::size(kNumbers))];
      std::memcpy(data + at, &number, n);
      return size;
    }
  }
}

int main(int argc, char** argv) {
  uint64_t num_mutations = 0;
  auto most = std::chrono::steady_clock::duration::max();
  failure_file = std::filesystem::path(argv[0]).filename().string() + "-failure";
  std::vector<std::string> inputs = swiftlet::fuzz::Seeds();
  const size_t num_seeds = inputs.size();
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--mutations=")) {
      num_mutations = std::strtoull(argument.c_str() + 12, nullptr, 10);
    } else if (argument.starts_with("--seed=")) {
      Random().seed(std::strtoull(argument.c_str() + 7, nullptr, 10));
    } else if (argument.starts_with("--seconds=")) {
      most = std::chrono::seconds(std::strtoul(argument.c_str() + 10, nullptr, 10));
    } else if (argument.starts_with("--failure=")) {
      failure_file = argument.substr(10);
    } else if (std::filesystem::is_directory(argument)) {
      std::vector<std::filesystem::path> paths;
      for (const auto& entry : std::filesystem::directory_iterator(argument)) paths.push_back(entry.path());
      std::sort(paths.begin(), paths.end());
      for (const auto& path : paths) inputs.push_back(ReadFile(path));
    } else if (std::filesystem::is_regular_file(argument)) {
      inputs.push_back(ReadFile(argument));
    }
  }
  if (num_seeds == 0) {
    std::fprintf(stderr, "there are no seeds\n");
    return 1;
  }
  std::signal(SIGABRT, OnAbort);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& input : inputs) Run(input);
  uint64_t done = 0;
  while (done < num_mutations && std::chrono::steady_clock::now() - start < most) {
    Run(Mutated(inputs[Below(inputs.size())], inputs));
    ++done;
  }
  std::printf("%zu seeds, %zu kept inputs and %llu mutations, %016llx\n", num_seeds,
              inputs.size() - num_seeds, static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(hash));
  return 0;
}

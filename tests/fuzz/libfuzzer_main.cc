// What a target needs besides libFuzzer's own main: fuzz_<name> --write-seeds=DIR writes the seeds as files
// and ends.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kFlag = "--write-seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (!argument.starts_with(kFlag)) continue;
    const std::string directory(argument.substr(kFlag.size()));
    int n = 0;
    for (const std::string& seed : swiftlet::fuzz::Seeds()) {
      swiftlet::fuzz::WriteFile(directory + "/seed-" + std::to_string(n++), seed);
    }
    std::printf("%d seeds in %s\n", n, directory.c_str());
    std::exit(0);
  }
  return 0;
}

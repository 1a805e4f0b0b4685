#include "engine/trainer/torch_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"

namespace swiftlet {
namespace {

// Beside the program, or in ../lib/swiftlet of an installed one.
std::filesystem::path FindLibrary() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const std::filesystem::path folder = program.parent_path();
  for (const std::filesystem::path& path :
       {folder / kTorchLibrary, folder.parent_path() / "lib" / "swiftlet" / kTorchLibrary}) {
    if (std::filesystem::exists(path, error)) return path;
  }
  return {};
}

// The library stays loaded until the process ends.
absl::StatusOr<TorchTrainFunction> LoadFunction() {
  const std::filesystem::path path = FindLibrary();
  if (path.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this trainer was built without libtorch (no ", kTorchLibrary,
                     " beside the program): apt-get install libtorch-dev libopenblas-dev, and build again"));
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(dlerror(), ": apt-get install libtorch1.13 libopenblas0-pthread"));
  }
  void* const function = dlsym(library, kTorchTrainSymbol);
  if (function == nullptr) return absl::FailedPreconditionError(dlerror());
  return reinterpret_cast<TorchTrainFunction>(function);
}

}  // namespace

absl::StatusOr<TrainedModel> TrainWithTorch(const TrainingData& training, const TrainingOptions& options,
                                            ThreadPool* pool, Progress* progress) {
  static const absl::StatusOr<TorchTrainFunction> function = LoadFunction();
  if (!function.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("model kind \"", options.kind, "\": ", function.status().message()));
  }
  absl::StatusOr<TrainedModel> model;
  (*function)(training, options, pool, progress, &model);
  return model;
}

}  // namespace swiftlet

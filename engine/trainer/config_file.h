// Configuration files of models: {"flags": {"model": "attention", "dim": 64, ...}}, where a key is the name
// of a flag of train and evaluate without its dashes. Whatever stands beside "flags" tells people how it was
// found.
#ifndef SWIFTLET_ENGINE_TRAINER_CONFIG_FILE_H_
#define SWIFTLET_ENGINE_TRAINER_CONFIG_FILE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/trainer/input.h"

namespace swiftlet {

// Names and values, in order; a flag that takes several values appears several times.
using ConfigFlags = std::vector<std::pair<std::string, std::string>>;

// NOT_FOUND or INVALID_ARGUMENT with the path and what is wrong.
absl::StatusOr<ConfigFlags> ReadConfigFile(const std::string& path);

// The command line (without the program's name) with the flags of the file that --config names after it,
// where the command line does not give them itself. Unchanged without --config.
absl::StatusOr<std::vector<std::string>> ExpandConfig(std::vector<std::string> arguments);

// --config, which ExpandConfig has dealt with.
void AddConfigFlag(CLI::App* app);

// `options` with the model flags of `flags` set. INVALID_ARGUMENT for an unknown flag or a bad value; `where`
// begins the message.
absl::StatusOr<ModelOptions> WithFlags(ModelOptions options, const ConfigFlags& flags,
                                       const std::string& where);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_CONFIG_FILE_H_

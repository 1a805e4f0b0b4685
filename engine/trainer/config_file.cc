#include "engine/trainer/config_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

}  // namespace

absl::StatusOr<ConfigFlags> ReadConfigFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::stringstream text;
  text << file.rdbuf();
  const Json json = Json::parse(text.str(), nullptr, false);
  const auto fail = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", why, "; expected {\"flags\": {\"dim\": 64, ..}}"));
  };
  if (json.is_discarded()) return fail("this is not JSON");
  if (!json.is_object() || !json.contains("flags") || !json["flags"].is_object()) {
    return fail("there is no object \"flags\"");
  }
  ConfigFlags flags;
  for (const auto& [name, value] : json["flags"].items()) {
    if (name.empty() || name.starts_with('-') || name.find('=') != std::string::npos || name == "config") {
      return fail(absl::StrCat("\"", name, "\" is not the name of a flag"));
    }
    const auto is_scalar = [](const Json& v) { return v.is_string() || v.is_number() || v.is_boolean(); };
    if (is_scalar(value)) {
      flags.emplace_back(name, Text(value));
    } else if (value.is_array() && std::all_of(value.begin(), value.end(), is_scalar)) {
      for (const Json& v : value) flags.emplace_back(name, Text(v));
    } else {
      return fail(absl::StrCat("\"", name, "\" is not a string, a number, true, false or a list of these"));
    }
  }
  return flags;
}

absl::StatusOr<std::vector<std::string>> ExpandConfig(std::vector<std::string> arguments) {
  std::string path;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--config" && i + 1 < arguments.size()) path = arguments[i + 1];
    if (arguments[i].starts_with("--config=")) path = arguments[i].substr(std::strlen("--config="));
  }
  if (path.empty()) return arguments;
  SWIFTLET_ASSIGN_OR_RETURN(const ConfigFlags flags, ReadConfigFile(path));
  const std::vector<std::string> given = arguments;
  for (const auto& [name, value] : flags) {
    const std::string flag = "--" + name;
    const bool overridden = std::any_of(given.begin(), given.end(), [&](const std::string& a) {
      return a == flag || a.starts_with(flag + "=");
    });
    if (!overridden) arguments.push_back(absl::StrCat(flag, "=", value));
  }
  return arguments;
}

void AddConfigFlag(CLI::App* app) {
  app->add_option_function<std::string>(
         "--config", [](const std::string&) {},
         "Take flags from this JSON file (as tune writes it) where they are not given here")
      ->group("Model");
}

absl::StatusOr<ModelOptions> WithFlags(ModelOptions options, const ConfigFlags& flags,
                                       const std::string& where) {
  auto parsed = std::make_unique<ModelOptions>(std::move(options));
  CLI::App app;
  AddModelFlags(&app, parsed.get());
  std::vector<std::string> arguments;
  for (auto it = flags.rbegin(); it != flags.rend(); ++it) {  // CLI11 takes them in reverse
    arguments.push_back(absl::StrCat("--", it->first, "=", it->second));
  }
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", error.what()));
  }
  return *std::move(parsed);
}

}  // namespace swiftlet

#include "engine/snapshot/json_check.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quoted.h"

namespace swiftlet {
namespace {

using nlohmann::json;

// Events of nlohmann's parser, which keeps its own stack: no input makes it recurse.
class StrictHandler : public nlohmann::json_sax<json> {
 public:
  explicit StrictHandler(size_t max_depth) : max_depth_(max_depth) {}
  const std::string& error() const { return error_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    error_ = absl::StrCat("the key ", Quoted(name), " occurs twice in one object");
    return false;
  }
  bool parse_error(size_t position, const std::string& token, const nlohmann::detail::exception& e) override {
    // It quotes what it read since the last value, blanks as eight bytes each.
    error_ = absl::StrCat("invalid JSON at byte ", position, ": ", Shortened(e.what(), 200));
    return false;
  }

 private:
  bool Enter() {
    keys_.emplace_back();
    if (keys_.size() <= max_depth_) return true;
    error_ = absl::StrCat("JSON is nested deeper than ", max_depth_);
    return false;
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }

  const size_t max_depth_;
  std::vector<std::set<std::string>> keys_;
  std::string error_;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(std::string_view text, size_t max_depth) {
  // The parser takes NUL for the end of its input.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return absl::DataLossError(absl::StrCat("invalid JSON at byte ", nul + 1, ": NUL"));
  }
  StrictHandler handler(max_depth);
  if (!json::sax_parse(text.begin(), text.end(), &handler)) return absl::DataLossError(handler.error());
  json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::DataLossError("invalid JSON");
  return value;
}

}  // namespace swiftlet

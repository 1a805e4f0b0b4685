#include "engine/trainer/json_lines.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

using Json = nlohmann::ordered_json;

const std::string kNoText(1, '\0');
constexpr int kMaxDepth = 64;  // of a line; deeper ones are bad

// Why a line is bad. Parsing recurses for every level of nesting, so that is bounded first, and members that
// appear twice are found by a callback, because the parsed object keeps one of them.
std::string Parse(const std::string& text, Json* object) {
  if (!IsValidUtf8(text)) return "text that is not UTF-8";
  bool too_deep = false;
  std::string twice;
  std::vector<std::string> members;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) too_deep = true;
    if (depth == 1 && event == Json::parse_event_t::key) {
      const std::string& name = parsed.get_ref<const std::string&>();
      for (const std::string& m : members) {
        if (m == name) twice = name;
      }
      members.push_back(name);
    }
    return depth <= kMaxDepth;
  };
  *object = Json::parse(text, check, false);
  if (too_deep) return absl::StrCat("JSON of more than ", kMaxDepth, " levels");
  if (object->is_discarded() || !object->is_object()) return "not a JSON object";
  if (!twice.empty()) return absl::StrCat("the member ", Quoted(twice), " appears twice");
  return "";
}

std::optional<std::string> ScalarText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  return std::nullopt;
}

std::string FieldText(const Json& value) {
  if (value.is_null()) return "";
  if (auto text = ScalarText(value)) return *std::move(text);
  if (!value.is_array()) return kNoText;
  std::string joined;
  for (const Json& element : value) {
    const auto text = ScalarText(element);
    if (!text.has_value()) return kNoText;
    if (&element != &value.front()) joined.push_back(JsonLines::kListSeparator);
    joined += *text;
  }
  return joined;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JsonLines>> JsonLines::Open(const std::string& path) {
  std::unique_ptr<JsonLines> table(new JsonLines(path));
  SWIFTLET_ASSIGN_OR_RETURN(table->lines_, LineReader::Open(path));
  Json object;
  std::string first_bad;
  for (;;) {
    const uint64_t line = table->lines_->next_line();
    SWIFTLET_ASSIGN_OR_RETURN(const bool any, table->lines_->ReadLine(&table->text_));
    if (!any) break;
    if (table->text_.empty()) continue;
    if (const std::string bad = Parse(table->text_, &object); !bad.empty()) {
      if (first_bad.empty()) first_bad = absl::StrCat(path, ":", line, ": ", bad);
      continue;
    }
    for (const auto& [name, value] : object.items()) {
      if (table->column_of_.emplace(name, table->columns_.size()).second) table->columns_.push_back(name);
    }
  }
  if (table->columns_.empty()) {
    return absl::InvalidArgumentError(
        first_bad.empty() ? absl::StrCat(path, ":1: expected a JSON object a line, the file is empty")
                          : first_bad);
  }
  SWIFTLET_ASSIGN_OR_RETURN(table->lines_, LineReader::Open(path));
  return table;
}

absl::StatusOr<RecordTable::Row> JsonLines::Next(std::vector<std::string>* fields) {
  do {
    record_line_ = lines_->next_line();
    SWIFTLET_ASSIGN_OR_RETURN(const bool any, lines_->ReadLine(&text_));
    if (!any) return Row::kEnd;
  } while (text_.empty());
  Json object;
  bad_reason_ = Parse(text_, &object);
  if (!bad_reason_.empty()) return Row::kBad;
  fields->assign(columns_.size(), "");
  for (const auto& [name, value] : object.items()) {
    const auto column = column_of_.find(name);
    if (column != column_of_.end()) (*fields)[column->second] = FieldText(value);
  }
  return Row::kFields;
}

absl::StatusOr<std::unique_ptr<RecordTable>> OpenRecords(const std::string& path, char delimiter) {
  std::string_view name = path;
  if (name.ends_with(".gz")) name.remove_suffix(3);
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json")) {
    return JsonLines::Open(path);
  }
  return TextTable::Open(path, delimiter);
}

}  // namespace swiftlet

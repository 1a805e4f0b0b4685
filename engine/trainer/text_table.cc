#include "engine/trainer/text_table.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxRecordBytes = LineReader::kMaxLineBytes;

bool EndsWith(std::string_view text, std::string_view end) { return text.ends_with(end); }

// 0 when the name does not say.
char DelimiterOfName(std::string_view path) {
  if (EndsWith(path, ".gz")) path.remove_suffix(3);
  if (EndsWith(path, ".csv")) return ',';
  if (EndsWith(path, ".tsv") || EndsWith(path, ".tab")) return '\t';
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextTable>> TextTable::Open(const std::string& path, char delimiter) {
  std::unique_ptr<TextTable> table(new TextTable(path));
  SWIFTLET_ASSIGN_OR_RETURN(table->lines_, LineReader::Open(path));
  SWIFTLET_ASSIGN_OR_RETURN(const bool any, table->lines_->ReadLine(&table->line_text_));
  std::string header = table->line_text_;
  if (header.starts_with("\xEF\xBB\xBF")) header.erase(0, 3);
  if (!any || header.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":1: expected a header with column names, the file is empty"));
  }
  if (!IsValidUtf8(header))
    return absl::InvalidArgumentError(absl::StrCat(path, ":1: the header is not UTF-8 text"));
  table->delimiter_ = delimiter != 0 ? delimiter : DelimiterOfName(path);
  if (table->delimiter_ == 0) table->delimiter_ = header.find('\t') != std::string::npos ? '\t' : ',';

  // The header is parsed like any record; put it back before what was read ahead. With the whole line end:
  // one more carriage return before it belongs to the header and must not be taken for half of "\r\n" now.
  table->lines_->PutBackFirst(header + "\r\n");
  SWIFTLET_RETURN_IF_ERROR(table->ReadRecord(&table->columns_).status());
  if (!table->bad_reason_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":1: ", table->bad_reason_));
  }
  absl::flat_hash_set<absl::string_view> seen;
  for (size_t i = 0; i < table->columns_.size(); ++i) {
    const std::string& name = table->columns_[i];
    if (name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":1: the name of column ", i + 1, " is empty"));
    }
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":1: column \"", name, "\" appears twice"));
    }
  }
  return table;
}

std::optional<size_t> RecordTable::FindColumn(std::string_view name) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] == name) return i;
  }
  return std::nullopt;
}

absl::StatusOr<bool> TextTable::ReadRecord(std::vector<std::string>* fields) {
  fields->clear();
  bad_reason_.clear();
  do {
    record_line_ = lines_->next_line();
    SWIFTLET_ASSIGN_OR_RETURN(const bool any, lines_->ReadLine(&line_text_));
    if (!any) return false;
  } while (line_text_.empty());

  std::string field;
  size_t i = 0;
  size_t record_bytes = line_text_.size();
  for (;;) {
    field.clear();
    if (delimiter_ != '\t' && i < line_text_.size() && line_text_[i] == '"') {
      ++i;
      for (;;) {
        if (i == line_text_.size()) {
          // A quoted field may go on in the next line.
          std::string next;
          SWIFTLET_ASSIGN_OR_RETURN(const bool any, lines_->ReadLine(&next));
          if (!any) {
            bad_reason_ = "a quoted field is not closed";
            return true;
          }
          record_bytes += next.size() + 1;
          if (record_bytes > kMaxRecordBytes) {
            bad_reason_ = absl::StrCat("a quoted field is not closed within ", kMaxRecordBytes, " bytes");
            return true;
          }
          field.push_back('\n');
          line_text_ = std::move(next);
          i = 0;
        } else if (line_text_[i] != '"') {
          field.push_back(line_text_[i++]);
        } else if (i + 1 < line_text_.size() && line_text_[i + 1] == '"') {
          field.push_back('"');
          i += 2;
        } else {
          ++i;
          break;
        }
      }
      if (i < line_text_.size() && line_text_[i] != delimiter_) {
        bad_reason_ = absl::StrCat("text after the closing quote of field ", fields->size() + 1);
        return true;
      }
    } else {
      const size_t end = std::min(line_text_.find(delimiter_, i), line_text_.size());
      field.assign(line_text_, i, end - i);
      i = end;
    }
    fields->push_back(field);
    if (i >= line_text_.size()) break;
    ++i;  // the delimiter
  }
  for (const std::string& f : *fields) {
    if (!IsValidUtf8(f)) {
      bad_reason_ = "text that is not UTF-8";
      return true;
    }
  }
  return true;
}

absl::StatusOr<TextTable::Row> TextTable::Next(std::vector<std::string>* fields) {
  SWIFTLET_ASSIGN_OR_RETURN(const bool any, ReadRecord(fields));
  if (!any) return Row::kEnd;
  if (!bad_reason_.empty()) return Row::kBad;
  if (fields->size() != columns_.size()) {
    bad_reason_ = absl::StrCat(fields->size(), " fields, expected ", columns_.size(), " as in the header");
    return Row::kBad;
  }
  return Row::kFields;
}

}  // namespace swiftlet

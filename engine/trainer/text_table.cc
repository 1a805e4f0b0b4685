#include "engine/trainer/text_table.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

constexpr size_t kReadBytes = size_t{1} << 16;
constexpr size_t kMaxRecordBytes = size_t{1} << 20;

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
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const std::string reason = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(reason) : absl::UnavailableError(reason);
  }
  if (S_ISDIR(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, expected a file"));
  std::unique_ptr<TextTable> table(new TextTable(path));
  table->file_ = gzopen(path.c_str(), "rb");
  if (table->file_ == nullptr) return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  gzbuffer(static_cast<gzFile>(table->file_), kReadBytes);

  SWIFTLET_ASSIGN_OR_RETURN(const bool any, table->ReadLine(&table->line_text_));
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
  table->buffer_ = header + "\r\n" + table->buffer_.substr(table->buffer_begin_);
  table->buffer_begin_ = 0;
  table->next_line_ = 1;
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

TextTable::~TextTable() {
  if (file_ != nullptr) gzclose(static_cast<gzFile>(file_));
}

std::optional<size_t> TextTable::FindColumn(std::string_view name) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i] == name) return i;
  }
  return std::nullopt;
}

absl::StatusOr<bool> TextTable::ReadLine(std::string* line) {
  line->clear();
  for (;;) {
    const size_t end = buffer_.find('\n', buffer_begin_);
    if (end != std::string::npos) {
      line->append(buffer_, buffer_begin_, end - buffer_begin_);
      buffer_begin_ = end + 1;
      ++next_line_;
      if (!line->empty() && line->back() == '\r') line->pop_back();
      return true;
    }
    line->append(buffer_, buffer_begin_);
    buffer_begin_ = 0;
    if (line->size() > kMaxRecordBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ":", next_line_, ": line longer than ", kMaxRecordBytes, " bytes"));
    }
    buffer_.resize(kReadBytes);
    const int n = gzread(static_cast<gzFile>(file_), buffer_.data(), static_cast<unsigned>(buffer_.size()));
    buffer_.resize(std::max(n, 0));
    int code = Z_OK;
    const char* reason = gzerror(static_cast<gzFile>(file_), &code);
    if (n < 0 || (n == 0 && code == Z_BUF_ERROR)) {
      return absl::DataLossError(absl::StrCat(path_, ":", next_line_, ": ",
                                              code == Z_BUF_ERROR ? "the gzip file is truncated"
                                              : code == Z_ERRNO   ? std::strerror(errno)
                                                                  : reason));
    }
    if (n == 0) {
      if (!line->empty() && line->back() == '\r') line->pop_back();
      if (line->empty()) return false;
      ++next_line_;
      return true;
    }
  }
}

absl::StatusOr<bool> TextTable::ReadRecord(std::vector<std::string>* fields) {
  fields->clear();
  bad_reason_.clear();
  do {
    record_line_ = next_line_;
    SWIFTLET_ASSIGN_OR_RETURN(const bool any, ReadLine(&line_text_));
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
          SWIFTLET_ASSIGN_OR_RETURN(const bool any, ReadLine(&next));
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

#include "client/cli/bulk_loader.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/cli/text.h"
#include "client/rpc_status.h"

namespace swiftlet::cli {
namespace {

constexpr int kMaxBadLinesShown = 5;

// "events[3].item_id: empty" with field "events" -> 3 and "item_id: empty".
std::optional<std::pair<size_t, std::string>> SplitIndex(const std::string& message,
                                                         const std::string& field) {
  if (message.rfind(field + "[", 0) != 0) return std::nullopt;
  const size_t begin = field.size() + 1;
  const size_t end = message.find(']', begin);
  size_t index = 0;
  if (end == std::string::npos || !absl::SimpleAtoi(message.substr(begin, end - begin), &index)) {
    return std::nullopt;
  }
  std::string rest = message.substr(end + 1);
  rest.erase(0, rest.find_first_not_of(".: "));
  return std::pair(index, std::move(rest));
}

// One load. One thread.
class Loader {
 public:
  Loader(Session& session, TextTable& table, BulkSink& sink, const BulkOptions& options)
      : session_(session), table_(table), sink_(sink), options_(options) {}

  int Run() {
    const int code = Load();
    EndProgress();
    const double seconds = std::max(absl::ToDoubleSeconds(absl::Now() - start_), 1e-6);
    const double rate = static_cast<double>(counts_.stored + counts_.duplicates) / seconds;
    if (code != kOk) {
      session_.io.err << "swiftlet: " << options_.command << ": " << Count(counts_.stored, options_.noun)
                      << " stored before that. " << options_.resume_hint << "\n";
    }
    if (session_.json) {
      session_.io.out << nlohmann::json({{"file", table_.path()},
                                         {"stored", counts_.stored},
                                         {"duplicates", counts_.duplicates},
                                         {"skipped_lines", skipped_},
                                         {"complete", code == kOk},
                                         {"seconds", seconds},
                                         {"per_second", rate}})
                             .dump(1)
                      << "\n";
    } else if (code == kOk) {
      session_.io.out << Count(counts_.stored, options_.noun) << " stored";
      if (counts_.duplicates > 0)
        session_.io.out << ", " << WithThousands(counts_.duplicates) << " already there";
      if (skipped_ > 0) session_.io.out << ", " << Count(skipped_, "bad line") << " skipped";
      session_.io.out << absl::StrFormat(" in %.1f s (%s a second)\n", seconds,
                                         WithThousands(static_cast<int64_t>(rate)));
    }
    return code;
  }

 private:
  int Load() {
    std::vector<std::string> fields;
    for (;;) {
      const absl::StatusOr<TextTable::Row> row = table_.Next(&fields);
      if (!row.ok()) return Stop(std::string(row.status().message()));
      if (*row == TextTable::Row::kEnd) break;
      if (*row == TextTable::Row::kBad) {
        if (!BadLine(table_.line(), table_.bad_reason())) return kFailed;
        continue;
      }
      const size_t before = sink_.size();
      if (const absl::Status status = sink_.Add(fields, table_.line()); !status.ok()) {
        if (!BadLine(table_.line(), std::string(status.message()))) return kFailed;
        continue;
      }
      if (sink_.size() > before) lines_.push_back(table_.line());
      if (sink_.size() >= options_.batch_size) {
        if (const int code = Flush(); code != kOk) return code;
      }
    }
    return Flush();
  }

  int Flush() {
    while (sink_.size() > 0) {
      const absl::StatusOr<BulkSink::Counts> sent = sink_.Send();
      if (sent.ok()) {
        counts_.stored += sent->stored;
        counts_.duplicates += sent->duplicates;
        break;
      }
      auto bad = SplitIndex(ServerMessage(sent.status()), options_.field);
      if (!absl::IsInvalidArgument(sent.status()) || !bad || bad->first >= lines_.size()) {
        EndProgress();
        return session_.Fail(options_.command, sent.status());
      }
      // The server names the one element for which it refused the batch.
      if (!BadLine(lines_[bad->first], bad->second)) return kFailed;
      sink_.Drop(bad->first);
      lines_.erase(lines_.begin() + static_cast<ptrdiff_t>(bad->first));
    }
    sink_.Clear();
    lines_.clear();
    ShowProgress();
    return kOk;
  }

  // False when the load stops there.
  bool BadLine(uint64_t line, const std::string& reason) {
    const std::string message = absl::StrCat(table_.path(), ":", line, ": ", reason);
    if (!options_.skip_bad) {
      Stop(message);
      return false;
    }
    EndProgress();
    if (++skipped_ <= kMaxBadLinesShown) {
      session_.io.err << "swiftlet: " << options_.command << ": skipped " << Printable(message) << "\n";
    } else if (skipped_ == kMaxBadLinesShown + 1) {
      session_.io.err << "swiftlet: " << options_.command << ": more bad lines are skipped and counted\n";
    }
    return true;
  }

  int Stop(const std::string& message) {
    EndProgress();
    session_.io.err << "swiftlet: " << options_.command << ": " << Printable(message) << "\n";
    return kFailed;
  }

  // On a terminal one line that is written over, ten times a second; else a line every five seconds.
  void ShowProgress() {
    const absl::Time now = absl::Now();
    const bool terminal = session_.io.err_is_terminal;
    if (now - shown_ < (terminal ? absl::Milliseconds(100) : absl::Seconds(5))) return;
    shown_ = now;
    const int64_t done = counts_.stored + counts_.duplicates;
    const double rate = static_cast<double>(done) / std::max(absl::ToDoubleSeconds(now - start_), 1e-6);
    const std::string text = absl::StrCat(Count(done, options_.noun), ", ",
                                          WithThousands(static_cast<int64_t>(rate)), " a second");
    if (terminal) {
      session_.io.err << "\r" << text << "\x1b[K" << std::flush;
      line_open_ = true;
    } else {
      session_.io.err << text << "\n" << std::flush;
    }
  }

  void EndProgress() {
    if (line_open_) session_.io.err << "\r\x1b[K" << std::flush;
    line_open_ = false;
  }

  Session& session_;
  TextTable& table_;
  BulkSink& sink_;
  const BulkOptions& options_;
  const absl::Time start_ = absl::Now();
  absl::Time shown_ = start_;
  bool line_open_ = false;
  std::vector<uint64_t> lines_;  // of the elements of the batch
  BulkSink::Counts counts_;
  int64_t skipped_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextTable>> OpenTable(const std::string& path) {
  return TextTable::Open(path == "-" ? "/dev/stdin" : path, 0);
}

int LoadTable(Session& session, TextTable& table, BulkSink& sink, const BulkOptions& options) {
  return Loader(session, table, sink, options).Run();
}

absl::StatusOr<ColumnMap> ColumnMap::Create(const std::vector<Field>& fields, std::string_view mapping,
                                            const TextTable& table) {
  ColumnMap map;
  absl::flat_hash_map<std::string, std::string> chosen;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(mapping.data(), mapping.size()), ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const bool known =
        std::any_of(fields.begin(), fields.end(), [&](const Field& f) { return f.name == pair.first; });
    if (!known || part.find('=') == absl::string_view::npos) {
      const std::string names =
          absl::StrJoin(fields, ", ", [](std::string* out, const Field& field) { out->append(field.name); });
      return absl::InvalidArgumentError(
          absl::StrCat("--columns: \"", part, "\" is not field=column with a field of ", names));
    }
    chosen[pair.first] = pair.second;
  }
  const std::string header = absl::StrJoin(table.columns(), ", ");
  for (const Field& field : fields) {
    std::optional<size_t> column;
    if (const auto choice = chosen.find(field.name); choice != chosen.end()) {
      column = table.FindColumn(choice->second);
      if (!column && !choice->second.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(table.path(), ":1: no column \"", choice->second,
                                                       "\" for ", field.name, "; there are: ", header));
      }
    } else {
      for (const std::string& alias : field.aliases) {
        for (size_t i = 0; i < table.columns().size() && !column; ++i) {
          if (absl::AsciiStrToLower(table.columns()[i]) == alias) column = i;
        }
      }
    }
    if (column) {
      map.columns_[field.name] = *column;
    } else if (field.required) {
      return absl::InvalidArgumentError(absl::StrCat(table.path(), ":1: no column for ", field.name,
                                                     "; there are: ", header, ". Name one: --columns ",
                                                     field.name, "=COLUMN"));
    }
  }
  return map;
}

std::optional<size_t> ColumnMap::Find(std::string_view field) const {
  const auto column = columns_.find(absl::string_view(field.data(), field.size()));
  if (column == columns_.end()) return std::nullopt;
  return column->second;
}

}  // namespace swiftlet::cli

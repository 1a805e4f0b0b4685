#include "client/cli/bulk_loader.h"

#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <fstream>
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
#include "client/cli/interrupt.h"
#include "client/cli/text.h"
#include "client/rpc_status.h"

namespace swiftlet::cli {
namespace {

constexpr int kMaxBadLinesShown = 5;
// After Ctrl-C, for what is on its way to the server.
constexpr absl::Duration kLastWait = absl::Seconds(2);

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

// The size of a file of plain text; 0 where that does not tell how much there is to read.
int64_t TextBytes(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return 0;
  char magic[2] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  const bool gzip = magic[0] == '\x1f' && magic[1] == '\x8b';
  return gzip ? 0 : info.st_size;
}

// One load. One thread.
class Loader : public EventLoadObserver {
 public:
  Loader(Session& session, TextTable& table, BulkSink& sink, const BulkOptions& options)
      : session_(session),
        table_(table),
        sink_(sink),
        options_(options),
        total_bytes_(TextBytes(table.path())),
        stored_to_(options.from_line > 0 ? options.from_line - 1 : 0) {}

  int Run() {
    const int code = Load();
    Account();
    EndProgress();
    const double seconds = std::max(absl::ToDoubleSeconds(absl::Now() - start_), 1e-6);
    const double rate = static_cast<double>(counts_.stored + counts_.duplicates) / seconds;
    if (code != kOk) {
      session_.io.err << "swiftlet: " << options_.command << ": " << Count(counts_.stored, options_.noun)
                      << " stored before that. " << options_.resume_hint;
      if (options_.has_from_line && stored_to_ > 1) {
        session_.io.err << " Or go on after what is stored, with --from-line " << stored_to_ + 1 << ".";
      }
      session_.io.err << "\n";
    }
    if (session_.json) {
      session_.io.out << nlohmann::json({{"file", table_.path()},
                                         {"stored", counts_.stored},
                                         {"duplicates", counts_.duplicates},
                                         {"skipped_lines", skipped_},
                                         {"complete", code == kOk},
                                         {"next_line", std::max<uint64_t>(stored_to_, 1) + 1},
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

  // --- EventLoadObserver ---
  bool OnWait() override {
    Account();
    ShowProgress();
    return !interrupt_.interrupted();
  }
  void OnRetry(const absl::Status& error) override {
    Account();
    Say(absl::StrCat(CodeName(error.code()), ": ", error.message(), ": trying again, ",
                     Count(counts_.stored + counts_.duplicates, options_.noun), " stored so far"));
  }
  void OnFallback() override {
    Say("the server does not know LoadEvents: going on with RecordEvents, which is slower");
  }

 private:
  // What was handed over in one Send.
  struct Batch {
    std::vector<uint64_t> lines;  // of its elements
    uint64_t last_line = 0;       // all lines to here are in this batch or an earlier one
    int64_t bytes = 0;            // of the file, to here
  };

  int Load() {
    std::vector<std::string> fields;
    for (;;) {
      if (interrupt_.interrupted()) return Interrupted();
      const absl::StatusOr<TextTable::Row> row = table_.Next(&fields);
      if (!row.ok()) {
        if (interrupt_.interrupted()) return Interrupted();
        return Stop(std::string(row.status().message()));
      }
      if (*row == TextTable::Row::kEnd) break;
      last_line_ = table_.line();
      if (*row == TextTable::Row::kFields) {
        for (const std::string& field : fields) bytes_ += static_cast<int64_t>(field.size()) + 1;
      }
      if (table_.line() < options_.from_line) {
        first_byte_ = bytes_;
        continue;
      }
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
        if (const int code = Flush(/*finish=*/false); code != kOk) return code;
      }
    }
    return Flush(/*finish=*/true);
  }

  // Hands the batch over; `finish`: and waits for all.
  int Flush(bool finish) {
    if (sink_.size() > 0) {
      batches_.push_back({.lines = std::exchange(lines_, {}), .last_line = last_line_, .bytes = bytes_});
    }
    absl::Status status = sink_.Send(*this);
    for (;;) {
      if (status.ok() && finish) status = sink_.Finish(*this);
      Account();
      ShowProgress();
      if (status.ok()) return kOk;
      if (interrupt_.interrupted() && absl::IsCancelled(status)) return Interrupted();
      auto bad = SplitIndex(ServerMessage(status), options_.field);
      if (!absl::IsInvalidArgument(status) || !bad || batches_.empty() ||
          bad->first >= batches_.front().lines.size()) {
        EndProgress();
        return session_.Fail(options_.command, status);
      }
      // The server names the one element for which it refused the batch.
      std::vector<uint64_t>& lines = batches_.front().lines;
      if (!options_.skip_bad) return Refuse(Message(lines[bad->first], bad->second));
      Skip(Message(lines[bad->first], bad->second));
      lines.erase(lines.begin() + static_cast<ptrdiff_t>(bad->first));
      if (!sink_.Drop(bad->first)) return session_.Fail(options_.command, status);
      status = sink_.Send(*this);
    }
  }

  // Takes in what is stored by now.
  void Account() {
    const int64_t batches_before = counts_.batches;
    counts_ = sink_.counts();
    for (int64_t b = batches_before; b < counts_.batches && !batches_.empty(); ++b) {
      stored_to_ = batches_.front().last_line;
      stored_bytes_ = batches_.front().bytes;
      batches_.pop_front();
    }
  }

  std::string Message(uint64_t line, const std::string& reason) const {
    return absl::StrCat(table_.path(), ":", line, ": ", reason);
  }

  // A line that is found to be bad before it is sent. False when the load stops there.
  bool BadLine(uint64_t line, const std::string& reason) {
    if (!options_.skip_bad) {
      Stop(Message(line, reason));
      return false;
    }
    Skip(Message(line, reason));
    return true;
  }

  void Skip(const std::string& message) {
    if (++skipped_ <= kMaxBadLinesShown) {
      Say("skipped " + message);
    } else if (skipped_ == kMaxBadLinesShown + 1) {
      Say("more bad lines are skipped and counted");
    }
  }

  // Stores what was sent, which can fail for an earlier reason; else says this one.
  int Stop(const std::string& message) {
    sink_.Clear();
    if (const int code = Flush(/*finish=*/true); code != kOk) return code;
    return Refuse(message);
  }

  int Interrupted() {
    sink_.Clear();
    sink_.Stop(kLastWait);
    return Refuse("interrupted");
  }

  int Refuse(const std::string& message) {
    Say(message);
    return kFailed;
  }

  void Say(const std::string& message) {
    EndProgress();
    session_.io.err << "swiftlet: " << options_.command << ": " << Printable(message) << "\n";
  }

  // On a terminal one line that is written over, ten times a second; else a line every five seconds.
  void ShowProgress() {
    const absl::Time now = absl::Now();
    const bool terminal = session_.io.err_is_terminal;
    if (now - shown_ < (terminal ? absl::Milliseconds(100) : absl::Seconds(5))) return;
    shown_ = now;
    const int64_t done = counts_.stored + counts_.duplicates;
    const double seconds = std::max(absl::ToDoubleSeconds(now - start_), 1e-6);
    std::string text = absl::StrCat(Count(done, options_.noun), ", ",
                                    WithThousands(static_cast<int64_t>(done / seconds)), " a second");
    if (stored_bytes_ > first_byte_ && stored_bytes_ < total_bytes_) {
      const auto rest = static_cast<double>(total_bytes_ - stored_bytes_);
      const double left = seconds * rest / static_cast<double>(stored_bytes_ - first_byte_);
      absl::StrAppend(&text, ", ", absl::FormatDuration(absl::Ceil(absl::Seconds(left), absl::Seconds(1))),
                      " left");
    }
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
  const InterruptScope interrupt_;
  const absl::Time start_ = absl::Now();
  const int64_t total_bytes_;
  absl::Time shown_ = start_;
  bool line_open_ = false;
  std::vector<uint64_t> lines_;  // of the elements of the batch that grows
  uint64_t last_line_ = 0;       // that was read
  int64_t bytes_ = 0;            // of the file that were read; quotes are not counted
  int64_t first_byte_ = 0;       // the first that is loaded
  std::deque<Batch> batches_;    // handed over and not stored
  BulkSink::Counts counts_;
  uint64_t stored_to_;  // every line to here is stored, or was skipped
  int64_t stored_bytes_ = 0;
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

// CSV and TSV files, plain and gzip, as the trainer reads them. Input: three bytes of options, then the file.
#include <zlib.h>

#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/item_key.h"
#include "engine/trainer/load_events.h"
#include "engine/trainer/text_table.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

const std::string& Directory() {
  static const testing::TempDir dir;
  return dir.path();
}

std::string Gzip(std::string_view text) {
  z_stream stream = {};
  FUZZ_CHECK(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  FUZZ_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void CheckError(const absl::Status& status, const std::string& path) {
  FUZZ_CHECK(absl::IsInvalidArgument(status) || absl::IsDataLoss(status), status.ToString());
  FUZZ_CHECK(status.message().find(path) != absl::string_view::npos ||
                 status.message().find("--default-type") != absl::string_view::npos,
             status.ToString());
}

// All that a table says: to compare two readings of one text.
std::string ReadTable(const std::string& path, char delimiter) {
  const absl::StatusOr<std::unique_ptr<TextTable>> opened = TextTable::Open(path, delimiter);
  if (!opened.ok()) {
    CheckError(opened.status(), path);
    return "refused";
  }
  TextTable& table = **opened;
  FUZZ_CHECK(!table.columns().empty(), "columns");
  std::string all;
  for (const std::string& name : table.columns()) {
    FUZZ_CHECK(!name.empty() && IsValidUtf8(name), name);
    FUZZ_CHECK(table.columns()[*table.FindColumn(name)] == name, name);
    absl::StrAppend(&all, name, "\x1F");
  }
  std::vector<std::string> fields;
  uint64_t line = 1;
  for (;;) {
    const absl::StatusOr<TextTable::Row> row = table.Next(&fields);
    if (!row.ok()) {
      CheckError(row.status(), path);
      return all + "broken off";
    }
    if (*row == TextTable::Row::kEnd) return all;
    FUZZ_CHECK(table.line() > line || line == 1, "lines go on");
    FUZZ_CHECK(table.line() >= 2, "the header is line 1");
    line = table.line();
    absl::StrAppend(&all, line, ":");
    if (*row == TextTable::Row::kBad) {
      FUZZ_CHECK(!table.bad_reason().empty(), "a bad record has a reason");
      absl::StrAppend(&all, table.bad_reason(), "\x1E");
      continue;
    }
    FUZZ_CHECK(fields.size() == table.columns().size(), absl::StrCat(fields.size()));
    for (const std::string& field : fields) {
      FUZZ_CHECK(IsValidUtf8(field), "UTF-8");
      absl::StrAppend(&all, field, "\x1F");
    }
  }
}

void CheckEvents(const EventFileOptions& options) {
  DatasetBuilder builder(EventTypeTable::Default());
  const absl::StatusOr<LoadStats> stats = LoadEventFile(options, &builder);
  if (!stats.ok()) return CheckError(stats.status(), options.path);
  FUZZ_CHECK(stats->num_records == builder.num_events(), absl::StrCat(stats->num_records));
  FUZZ_CHECK(stats->num_bad_lines <= options.max_bad_lines, absl::StrCat(stats->num_bad_lines));
  FUZZ_CHECK(stats->first_bad.empty() == (stats->num_bad_lines == 0), stats->first_bad);
  const absl::StatusOr<Dataset> data = builder.Build();
  if (stats->num_records == 0) {
    FUZZ_CHECK(absl::IsFailedPrecondition(data.status()), data.status().ToString());
    return;
  }
  FUZZ_CHECK(data.ok(), data.status().ToString());
  FUZZ_CHECK(data->events.size() == stats->num_records, absl::StrCat(data->events.size()));
  for (const std::string& id : data->user_ids) FUZZ_CHECK(IsValidId(id), id);
  for (const std::string& id : data->item_ids) FUZZ_CHECK(IsValidId(id), id);
  for (size_t u = 0; u < data->num_users(); ++u) {
    int64_t last = 0;
    for (const TrainingEvent& event : data->EventsOf(u)) {
      FUZZ_CHECK(event.user == u && event.item < data->num_items(), "indices");
      FUZZ_CHECK(event.timestamp_ms >= last && event.timestamp_ms <= 253402300799999, "times");
      FUZZ_CHECK(std::isfinite(event.value), "values");
      FUZZ_CHECK(data->event_types.FindById(event.type) != nullptr, "types");
      last = event.timestamp_ms;
    }
  }
}

void CheckItems(const ItemFileOptions& options) {
  std::vector<ItemRecord> items;
  const absl::StatusOr<LoadStats> stats = LoadItemFile(options, &items);
  if (!stats.ok()) return CheckError(stats.status(), options.path);
  FUZZ_CHECK(stats->num_records == items.size(), absl::StrCat(items.size()));
  for (const ItemRecord& item : items) {
    FUZZ_CHECK(IsValidId(item.item_id), item.item_id);
    FUZZ_CHECK(IsValidUtf8(item.title) && item.title.size() <= 1024, item.title);
    FUZZ_CHECK(item.categories.size() <= 64, absl::StrCat(item.categories.size()));
    // What a snapshot's categories must be.
    for (const std::string& category : item.categories) FUZZ_CHECK(IsValidId(category), category);
  }
}

std::string Seed(const std::string& options, const std::string& text) { return options + text; }

}  // namespace

std::vector<std::string> Seeds() {
  using namespace std::string_literals;
  const std::string events =
      "user,item,type,value,timestamp\r\nu1,i1,like,1.5,1700000000\r\n\r\n\"u,2\",\"i "
      "\"\"2\"\"\nx\",view,,0\r\n"
      "u1,i2,rating,-3e1,1700000000123\nu3\nu4,i4,nope,nan,-1\n";
  return {
      Seed("\0\0\0"s, events),
      Seed("\1\7\2"s, events),
      Seed("\0\3\1"s, Gzip(events)),
      Seed("\2\1\2"s,
           "userId\tmovieId\trating\ttime\n1\t2\t3.5\t964982703\n1\t3\t\t964982703.5\n\"\t4\t1\t1\n"),
      Seed("\0\2\1"s, "\xEF\xBB\xBFitem,title,categories\n1,\"A, b\",Drama| Comedy|\n\xC3\xA4,,\n2,\xFF,x\n"),
      Seed("\3\4\2"s, "item;user\n1;2\n"),
      Seed("\0\4\2"s, "\r\r\n")};
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InputReader input(data, size);
  constexpr char kDelimiters[] = {0, ',', '\t', ';'};
  const char delimiter = kDelimiters[input.Take<uint8_t>() % 4];
  const auto flags = input.Take<uint8_t>();
  constexpr uint64_t kBadLines[] = {0, 2, std::numeric_limits<uint64_t>::max()};
  const uint64_t max_bad_lines = kBadLines[input.Take<uint8_t>() % 3];
  const std::string_view text = input.TakeRest();

  const std::string path = Directory() + "/table.txt";
  WriteFile(path, text);
  const std::string read = ReadTable(path, delimiter);
  // A text that begins like a gzip file is one already.
  if ((flags & 4) != 0 && !text.starts_with('\x1F') && !text.empty()) {
    const std::string zipped = Directory() + "/table.gz";
    WriteFile(zipped, Gzip(text));
    FUZZ_CHECK(ReadTable(zipped, delimiter) == read, "the same table, zipped");
  }
  constexpr TimeUnit kUnits[] = {TimeUnit::kAuto, TimeUnit::kSeconds, TimeUnit::kMilliseconds,
                                 TimeUnit::kAuto};
  CheckEvents({.path = path,
               .delimiter = delimiter,
               .user_column = {},
               .item_column = {},
               .time_column = {},
               .type_column = {},
               .value_column = {},
               .default_type = {},
               .time_unit = kUnits[flags & 3],
               .max_bad_lines = max_bad_lines});
  CheckItems({.path = path,
              .delimiter = delimiter,
              .item_column = {},
              .title_column = {},
              .category_column = {},
              .attribute_columns = {},
              .max_bad_lines = max_bad_lines});
  return 0;
}

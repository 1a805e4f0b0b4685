// Event and item files as the command line client loads them, against a server that now and then refuses an
// element. Input: a byte of options, a byte for what the server refuses, then the file.
#include <deque>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/cli/bulk_loader.h"
#include "client/cli/event_sink.h"
#include "client/cli/item_sink.h"
#include "engine/base/status_macros.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

using cli::BulkSink;

const std::string& Path() {
  static const testing::TempDir dir;
  static const std::string path = dir.path() + "/rows.txt";
  return path;
}

// Nothing listens there, and no call is made.
Client& AnyClient() {
  static const std::unique_ptr<Client> client = [] {
    absl::StatusOr<std::unique_ptr<Client>> made = Client::Connect({.address = "unix:/nowhere"});
    FUZZ_CHECK(made.ok(), made.status().ToString());
    return *std::move(made);
  }();
  return *client;
}

// The rows go to a real sink; the server is this.
class AnsweredSink final : public BulkSink {
 public:
  AnsweredSink(BulkSink& rows, uint8_t answers) : rows_(rows), answers_(answers) {}

  absl::Status Add(const std::vector<std::string>& fields, uint64_t line) override {
    const size_t before = rows_.size();
    const absl::Status status = rows_.Add(fields, line);
    FUZZ_CHECK(status.ok() || (absl::IsInvalidArgument(status) && !status.message().empty()),
               status.ToString());
    FUZZ_CHECK(rows_.size() == before || (status.ok() && rows_.size() == before + 1), "a row is one element");
    num_added += status.ok();
    return status;
  }
  size_t size() const override { return rows_.size(); }
  absl::Status Send(EventLoadObserver& /*observer*/) override {
    if (size() > 0) {
      batches_.push_back(size());
      Clear();
    }
    while (!batches_.empty() && batches_.size() > answers_ % 4) SWIFTLET_RETURN_IF_ERROR(Store());
    return absl::OkStatus();
  }
  absl::Status Finish(EventLoadObserver& /*observer*/) override {
    FUZZ_CHECK(size() == 0, "all is handed over");
    while (!batches_.empty()) SWIFTLET_RETURN_IF_ERROR(Store());
    return absl::OkStatus();
  }
  Counts counts() const override { return counts_; }
  bool Drop(size_t index) override {
    FUZZ_CHECK(!batches_.empty() && index < batches_.front(), "what is dropped was refused");
    if (--batches_.front() == 0) Stored();
    return true;
  }
  void Clear() override {
    rows_.Clear();
    FUZZ_CHECK(size() == 0, "cleared");
  }

  int64_t num_added = 0;

 private:
  // The answer for the first batch.
  absl::Status Store() {
    answers_ = static_cast<uint8_t>(answers_ * 5 + 3);
    if (answers_ % 4 == 1) {
      return absl::InvalidArgumentError(absl::StrCat("rows[", answers_ % batches_.front(), "].item_id: no"));
    }
    if (answers_ % 16 == 2) return absl::InvalidArgumentError("rows[99999999999999999999].x: no");
    counts_.stored += static_cast<int64_t>(batches_.front());
    Stored();
    return absl::OkStatus();
  }
  void Stored() {
    batches_.pop_front();
    ++counts_.batches;
  }

  BulkSink& rows_;
  uint8_t answers_;
  std::deque<size_t> batches_;  // elements of what was handed over and is not stored
  Counts counts_;
};

void Load(TextTable& table, BulkSink& rows, uint8_t options, uint8_t answers) {
  std::istringstream in;
  std::ostringstream out, err;
  cli::CliIo io{.in = in, .out = out, .err = err};
  cli::Session session(io);
  session.json = true;
  AnsweredSink sink(rows, answers);
  const cli::BulkOptions bulk = {.command = "load",
                                 .noun = "row",
                                 .field = "rows",
                                 .batch_size = (options & 8) != 0 ? size_t{1} : size_t{3},
                                 .skip_bad = (options & 4) != 0};
  const int code = cli::LoadTable(session, table, sink, bulk);
  const nlohmann::json report = nlohmann::json::parse(out.str(), nullptr, /*allow_exceptions=*/false);
  FUZZ_CHECK(report.is_object(), out.str());
  FUZZ_CHECK(report["complete"] == (code == 0), out.str());
  FUZZ_CHECK(report["stored"] <= sink.num_added && report["stored"] >= 0, out.str());
  FUZZ_CHECK(code == 0 || !err.str().empty(), "a failure is reported");
  for (const char c : err.str()) FUZZ_CHECK(c == '\n' || static_cast<unsigned char>(c) >= 0x20, err.str());
}

}  // namespace

std::vector<std::string> Seeds() {
  using namespace std::string_literals;
  return {
      "\4\0"s +
          "user,item,type,value,timestamp\nu1,i1,like,1.5,1700000000\nu2,i2,,x,2026-11-22T03:38:27Z\n"
          "u3,i3,view,,1700000000123\nu4,i4,buy,1e39,9e15\nu5,i5,rating,4,-1\n",
      "\15\7"s +
          "item\ttitle\tgenres\n1\tToy Story (1995)\tAdventure|Comedy| |\n1\t\xC3\xA4\t\n\xFF\t\t\n2\tx\n",
      "\5\2"s + "id,name,tags\r\n\"1\",\"a \"\"b\"\"\x1b[2J\",x\r\n,,\r\n",
      "\6\1"s + "uid,movieId,overall,timestamp_ms\n1,2,3,1700000000123\n1,2,3,5\n"};
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InputReader input(data, size);
  const auto options = input.Take<uint8_t>(), answers = input.Take<uint8_t>();
  WriteFile(Path(), input.TakeRest());
  const absl::StatusOr<std::unique_ptr<TextTable>> table = cli::OpenTable(Path());
  if (!table.ok()) {
    FUZZ_CHECK(table.status().message().find(Path()) != absl::string_view::npos, table.status().ToString());
    return 0;
  }
  const auto check_error = [](const absl::Status& status) {
    FUZZ_CHECK(absl::IsInvalidArgument(status) && !status.message().empty(), status.ToString());
  };
  if ((options & 1) != 0) {
    absl::StatusOr<cli::ItemSink> sink =
        cli::ItemSink::Create((options & 2) != 0 ? "categories=" : "", **table, AnyClient(), {});
    if (!sink.ok()) return check_error(sink.status()), 0;
    Load(**table, *sink, options, answers);
  } else {
    const cli::EventFileOptions files = {
        .columns = {},
        .default_type = {},
        .time_unit = (options & 2) != 0 ? cli::TimeUnit::kSeconds : cli::TimeUnit::kAuto};
    absl::StatusOr<cli::EventSink> sink = cli::EventSink::Create(files, **table, *AnyClient().LoadEvents());
    if (!sink.ok()) return check_error(sink.status()), 0;
    Load(**table, *sink, options, answers);
  }
  return 0;
}

// What the tests of storage/ share.
#ifndef SWIFTLET_TESTS_UNIT_STORAGE_STORAGE_TEST_UTIL_H_
#define SWIFTLET_TESTS_UNIT_STORAGE_STORAGE_TEST_UTIL_H_

#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/database.h"

namespace swiftlet::storage_testing {

inline constexpr int64_t kNow = 1'700'000'000'000;
inline constexpr int64_t kHourMs = 3'600'000;

// A new directory, removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = ::testing::TempDir() + "/swiftlet_storage_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string Path(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline EventRecord Event(std::string user, std::string item, int64_t timestamp_ms, std::string event_id = "",
                         float value = 0, EventTypeId type = 1) {
  return {.user_id = std::move(user),
          .item_id = std::move(item),
          .event_id = std::move(event_id),
          .timestamp_ms = timestamp_ms,
          .value = value,
          .type = type};
}

inline CatalogItem Item(std::string item_id, std::string title = "", std::vector<float> vector = {}) {
  CatalogItem item;
  item.item_id = std::move(item_id);
  item.title = std::move(title);
  item.vector = std::move(vector);
  return item;
}

inline HistoryEvent InHistory(const EventRecord& e) {
  return {.item_key = ItemKeyOf(e.item_id), .timestamp_ms = e.timestamp_ms, .value = e.value, .type = e.type};
}

// The rule of histories, in the plainest words: by time, then arrival, the newest n.
inline std::vector<HistoryEvent> Oracle(const std::vector<EventRecord>& in_order_of_arrival, size_t n) {
  std::vector<HistoryEvent> all;
  for (const EventRecord& e : in_order_of_arrival) {
    size_t at = all.size();
    while (at > 0 && all[at - 1].timestamp_ms > e.timestamp_ms) --at;
    all.insert(all.begin() + static_cast<ptrdiff_t>(at), InHistory(e));
  }
  if (all.size() > n) all.erase(all.begin(), all.end() - static_cast<ptrdiff_t>(n));
  return all;
}

inline std::unique_ptr<Database> OpenOrDie(DatabaseOptions options,
                                           const EventTypeTable& types = EventTypeTable::Default()) {
  auto db = Database::Open(options, types);
  EXPECT_TRUE(db.ok()) << db.status();
  return db.ok() ? std::move(*db) : nullptr;
}

inline std::vector<HistoryEvent> HistoryOf(UserStore& store, std::string_view user) {
  std::vector<HistoryEvent> history;
  const absl::Status status = store.ReadHistory(user, &history);
  EXPECT_TRUE(status.ok()) << status;
  return history;
}

inline std::string FileBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

inline ::testing::AssertionResult IsOk(const absl::Status& status) {
  return status.ok() ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << status;
}
#define EXPECT_OK(expr) EXPECT_TRUE(::swiftlet::storage_testing::IsOk(expr))
#define ASSERT_OK(expr) ASSERT_TRUE(::swiftlet::storage_testing::IsOk(expr))

// EXPECT_THAT(status, Fails(absl::StatusCode::kDataLoss, "part of the message"));
MATCHER_P2(Fails, code, part,
           absl::StrCat("fails with code ", static_cast<int>(code), " and \"", part, "\"")) {
  *result_listener << arg;
  return arg.code() == code && std::string(arg.message()).find(part) != std::string::npos;
}

}  // namespace swiftlet::storage_testing

#endif  // SWIFTLET_TESTS_UNIT_STORAGE_STORAGE_TEST_UTIL_H_

#include "engine/snapshot/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/testing/temp_dir.h"

namespace swiftlet {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::TempDir;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Manifest Example() {
  Manifest m;
  m.version = 7;
  m.created_ms = 1'700'000'000'000;
  m.trained_through_ms = 1'600'000'000'000;
  m.model_kind = "attention";
  m.dim = 50;
  m.row_stride = 64;
  m.row_type = RowType::kBf16;
  m.num_items = 9066;
  m.num_users = 671;
  m.num_categories = 20;
  m.embedding_space = "als-7";
  m.max_events = 33;
  m.event_types = {{6, "rating", 1.1f}, {7, "dislike", -3.0f}};
  m.event_classes = {{6, -kInfinity, -1.0f}, {7, -kInfinity, -1.0f}, {6, 3.3f, 1.0f}};
  m.training_fingerprint = "abc";
  m.num_training_events = 100'004;
  m.training_parameters = {{"factors", "50"}, {"note", "\xC3\xA9 \"x\""}};
  m.index = {.kind = kBoundIndexKind,
             .num_clusters = 95,
             .sample_queries = 32,
             .sample_recall = 1,
             .sample_rows_scanned = 0.25,
             .sample_bytes_read = 0.125,
             .dot = {.box_scale = 0.75, .code_scale = 0.5, .recall = 0.996, .rows_scanned = 0.0625},
             .cosine = {.box_scale = 0.875, .code_scale = 0.25, .recall = 0.998, .rows_scanned = 0.5}};
  m.rating = {.event_type = 6, .dim = 15, .mean = 3.53125f, .min = 0.5f, .max = 5};
  m.neighbours = {.kind = "user-knn", .scale = 0.75f, .users = {{.nearest = 80, .shrinkage = 12.5f}}};
  m.metrics = {{"hr@10", 0.1}, {"ndcg@10", 0.12}};
  m.files = {{kModelFile, {123, std::string(32, 'a')}}, {kUserVectorsFile, {5, std::string(32, '0')}}};
  return m;
}

TEST(ManifestTest, ReadsBackWhatItFormats) {
  const Manifest m = Example();
  const auto read = ParseManifest(FormatManifest(m));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->version, 7);
  EXPECT_EQ(read->created_ms, m.created_ms);
  EXPECT_EQ(read->trained_through_ms, m.trained_through_ms);
  EXPECT_EQ(read->model_kind, "attention");
  EXPECT_EQ(read->dim, 50u);
  EXPECT_EQ(read->row_stride, 64u);
  EXPECT_EQ(read->row_type, RowType::kBf16);
  EXPECT_EQ(read->num_items, 9066u);
  EXPECT_EQ(read->num_users, 671u);
  EXPECT_EQ(read->num_categories, 20u);
  EXPECT_EQ(read->embedding_space, "als-7");
  EXPECT_EQ(read->max_events, 33u);
  EXPECT_EQ(read->event_types, m.event_types);
  EXPECT_EQ(read->event_classes, m.event_classes);
  EXPECT_EQ(read->training_fingerprint, "abc");
  EXPECT_EQ(read->num_training_events, 100'004u);
  EXPECT_EQ(read->training_parameters, m.training_parameters);
  EXPECT_EQ(read->metrics, m.metrics);
  EXPECT_EQ(read->index, m.index);
  EXPECT_EQ(read->rating, m.rating);
  EXPECT_EQ(read->files.at(kModelFile).bytes, 123u);
  EXPECT_EQ(read->files.at(kUserVectorsFile).xxh3_128, std::string(32, '0'));
  EXPECT_EQ(FormatManifest(*read), FormatManifest(m));
}

TEST(ManifestTest, IgnoresUnknownFieldsAndMissingMetrics) {
  json j = json::parse(FormatManifest(Example()));
  j.erase("checksum");
  j["later"] = {{"x", 1}};
  j["training"]["later"] = 1;
  j["training"]["parameters"]["epochs"] = 3;
  j.erase("metrics");
  j.erase("index");
  j.erase("rating");
  j["neighbours"].erase("users");
  const auto read = ParseManifest(j.dump());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->metrics.empty());
  EXPECT_FALSE(read->index.has_value());
  EXPECT_FALSE(read->rating.has_value());
  EXPECT_FALSE(read->neighbours->users.has_value());
  EXPECT_EQ(read->training_parameters.at("epochs"), "3");
}

// A changed digit that makes another valid value is noticed; the order of fields and white space do not
// count.
TEST(ManifestTest, TheChecksumIsThatOfTheOtherFields) {
  const json good = json::parse(FormatManifest(Example()));
  ASSERT_TRUE(good.contains("checksum"));
  EXPECT_TRUE(ParseManifest(good.dump(7)).ok());
  for (const char* field : {"version", "created_ms", "max_events"}) {
    json j = good;
    j[field] = j[field].get<int64_t>() + 1;
    const auto read = ParseManifest(j.dump());
    EXPECT_TRUE(absl::IsDataLoss(read.status())) << field;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr("checksum: expected "));
  }
  json j = good;
  j["max_events"] = 51;
  j.erase("checksum");  // made by hand
  EXPECT_EQ(ParseManifest(j.dump())->max_events, 51u);
  j["checksum"] = 7;
  EXPECT_THAT(std::string(ParseManifest(j.dump()).status().message()), HasSubstr("found 7"));
}

// Every required field, taken away and given another type, is refused by its name.
TEST(ManifestTest, EveryFieldIsRequiredAndTyped) {
  json good = json::parse(FormatManifest(Example()));
  good.erase("checksum");
  const auto refused = [](const json& j, const std::string& field) {
    const auto read = ParseManifest(j.dump());
    EXPECT_TRUE(absl::IsDataLoss(read.status())) << field;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(field));
  };
  const auto mutate = [&](const json::json_pointer& at, const std::string& field) {
    json j = good;
    j[at.parent_pointer()].erase(at.back());
    refused(j, field);
    for (const json& wrong :
         {json(nullptr), json(true), json(-1.5), json(json::object({{"x", 1}})), json::array({nullptr})}) {
      if (wrong.type() == good[at].type() || (wrong.is_null() && field.ends_with("min_value"))) continue;
      if (wrong.is_number() && (field.ends_with("weight") || field.ends_with("min_value"))) continue;
      j = good;
      j[at] = wrong;
      refused(j, field);
    }
  };
  int num_fields = 0;
  for (const auto& [name, value] : good.items()) {
    const auto optional = {"metrics", "index", "rating", "neighbours", "row_type"};
    if (std::find(optional.begin(), optional.end(), name) != optional.end()) continue;
    mutate(json::json_pointer("/" + name), name);
    ++num_fields;
  }
  EXPECT_EQ(num_fields, 16);
  for (const std::string name : {"fingerprint", "num_events", "parameters"}) {
    mutate(json::json_pointer("/training/" + name), "training." + name);
  }
  for (const std::string name : {"event_type", "dim"}) {
    mutate(json::json_pointer("/rating/" + name), "rating." + name);
  }
  for (const std::string name : {"kind", "scale", "users/nearest", "users/shrinkage"}) {
    mutate(json::json_pointer("/neighbours/" + name),
           "neighbours." + (name.starts_with("users/") ? "users." + name.substr(6) : name));
  }
  for (const std::string name : {"id", "name", "weight"}) {
    mutate(json::json_pointer("/event_types/1/" + name), "event_types[1]." + name);
  }
  for (const std::string name : {"type", "min_value", "sign"}) {
    mutate(json::json_pointer("/event_classes/2/" + name), "event_classes[2]." + name);
  }
  for (const std::string name : {"bytes", "xxh3_128"}) {
    mutate(json::json_pointer("/files/model.safetensors/" + name), "files.model.safetensors." + name);
  }
}

struct Change {
  const char* pointer;
  const char* value;
  const char* reason;
};

TEST(ManifestTest, RefusesValuesOutOfRangeByName) {
  const Change changes[] = {
      {"/format_version", "2", "format_version: expected 1, found 2"},
      {"/version", "0", "version: expected an integer in [1"},
      {"/version", "-3", "found -3"},
      {"/version", "1.0", "version"},
      {"/version", "18446744073709551615", "version"},
      {"/created_ms", "-1", "created_ms"},
      {"/trained_through_ms", "-1", "trained_through_ms"},
      {"/model_kind", "\"\"", "model_kind"},
      {"/dim", "0", "dim"},
      {"/dim", "4097", "dim: expected an integer in [1, 4096], found 4097"},
      {"/row_stride", "50", "row_stride: expected 64 for dim 50, found 50"},
      {"/row_stride", "80", "row_stride"},
      {"/row_type", "\"bfloat16\"", "row_type: expected \"float32\" or \"bf16\", found \"bfloat16\""},
      {"/row_type", "16", "row_type"},
      {"/row_type", "null", "row_type"},
      {"/num_items", "0", "num_items"},
      {"/num_items", "2147483649", "num_items"},
      {"/num_users", "-1", "num_users"},
      {"/num_users", "0", "num_users"},
      {"/num_categories", "-1", "num_categories"},
      {"/num_categories", "4294967296", "num_categories"},
      {"/embedding_space", "\"\"", "embedding_space"},
      {"/rating", "7", "rating: expected an object"},
      {"/rating/event_type", "9", "rating.event_type: expected an id of event_types, found 9"},
      {"/rating/dim", "256", "rating.dim: expected an integer in [0, 255], found 256"},
      {"/rating/min", "5", "rating.max: expected a number above 5, the minimum, found 5"},
      {"/rating/max", "1e39", "rating.max: expected a number in the range of float"},
      {"/rating/mean", "5.5", "rating.mean: expected a number in [0.5, 5], found 5.5"},
      {"/neighbours", "7", "neighbours: expected an object"},
      {"/neighbours/scale", "1e39", "neighbours.scale: expected a number in the range of float"},
      {"/neighbours/users", "[]", "neighbours.users: expected an object"},
      {"/neighbours/users/nearest", "0", "neighbours.users.nearest: expected an integer in [1, 1000000]"},
      {"/neighbours/users/nearest", "1000001", "neighbours.users.nearest"},
      {"/neighbours/users/shrinkage", "-0.5",
       "neighbours.users.shrinkage: expected a number of at least 0, found -0.5"},
      {"/neighbours/users/shrinkage", "null", "neighbours.users.shrinkage: expected a number in the range"},
      {"/neighbours/users/shrinkage", "1e39", "neighbours.users.shrinkage"},
      {"/max_events", "0", "max_events"},
      {"/max_events", "10001", "max_events"},
      {"/event_types", "[]", "event_types"},
      {"/event_types/0/id", "0", "event_types[0].id"},
      {"/event_types/0/id", "256", "event_types[0].id"},
      {"/event_types/0/id", "7", "event_types"},
      {"/event_types/0/name", "\"Rating\"", "event_types"},
      {"/event_types/0/weight", "0", "event_types"},
      {"/event_types/0/weight", "1e39", "event_types[0].weight"},
      {"/event_classes", "[]", "event_classes"},
      {"/event_classes/0/type", "8", "event_classes[0].type"},
      {"/event_classes/0/min_value", "0", "event_classes[0].min_value"},
      {"/event_classes/2/min_value", "null", "event_classes[2].min_value"},
      {"/event_classes/2/min_value", "1e39", "event_classes[2].min_value"},
      {"/event_classes/0/sign", "0", "event_classes[0].sign"},
      {"/training/num_events", "-1", "training.num_events"},
      {"/metrics", "{\"x\": null}", "metrics.x"},
      {"/metrics", "[]", "metrics"},
      {"/index", "[]", "index"},
      {"/index", "{}", "index.kind"},
      {"/index/num_clusters", "0", "index.num_clusters"},
      {"/index/num_clusters", "1e3", "index.num_clusters"},
      {"/index/sample_queries", "-1", "index.sample_queries"},
      {"/index/sample_recall", "null", "index.sample_recall"},
      {"/index/dot/box_scale", "0", "index.dot.box_scale: expected a number in [0.01, 1]"},
      {"/index/dot/code_scale", "1.01", "index.dot.code_scale"},
      {"/index/cosine/code_scale", "null", "index.cosine.code_scale"},
      {"/index/cosine/recall", "-0.5", "index.cosine.recall"},
      {"/index/dot/rows_scanned", "-1", "index.dot.rows_scanned"},
      {"/files", "{}", "files"},
      {"/files/model.safetensors/bytes", "-1", "files.model.safetensors.bytes"},
      {"/files/model.safetensors/xxh3_128", "\"\"", "files.model.safetensors.xxh3_128"},
      {"/files/model.safetensors/xxh3_128", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"", "lower-case hex"},
      {"/files/..~1..~1etc~1passwd", "{\"bytes\": 1, \"xxh3_128\": \"00000000000000000000000000000000\"}",
       "files.../../etc/passwd"},
  };
  const json good = json::parse(FormatManifest(Example()));
  for (const Change& c : changes) {
    json j = good;
    j[json::json_pointer(c.pointer)] = json::parse(c.value);
    const auto read = ParseManifest(j.dump());
    EXPECT_TRUE(absl::IsDataLoss(read.status())) << c.pointer << " = " << c.value;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(c.reason)) << c.pointer << " = " << c.value;
  }
}

TEST(ManifestTest, RefusesWhatIsNoJson) {
  const std::string good = FormatManifest(Example());
  for (size_t size = 0; size + 2 < good.size(); size += 7) {
    EXPECT_TRUE(absl::IsDataLoss(ParseManifest(good.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest("[]").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest(std::string(1'000'000, '[')).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest(good + "x").status()));
  const auto twice = ParseManifest("{\"format_version\": 1, " + good.substr(1));
  EXPECT_THAT(std::string(twice.status().message()), HasSubstr("\"format_version\" occurs twice"));
}

// Whatever is in the file, what is said about it is one short line.
TEST(ManifestTest, MessagesAreShortAndOnOneLine) {
  const json good = [] {
    json j = json::parse(FormatManifest(Example()));
    j.erase("checksum");
    return j;
  }();
  const std::string blanks = std::string(5000, '\t') + "\n\r ", control(5000, '\x7F'), lines(5000, '\n');
  std::vector<std::string> texts = {
      "{" + blanks + "x",
      "{\"a\":" + blanks + "}",
      "[" + control,
      "\"" + control,
      "\"" + std::string(5000, '\x80') + "\"",
      "1e" + std::string(5000, '9'),
      "{\"" + control + "\": 1, \"" + control + "\": 2}",
  };
  const auto with = [&](const std::function<void(json&)>& change) {
    json j = good;
    change(j);
    texts.push_back(j.dump());
  };
  const json file = {{"bytes", 1}, {"xxh3_128", std::string(32, 'a')}};
  with([&](json& j) { j["files"][control] = file; });
  with([&](json& j) { j["files"][lines] = file; });
  with([&](json& j) { j["files"][lines] = 7; });
  with([&](json& j) { j["files"][kModelFile]["xxh3_128"] = control; });
  with([&](json& j) { j["metrics"][control] = "none"; });
  with([&](json& j) { j["metrics"][lines] = lines; });
  with([&](json& j) { j["row_type"] = control; });
  with([&](json& j) { j["model_kind"] = control; });
  with([&](json& j) { j["dim"] = lines; });
  with([&](json& j) { j["event_types"][0]["name"] = control; });
  with([&](json& j) { j["checksum"] = lines; });
  for (const std::string& text : texts) {
    const absl::Status status = ParseManifest(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << text;
    const std::string message(status.message());
    EXPECT_LT(message.size(), 1000u) << message;
    EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= ' ' && c <= '~'; }))
        << message;
  }
}

TEST(ManifestTest, FieldsWithOddNamesAreQuoted) {
  json j = json::parse(FormatManifest(Example()));
  j.erase("checksum");
  j["metrics"]["a\nb"] = "x";
  EXPECT_EQ(ParseManifest(j.dump()).status().message(),
            "metrics[\"a\\nb\"]: expected a finite number, found \"x\"");
  j["metrics"] = {{"hr@10", "x"}};
  EXPECT_EQ(ParseManifest(j.dump()).status().message(),
            "metrics.hr@10: expected a finite number, found \"x\"");
}

TEST(ChecksumFileTest, IsXxh3Of128BitsInCanonicalOrder) {
  TempDir dir;
  std::ofstream(dir.File("empty")).flush();
  // XXH3_128bits of nothing, as `xxhsum -H2` prints it.
  const auto empty = ChecksumFile(dir.File("empty"));
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(*empty, "99aa06d3014798d86001c324468d497f");
  // More than one buffer: streamed and whole must agree.
  std::string big(3'000'001, '\0');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 131 >> 3);
  std::ofstream(dir.File("big"), std::ios::binary) << big;
  const std::string before = *ChecksumFile(dir.File("big"));
  big[2'999'999] ^= 1;
  std::ofstream(dir.File("big"), std::ios::binary) << big;
  EXPECT_NE(*ChecksumFile(dir.File("big")), before);
  EXPECT_TRUE(absl::IsNotFound(ChecksumFile(dir.File("none")).status()));
}

TEST(FileChecksumTest, KeepsWhatItReadsAndNoMoreThanFits) {
  TempDir dir;
  std::string text(300'001, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 131 >> 3);
  std::ofstream(dir.File("whole"), std::ios::binary) << text;
  std::ofstream(dir.File("longer"), std::ios::binary) << text << "more";
  std::ofstream(dir.File("shorter"), std::ios::binary) << text.substr(1);
  const std::string expected = *ChecksumFile(dir.File("whole"));
  for (const char* name : {"whole", "longer", "shorter"}) {
    std::vector<std::byte> copy(text.size(), std::byte{7});
    FileChecksum checksum(dir.File(name), copy);
    absl::StatusOr<bool> more = true;
    while (more.ok() && *more) more = checksum.Step();
    ASSERT_TRUE(more.ok()) << more.status();
    const std::string_view kept(reinterpret_cast<const char*>(copy.data()), copy.size());
    EXPECT_EQ(checksum.Hex() == expected, name != std::string_view("shorter")) << name;
    EXPECT_EQ(kept, name == std::string_view("shorter") ? text.substr(1) + '\7' : text) << name;
  }
}

}  // namespace
}  // namespace swiftlet

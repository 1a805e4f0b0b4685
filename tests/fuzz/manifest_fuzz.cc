// manifest.json. Input: the file.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/item_key.h"
#include "engine/snapshot/manifest.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/random_snapshot.h"

namespace swiftlet::fuzz {

std::vector<std::string> Seeds() {
  Manifest manifest = testing::RandomSnapshot({.num_items = 7, .dim = 5}).manifest;
  manifest.dim = 5;
  manifest.row_stride = 16;
  manifest.num_items = 7;
  manifest.num_categories = 2;
  manifest.files[kModelFile] = {1234, std::string(32, '0')};
  std::vector<std::string> seeds = {FormatManifest(manifest)};
  manifest.event_types = {{1, "view", 1.0f}, {6, "rating", -0.5f}};
  manifest.event_classes = {{1, -INFINITY, 1.0f}, {6, -INFINITY, -1.0f}, {6, 2.5f, 1.0f}, {6, 3e38f, 1.0f}};
  manifest.metrics = {{"ndcg@10", 0.1}, {"hr@10", 1e-300}};
  manifest.training_parameters = {{"seed", "1"}, {"\xC3\xA4\n", "\"[1, 2]\""}};
  manifest.num_users = 3;
  manifest.files[kUserVectorsFile] = {0, std::string(32, 'f')};
  seeds.push_back(FormatManifest(manifest));
  // Without the optional checksum of the manifest itself, changes get further.
  for (size_t i = 0, n = seeds.size(); i < n; ++i) {
    nlohmann::ordered_json fields = nlohmann::ordered_json::parse(seeds[i]);
    fields.erase("checksum");
    seeds.push_back(fields.dump(1));
  }
  return seeds;
}

namespace {

// What a loader relies on.
void CheckAccepted(const Manifest& m) {
  FUZZ_CHECK(m.format_version == kSnapshotFormatVersion, "format_version");
  FUZZ_CHECK(m.version >= 1, "version");
  FUZZ_CHECK(m.dim >= 1 && m.dim <= 4096 && m.row_stride >= m.dim && m.row_stride % 16 == 0, "dim");
  FUZZ_CHECK(m.num_items >= 1 && m.num_items <= uint64_t{1} << 31, "num_items");
  FUZZ_CHECK(m.max_events >= 1, "max_events");
  FUZZ_CHECK(m.created_ms >= 0 && m.trained_through_ms >= 0, "times");
  FUZZ_CHECK(EventTypeTable::Create(m.event_types).ok(), "event_types");
  FUZZ_CHECK(!m.event_classes.empty(), "event_classes");
  for (const EventClass& c : m.event_classes) {
    FUZZ_CHECK(std::fabs(c.sign) == 1.0f && !std::isnan(c.min_value), "event_classes");
    FUZZ_CHECK(std::any_of(m.event_types.begin(), m.event_types.end(),
                           [&](const auto& t) { return t.id == c.type; }),
               "event_classes");
  }
  FUZZ_CHECK(m.files.contains(kModelFile), "files");
  FUZZ_CHECK(m.files.contains(kUserVectorsFile) == (m.num_users > 0), "files");
  for (const auto& [name, file] : m.files) {
    FUZZ_CHECK(name.find('/') == std::string::npos && name != ".." && !name.empty(), name);
    FUZZ_CHECK(file.xxh3_128.size() == 32, name);
  }
}

}  // namespace
}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;  // NOLINT(google-build-using-namespace): an extern "C" function
  const absl::StatusOr<Manifest> manifest = ParseManifest({reinterpret_cast<const char*>(data), size});
  if (!manifest.ok()) {
    FUZZ_CHECK(absl::IsDataLoss(manifest.status()), manifest.status().ToString());
    const std::string message(manifest.status().message());
    FUZZ_CHECK(fuzz::IsShortLine(message), message);
    FUZZ_CHECK(IsValidUtf8(message), message);
    return 0;
  }
  fuzz::CheckAccepted(*manifest);
  const std::string text = FormatManifest(*manifest);
  const absl::StatusOr<Manifest> again = ParseManifest(text);
  FUZZ_CHECK(again.ok(), again.status().ToString());
  FUZZ_CHECK(FormatManifest(*again) == text, text);
  FUZZ_CHECK(again->event_types == manifest->event_types && again->event_classes == manifest->event_classes,
             text);
  FUZZ_CHECK(
      again->training_parameters == manifest->training_parameters && again->metrics == manifest->metrics,
      text);
  FUZZ_CHECK(again->num_items == manifest->num_items && again->version == manifest->version, text);
  return 0;
}

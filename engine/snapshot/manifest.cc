#include "engine/snapshot/manifest.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/aligned_vector.h"
#include "engine/base/item_key.h"
#include "engine/base/quoted.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/rating_model.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/json_check.h"

namespace swiftlet {
namespace {

using nlohmann::json;

constexpr char kChecksum[] = "checksum";
constexpr size_t kMaxDepth = 32;
constexpr int64_t kMaxInt = std::numeric_limits<int64_t>::max();

// A value for a message: short, printable.
std::string Shown(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return absl::StrCat("an array of ", value.size());
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 80) text = absl::StrCat(text.substr(0, 80), "...");
  return text;
}

absl::Status Mismatch(std::string_view field, std::string_view expected, std::string_view found) {
  return absl::DataLossError(
      absl::StrCat(std::string(field), ": expected ", std::string(expected), ", found ", std::string(found)));
}

// path.name, or path["name"] for names that would not be read as one.
std::string PathOf(const std::string& path, std::string_view name) {
  std::string quoted = Quoted(name);
  if (quoted.size() != name.size() + 2 || name.empty()) return absl::StrCat(path, "[", quoted, "]");
  return path.empty() ? std::string(name) : absl::StrCat(path, ".", std::string(name));
}

// Reads fields of one object, naming each by its path from the root.
class ObjectReader {
 public:
  static absl::StatusOr<ObjectReader> Create(const json& value, std::string path) {
    if (!value.is_object()) return Mismatch(path.empty() ? "manifest" : path, "an object", Shown(value));
    return ObjectReader(value, std::move(path));
  }

  std::string PathOf(std::string_view name) const { return swiftlet::PathOf(path_, name); }
  // Null when absent.
  const json* FindOptional(std::string_view name) const {
    const auto it = object_.find(std::string(name));
    return it == object_.end() ? nullptr : &*it;
  }
  absl::StatusOr<const json*> Find(std::string_view name) const {
    const json* value = FindOptional(name);
    if (value == nullptr) return absl::DataLossError(absl::StrCat(PathOf(name), ": missing"));
    return value;
  }
  absl::StatusOr<int64_t> Integer(std::string_view name, int64_t min, int64_t max) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    const bool in_range =
        value->is_number_unsigned()
            ? value->get<uint64_t>() <= static_cast<uint64_t>(max) &&
                  static_cast<int64_t>(value->get<uint64_t>()) >= min
            : value->is_number_integer() && value->get<int64_t>() >= min && value->get<int64_t>() <= max;
    if (!in_range) {
      return Mismatch(PathOf(name), absl::StrCat("an integer in [", min, ", ", max, "]"), Shown(*value));
    }
    return value->get<int64_t>();
  }
  // A finite number that a float holds.
  absl::StatusOr<float> Float(std::string_view name) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    if (!value->is_number() || !std::isfinite(value->get<float>())) {
      return Mismatch(PathOf(name), "a number in the range of float", Shown(*value));
    }
    return value->get<float>();
  }
  absl::StatusOr<double> Double(std::string_view name) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      return Mismatch(PathOf(name), "a finite number", Shown(*value));
    }
    return value->get<double>();
  }
  absl::StatusOr<std::string> String(std::string_view name) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    if (!value->is_string()) return Mismatch(PathOf(name), "a string", Shown(*value));
    return value->get<std::string>();
  }
  absl::StatusOr<ObjectReader> Object(std::string_view name) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    return Create(*value, PathOf(name));
  }
  absl::StatusOr<const json*> Array(std::string_view name) const {
    SWIFTLET_ASSIGN_OR_RETURN(const json* value, Find(name));
    if (!value->is_array()) return Mismatch(PathOf(name), "an array", Shown(*value));
    return value;
  }
  const json& object() const { return object_; }

 private:
  ObjectReader(const json& object, std::string path) : object_(object), path_(std::move(path)) {}
  const json& object_;
  std::string path_;
};

absl::Status ReadEventTypes(const ObjectReader& root, Manifest& m) {
  SWIFTLET_ASSIGN_OR_RETURN(const json* list, root.Array("event_types"));
  for (size_t i = 0; i < list->size(); ++i) {
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry,
                              ObjectReader::Create((*list)[i], absl::StrCat("event_types[", i, "]")));
    EventType type;
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t id, entry.Integer("id", 1, 255));
    type.id = static_cast<EventTypeId>(id);
    SWIFTLET_ASSIGN_OR_RETURN(type.name, entry.String("name"));
    SWIFTLET_ASSIGN_OR_RETURN(type.weight, entry.Float("weight"));
    m.event_types.push_back(std::move(type));
  }
  return absl::OkStatus();
}

absl::Status ReadEventClasses(const ObjectReader& root, Manifest& m) {
  SWIFTLET_ASSIGN_OR_RETURN(const json* list, root.Array("event_classes"));
  for (size_t i = 0; i < list->size(); ++i) {
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry,
                              ObjectReader::Create((*list)[i], absl::StrCat("event_classes[", i, "]")));
    EventClass event_class;
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t type, entry.Integer("type", 1, 255));
    event_class.type = static_cast<EventTypeId>(type);
    SWIFTLET_ASSIGN_OR_RETURN(const json* min_value, entry.Find("min_value"));
    if (min_value->is_null()) {
      event_class.min_value = -std::numeric_limits<float>::infinity();
    } else {
      SWIFTLET_ASSIGN_OR_RETURN(event_class.min_value, entry.Float("min_value"));
    }
    SWIFTLET_ASSIGN_OR_RETURN(event_class.sign, entry.Float("sign"));
    m.event_classes.push_back(event_class);
  }
  return absl::OkStatus();
}

absl::Status ReadEncoders(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("encoders") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const json* list, root.Array("encoders"));
  if (list->empty() || list->size() > kMaxEncoders) {
    return Mismatch("encoders", absl::StrCat("1 to ", kMaxEncoders, " encoders"), absl::StrCat(list->size()));
  }
  uint64_t dims = 0;
  for (size_t k = 0; k < list->size(); ++k) {
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry,
                              ObjectReader::Create((*list)[k], absl::StrCat("encoders[", k, "]")));
    ManifestEncoder encoder;
    SWIFTLET_ASSIGN_OR_RETURN(encoder.kind, entry.String("kind"));
    // A "+" joins kinds in model_kind.
    if (!IsValidId(encoder.kind) || encoder.kind.find('+') != std::string::npos) {
      return Mismatch(entry.PathOf("kind"), "the name of a kind of encoder", Shown(encoder.kind));
    }
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t dim, entry.Integer("dim", 1, 4096));
    encoder.dim = static_cast<uint32_t>(dim);
    dims += encoder.dim;
    SWIFTLET_ASSIGN_OR_RETURN(encoder.weight, entry.Float("weight"));
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader parameters, entry.Object("parameters"));
    for (const auto& [name, value] : parameters.object().items()) {
      SWIFTLET_ASSIGN_OR_RETURN(encoder.parameters[name], parameters.Double(name));
    }
    m.encoders.push_back(std::move(encoder));
  }
  if (dims != m.dim) {
    return Mismatch("encoders", absl::StrCat("dims that add up to ", m.dim, ", the manifest's dim"),
                    absl::StrCat(dims));
  }
  const std::string kind = ModelKindOf(m.encoders);
  if (m.model_kind != kind) {
    return Mismatch("model_kind", absl::StrCat(Shown(kind), ", the kinds of encoders"), Shown(m.model_kind));
  }
  return absl::OkStatus();
}

absl::Status ReadTraining(const ObjectReader& root, Manifest& m) {
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader training, root.Object("training"));
  SWIFTLET_ASSIGN_OR_RETURN(m.training_fingerprint, training.String("fingerprint"));
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t num_events, training.Integer("num_events", 0, kMaxInt));
  m.num_training_events = static_cast<uint64_t>(num_events);
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader parameters, training.Object("parameters"));
  for (const auto& [name, value] : parameters.object().items()) {
    m.training_parameters[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return absl::OkStatus();
}

absl::Status ReadCalibration(const ObjectReader& index, std::string_view name,
                             ManifestCalibration* calibration) {
  if (index.FindOptional(name) == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry, index.Object(name));
  const auto read = [&](std::string_view field, double lowest, double highest,
                        double* value) -> absl::Status {
    SWIFTLET_ASSIGN_OR_RETURN(*value, entry.Double(field));
    if (*value >= lowest && *value <= highest) return absl::OkStatus();
    return Mismatch(absl::StrCat("index.", std::string(name), ".", std::string(field)),
                    absl::StrCat("a number in [", lowest, ", ", highest, "]"), absl::StrCat(*value));
  };
  SWIFTLET_RETURN_IF_ERROR(read("box_scale", 0.01, 1, &calibration->box_scale));
  SWIFTLET_RETURN_IF_ERROR(read("code_scale", 0.01, 1, &calibration->code_scale));
  SWIFTLET_RETURN_IF_ERROR(read("recall", 0, 1, &calibration->recall));
  // Groups are padded: it may be a little more than all rows.
  return read("rows_scanned", 0, 1000, &calibration->rows_scanned);
}

absl::Status ReadIndex(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("index") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry, root.Object("index"));
  ManifestIndex index;
  SWIFTLET_ASSIGN_OR_RETURN(index.kind, entry.String("kind"));
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t num_clusters, entry.Integer("num_clusters", 1, int64_t{1} << 31));
  index.num_clusters = static_cast<uint32_t>(num_clusters);
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t queries, entry.Integer("sample_queries", 0, int64_t{1} << 31));
  index.sample_queries = static_cast<uint32_t>(queries);
  SWIFTLET_ASSIGN_OR_RETURN(index.sample_recall, entry.Double("sample_recall"));
  SWIFTLET_ASSIGN_OR_RETURN(index.sample_rows_scanned, entry.Double("sample_rows_scanned"));
  SWIFTLET_ASSIGN_OR_RETURN(index.sample_bytes_read, entry.Double("sample_bytes_read"));
  SWIFTLET_RETURN_IF_ERROR(ReadCalibration(entry, "dot", &index.dot));
  SWIFTLET_RETURN_IF_ERROR(ReadCalibration(entry, "cosine", &index.cosine));
  m.index = std::move(index);
  return absl::OkStatus();
}

absl::Status ReadRating(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("rating") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry, root.Object("rating"));
  ManifestRating rating;
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t type, entry.Integer("event_type", 1, 255));
  rating.event_type = static_cast<EventTypeId>(type);
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t dim, entry.Integer("dim", 0, kMaxRatingDim));
  rating.dim = static_cast<uint32_t>(dim);
  SWIFTLET_ASSIGN_OR_RETURN(rating.mean, entry.Float("mean"));
  SWIFTLET_ASSIGN_OR_RETURN(rating.min, entry.Float("min"));
  SWIFTLET_ASSIGN_OR_RETURN(rating.max, entry.Float("max"));
  m.rating = rating;
  return absl::OkStatus();
}

absl::Status CheckRating(const Manifest& m) {
  if (!m.rating.has_value()) return absl::OkStatus();
  const ManifestRating& r = *m.rating;
  const bool known = std::any_of(m.event_types.begin(), m.event_types.end(),
                                 [&](const EventType& t) { return t.id == r.event_type; });
  if (!known) return Mismatch("rating.event_type", "an id of event_types", absl::StrCat(int{r.event_type}));
  if (!(r.min < r.max)) {
    return Mismatch("rating.max", absl::StrCat("a number above ", r.min, ", the minimum"),
                    absl::StrCat(r.max));
  }
  if (!(r.mean >= r.min && r.mean <= r.max)) {
    return Mismatch("rating.mean", absl::StrCat("a number in [", r.min, ", ", r.max, "]"),
                    absl::StrCat(r.mean));
  }
  return absl::OkStatus();
}

absl::Status ReadNeighbours(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("neighbours") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry, root.Object("neighbours"));
  ManifestNeighbours neighbours;
  SWIFTLET_ASSIGN_OR_RETURN(neighbours.kind, entry.String("kind"));
  if (!IsValidId(neighbours.kind)) {
    return Mismatch(entry.PathOf("kind"), "the name of a kind of model", Shown(neighbours.kind));
  }
  SWIFTLET_ASSIGN_OR_RETURN(neighbours.scale, entry.Float("scale"));
  if (entry.FindOptional("users") != nullptr) {
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader users, entry.Object("users"));
    ManifestNeighbourUsers& read = neighbours.users.emplace();
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t nearest, users.Integer("nearest", 1, kMaxNearestUsers));
    read.nearest = static_cast<uint32_t>(nearest);
    SWIFTLET_ASSIGN_OR_RETURN(read.shrinkage, users.Float("shrinkage"));
    if (read.shrinkage < 0) {
      return Mismatch(users.PathOf("shrinkage"), "a number of at least 0", absl::StrCat(read.shrinkage));
    }
  }
  m.neighbours = std::move(neighbours);
  return absl::OkStatus();
}

absl::Status ReadRowType(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("row_type") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const std::string name, root.String("row_type"));
  const std::optional<RowType> type = ParseRowType(name);
  if (!type.has_value()) {
    return Mismatch("row_type", "\"float32\" or \"bf16\"", Quoted(name));
  }
  m.row_type = *type;
  return absl::OkStatus();
}

absl::Status ReadMetrics(const ObjectReader& root, Manifest& m) {
  if (root.FindOptional("metrics") == nullptr) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader metrics, root.Object("metrics"));
  for (const auto& [name, value] : metrics.object().items()) {
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      return Mismatch(metrics.PathOf(name), "a finite number", Shown(value));
    }
    m.metrics[name] = value.get<double>();
  }
  return absl::OkStatus();
}

absl::Status ReadFiles(const ObjectReader& root, Manifest& m) {
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader files, root.Object("files"));
  for (const auto& [name, value] : files.object().items()) {
    SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader entry, ObjectReader::Create(value, files.PathOf(name)));
    ManifestFile file;
    SWIFTLET_ASSIGN_OR_RETURN(const int64_t bytes, entry.Integer("bytes", 0, kMaxInt));
    file.bytes = static_cast<uint64_t>(bytes);
    SWIFTLET_ASSIGN_OR_RETURN(file.xxh3_128, entry.String("xxh3_128"));
    m.files[name] = std::move(file);
  }
  return absl::OkStatus();
}

absl::Status CheckEventClasses(const Manifest& m) {
  if (m.event_classes.empty()) return Mismatch("event_classes", "at least one class", "none");
  for (size_t i = 0; i < m.event_classes.size(); ++i) {
    const EventClass& c = m.event_classes[i];
    const std::string field = absl::StrCat("event_classes[", i, "]");
    const bool known = std::any_of(m.event_types.begin(), m.event_types.end(),
                                   [&](const EventType& t) { return t.id == c.type; });
    if (!known)
      return Mismatch(absl::StrCat(field, ".type"), "an id of event_types", absl::StrCat(int{c.type}));
    if (c.sign != 1.0f && c.sign != -1.0f) {
      return Mismatch(absl::StrCat(field, ".sign"), "1 or -1", absl::StrCat(c.sign));
    }
    std::optional<float> previous;
    for (size_t j = 0; j < i; ++j) {
      if (m.event_classes[j].type == c.type) previous = m.event_classes[j].min_value;
    }
    if (!previous.has_value()) {
      if (c.min_value != -std::numeric_limits<float>::infinity()) {
        return Mismatch(absl::StrCat(field, ".min_value"), "null for the first class of a type",
                        absl::StrCat(c.min_value));
      }
    } else if (!std::isfinite(c.min_value) || c.min_value <= *previous) {
      return Mismatch(absl::StrCat(field, ".min_value"),
                      absl::StrCat("a number above ", *previous, ", the type's class before it"),
                      absl::StrCat(c.min_value));
    }
  }
  return absl::OkStatus();
}

bool IsChecksum(std::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::Status CheckFiles(const Manifest& m) {
  for (const auto& [name, file] : m.files) {
    const std::string field = PathOf("files", name);
    if (name.empty() || name.size() > 255 || name[0] == '.' || name == kManifestFile ||
        name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
      return Mismatch(field, "the name of a file in the snapshot's directory", Quoted(name));
    }
    if (!IsChecksum(file.xxh3_128)) {
      return Mismatch(absl::StrCat(field, ".xxh3_128"), "32 lower-case hex digits", Quoted(file.xxh3_128));
    }
  }
  if (!m.files.contains(kModelFile))
    return absl::DataLossError(absl::StrCat("files.", kModelFile, ": missing"));
  const bool has_user_vectors = m.files.contains(kUserVectorsFile);
  if (has_user_vectors != (m.num_users > 0)) {
    return Mismatch("num_users",
                    has_user_vectors ? absl::StrCat("at least 1, as files has ", kUserVectorsFile)
                                     : absl::StrCat("0, as files has no ", kUserVectorsFile),
                    absl::StrCat(m.num_users));
  }
  return absl::OkStatus();
}

// What is left to check once every field has its type and range.
absl::Status CheckManifest(const Manifest& m) {
  if (!IsValidId(m.model_kind)) return Mismatch("model_kind", "1 to 256 bytes", "another length");
  if (!IsValidId(m.embedding_space)) return Mismatch("embedding_space", "1 to 256 bytes", "another length");
  if (m.row_stride != RowStride(m.dim)) {
    return Mismatch("row_stride", absl::StrCat(RowStride(m.dim), " for dim ", m.dim),
                    absl::StrCat(m.row_stride));
  }
  if (const auto table = EventTypeTable::Create(m.event_types); !table.ok()) {
    return absl::DataLossError(absl::StrCat("event_types: ", table.status().message()));
  }
  SWIFTLET_RETURN_IF_ERROR(CheckEventClasses(m));
  SWIFTLET_RETURN_IF_ERROR(CheckRating(m));
  return CheckFiles(m);
}

std::string ToHex(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest)));
}

// Of the values, whatever their order and the spaces between them.
std::string ChecksumOf(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return ToHex(XXH3_128bits(text.data(), text.size()));
}

absl::Status CheckChecksum(json& root) {
  const auto it = root.find(kChecksum);
  if (it == root.end()) return absl::OkStatus();
  const json expected = *it;
  root.erase(it);
  const std::string found = ChecksumOf(root);
  if (expected == found) return absl::OkStatus();
  return Mismatch(kChecksum, absl::StrCat(found, ", that of the other fields"), Shown(expected));
}

absl::StatusOr<Manifest> ManifestOf(const json& value) {
  SWIFTLET_ASSIGN_OR_RETURN(const ObjectReader root, ObjectReader::Create(value, ""));
  Manifest m;
  // First: another format may differ in anything else.
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t format_version, root.Integer("format_version", 0, kMaxInt));
  if (format_version != kSnapshotFormatVersion) {
    return Mismatch("format_version", absl::StrCat(kSnapshotFormatVersion), absl::StrCat(format_version));
  }
  SWIFTLET_ASSIGN_OR_RETURN(m.version, root.Integer("version", 1, kMaxInt - 1));
  SWIFTLET_ASSIGN_OR_RETURN(m.created_ms, root.Integer("created_ms", 0, kMaxInt));
  SWIFTLET_ASSIGN_OR_RETURN(m.trained_through_ms, root.Integer("trained_through_ms", 0, kMaxInt));
  SWIFTLET_ASSIGN_OR_RETURN(m.model_kind, root.String("model_kind"));
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t dim, root.Integer("dim", 1, 4096));
  m.dim = static_cast<uint32_t>(dim);
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t row_stride, root.Integer("row_stride", 1, 4096));
  m.row_stride = static_cast<uint32_t>(row_stride);
  SWIFTLET_RETURN_IF_ERROR(ReadRowType(root, m));
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t num_items, root.Integer("num_items", 1, int64_t{1} << 31));
  m.num_items = static_cast<uint64_t>(num_items);
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t num_users, root.Integer("num_users", 0, kMaxInt));
  m.num_users = static_cast<uint64_t>(num_users);
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t categories, root.Integer("num_categories", 0, int64_t{1} << 31));
  m.num_categories = static_cast<uint32_t>(categories);
  SWIFTLET_ASSIGN_OR_RETURN(m.embedding_space, root.String("embedding_space"));
  SWIFTLET_ASSIGN_OR_RETURN(const int64_t max_events, root.Integer("max_events", 1, 10'000));
  m.max_events = static_cast<uint32_t>(max_events);
  SWIFTLET_RETURN_IF_ERROR(ReadEncoders(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadEventTypes(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadEventClasses(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadTraining(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadNeighbours(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadIndex(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadRating(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadMetrics(root, m));
  SWIFTLET_RETURN_IF_ERROR(ReadFiles(root, m));
  SWIFTLET_RETURN_IF_ERROR(CheckManifest(m));
  return m;
}

nlohmann::ordered_json FormatCalibration(const ManifestCalibration& c) {
  return {{"box_scale", c.box_scale},
          {"code_scale", c.code_scale},
          {"recall", c.recall},
          {"rows_scanned", c.rows_scanned}};
}

}  // namespace

std::string_view RowTypeName(RowType type) { return type == RowType::kBf16 ? "bf16" : "float32"; }

std::optional<RowType> ParseRowType(std::string_view name) {
  for (const RowType type : {RowType::kFloat32, RowType::kBf16}) {
    if (name == RowTypeName(type)) return type;
  }
  return std::nullopt;
}

std::string ModelKindOf(std::span<const ManifestEncoder> encoders) {
  if (encoders.empty()) return kAttentionModelKind;
  return absl::StrJoin(encoders, "+",
                       [](std::string* out, const ManifestEncoder& e) { out->append(e.kind); });
}

absl::StatusOr<std::string> ReadManifestText(const std::string& directory) {
  constexpr uint64_t kMaxManifestBytes = uint64_t{16} << 20;
  return ReadSmallFile(absl::StrCat(directory, "/", kManifestFile), kMaxManifestBytes);
}

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::string text, ReadManifestText(directory));
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  if (manifest.ok()) return manifest;
  return absl::DataLossError(absl::StrCat(directory, "/", kManifestFile, ": ", manifest.status().message()));
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  SWIFTLET_ASSIGN_OR_RETURN(json value, ParseStrictJson(text, kMaxDepth));
  SWIFTLET_ASSIGN_OR_RETURN(Manifest manifest, ManifestOf(value));
  // Last: where a field is wrong by itself, its name says more.
  SWIFTLET_RETURN_IF_ERROR(CheckChecksum(value));
  return manifest;
}

std::string FormatManifest(const Manifest& m) {
  nlohmann::ordered_json types = nlohmann::ordered_json::array();
  for (const EventType& t : m.event_types) {
    types.push_back({{"id", t.id}, {"name", t.name}, {"weight", t.weight}});
  }
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const EventClass& c : m.event_classes) {
    nlohmann::ordered_json entry = {{"type", c.type}, {"min_value", nullptr}, {"sign", c.sign}};
    if (std::isfinite(c.min_value)) entry["min_value"] = c.min_value;
    classes.push_back(std::move(entry));
  }
  nlohmann::ordered_json files = nlohmann::ordered_json::object();
  for (const auto& [name, file] : m.files) {
    files[name] = {{"bytes", file.bytes}, {"xxh3_128", file.xxh3_128}};
  }
  nlohmann::ordered_json root = {
      {"format_version", m.format_version},
      {"version", m.version},
      {"created_ms", m.created_ms},
      {"trained_through_ms", m.trained_through_ms},
      {"model_kind", m.model_kind},
      {"dim", m.dim},
      {"row_stride", m.row_stride},
      {"row_type", std::string(RowTypeName(m.row_type))},
      {"num_items", m.num_items},
      {"num_users", m.num_users},
      {"num_categories", m.num_categories},
      {"embedding_space", m.embedding_space},
      {"max_events", m.max_events},
      {"event_types", std::move(types)},
      {"event_classes", std::move(classes)},
      {"training",
       {{"fingerprint", m.training_fingerprint},
        {"num_events", m.num_training_events},
        {"parameters", m.training_parameters}}},
  };
  if (!m.encoders.empty()) {
    nlohmann::ordered_json encoders = nlohmann::ordered_json::array();
    for (const ManifestEncoder& e : m.encoders) {
      encoders.push_back(
          {{"kind", e.kind}, {"dim", e.dim}, {"weight", e.weight}, {"parameters", e.parameters}});
    }
    root["encoders"] = std::move(encoders);
  }
  if (m.neighbours.has_value()) {
    root["neighbours"] = {{"kind", m.neighbours->kind}, {"scale", m.neighbours->scale}};
    if (const auto& users = m.neighbours->users; users.has_value()) {
      root["neighbours"]["users"] = {{"nearest", users->nearest}, {"shrinkage", users->shrinkage}};
    }
  }
  if (m.index.has_value()) {
    root["index"] = {{"kind", m.index->kind},
                     {"num_clusters", m.index->num_clusters},
                     {"sample_queries", m.index->sample_queries},
                     {"sample_recall", m.index->sample_recall},
                     {"sample_rows_scanned", m.index->sample_rows_scanned},
                     {"sample_bytes_read", m.index->sample_bytes_read},
                     {"dot", FormatCalibration(m.index->dot)},
                     {"cosine", FormatCalibration(m.index->cosine)}};
  }
  if (m.rating.has_value()) {
    root["rating"] = {{"event_type", m.rating->event_type},
                      {"dim", m.rating->dim},
                      {"mean", m.rating->mean},
                      {"min", m.rating->min},
                      {"max", m.rating->max}};
  }
  root["metrics"] = m.metrics;
  root["files"] = std::move(files);
  root[kChecksum] =
      ChecksumOf(json::parse(root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)));
  return absl::StrCat(root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "\n");
}

struct FileChecksum::State {
  State(int fd_in, size_t buffer_size) : fd(fd_in), buffer(buffer_size) {}

  const FileDescriptor fd;
  std::vector<std::byte> buffer;
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> xxh{XXH3_createState(), &XXH3_freeState};
};

FileChecksum::FileChecksum(std::string path) : path_(std::move(path)), keeps_(false) {}
FileChecksum::FileChecksum(std::string path, std::span<std::byte> copy)
    : path_(std::move(path)), keeps_(true), room_(copy) {}
FileChecksum::~FileChecksum() = default;

absl::StatusOr<bool> FileChecksum::Step() {
  if (state_ == nullptr) {
    state_ = std::make_unique<State>(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK),
                                     keeps_ ? 0 : kPieceBytes);
    if (!state_->fd.valid()) return ErrnoStatus(errno, "open", path_);
    if (state_->xxh == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat(path_, ": no memory to checksum it"));
    }
    XXH3_128bits_reset(state_->xxh.get());
    // Read ahead of us, as far as the system sees fit.
    ::posix_fadvise(state_->fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  const std::span<std::byte> piece =
      keeps_ ? room_.first(std::min(room_.size(), kPieceBytes)) : std::span(state_->buffer);
  if (piece.empty()) return false;
  ssize_t n;
  do {
    n = ::read(state_->fd.get(), piece.data(), piece.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus(errno, "read", path_);
  const auto size = static_cast<size_t>(n);
  XXH3_128bits_update(state_->xxh.get(), piece.data(), size);
  if (keeps_) room_ = room_.subspan(size);
  return size > 0;
}

std::string FileChecksum::Hex() const { return ToHex(XXH3_128bits_digest(state_->xxh.get())); }

absl::StatusOr<std::string> ChecksumFile(const std::string& path) {
  FileChecksum checksum(path);
  for (bool more = true; more;) {
    SWIFTLET_ASSIGN_OR_RETURN(more, checksum.Step());
  }
  return checksum.Hex();
}

}  // namespace swiftlet

#include "engine/trainer/write_model.h"

#include <stdlib.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"
#include "engine/encoders/attention.h"
#include "storage/user_vector_file.h"

namespace swiftlet {
namespace {

std::vector<float> ToVector(const MatrixF& matrix) { return {matrix.data(), matrix.data() + matrix.size()}; }
// Of users who have one, evenly over all.
std::vector<float> SampleUserVectors(const MatrixF& vectors) {
  constexpr Eigen::Index kMaxUsers = 256;  // that a trial of the index asks for
  const Eigen::Index n = vectors.rows(), count = std::min(n, kMaxUsers);
  std::vector<float> sample;
  for (Eigen::Index i = 0; i < count; ++i) {
    const auto row = vectors.row(i * n / count);
    if (row.isZero(0)) continue;
    sample.insert(sample.end(), row.data(), row.data() + row.size());
  }
  return sample;
}
std::vector<float> ToVector(const VectorF& vector) { return {vector.data(), vector.data() + vector.size()}; }

}  // namespace

ScopedDirectory::~ScopedDirectory() {
  if (path_.empty()) return;
  std::error_code ignored;  // nothing can be done about it here
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::unique_ptr<ScopedDirectory>> MakeTemporaryDirectory() {
  std::error_code error;
  std::filesystem::path base = std::filesystem::temp_directory_path(error);
  if (error) base = "/tmp";
  std::string name = (base / "swiftlet-trainer-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(errno)));
  }
  return std::make_unique<ScopedDirectory>(name);
}

std::string NewEmbeddingSpace(std::string_view kind, int64_t version, std::string_view fingerprint,
                              int64_t now_ms) {
  const std::string what = absl::StrCat(std::string(fingerprint), "@", now_ms);
  return absl::StrCat(std::string(kind), "-", version, "-",
                      absl::Hex(XXH3_64bits(what.data(), what.size()) >> 32, absl::kZeroPad8));
}

SnapshotContents DescribeItems(const Dataset& data, int64_t version, int64_t now_ms) {
  SnapshotContents contents;
  contents.manifest.version = version;
  contents.manifest.created_ms = now_ms;
  contents.manifest.trained_through_ms = data.trained_through_ms > 0 ? data.trained_through_ms : now_ms;
  contents.manifest.model_kind = "attention";
  contents.manifest.event_types.assign(data.event_types.types().begin(), data.event_types.types().end());
  contents.manifest.training_fingerprint = Fingerprint(data);
  contents.manifest.embedding_space =
      NewEmbeddingSpace("als", version, contents.manifest.training_fingerprint, now_ms);
  contents.manifest.num_training_events = data.events.size();
  contents.item_ids = data.item_ids;
  contents.item_titles = data.item_titles;
  contents.item_categories = data.item_categories;
  contents.item_popularity.assign(data.num_items(), 0.0f);
  for (const TrainingEvent& e : data.events) {
    const EventType* type = data.event_types.FindById(e.type);
    if (type == nullptr || type->weight > 0) contents.item_popularity[e.item] += 1;
  }
  return contents;
}

SnapshotContents ContentsOf(const Dataset& data, const FittedModel& model, const FitOptions& options,
                            int64_t version, int64_t now_ms) {
  SnapshotContents contents = DescribeItems(data, version, now_ms);
  const AttentionModel& m = model.attention;
  contents.dim = static_cast<uint32_t>(m.items.cols());
  contents.item_vectors = ToVector(m.items);
  contents.item_input_vectors = ToVector(m.inputs);
  contents.item_bias = ToVector(m.bias);
  contents.item_attention_logits = ToVector(m.item_logits);
  contents.input_map = ToVector(model.input_map);
  contents.class_logits = ToVector(m.class_logits);
  contents.position_logits = ToVector(m.position_logits);
  contents.recency_logits = ToVector(m.recency_logits);
  contents.long_term_logit = m.long_term_logit;
  // Nothing to learn it from: what the user looks at now weighs as much as the newest event.
  contents.context_logit = model.mean_class_logit + m.position_logits[0] + m.recency_logits[0];
  contents.manifest.event_classes = model.classes;
  contents.manifest.max_events = options.attention.max_events;
  contents.manifest.row_type = options.row_type;
  std::map<std::string, std::string>& p = contents.manifest.training_parameters;
  p["als.lambda"] = absl::StrCat(model.als_lambda);
  p["als.alpha0"] = absl::StrCat(options.als.alpha0);
  p["als.nu"] = absl::StrCat(options.als.nu);
  p["als.epochs"] = absl::StrCat(options.als.epochs);
  p["als.loss"] = absl::StrCat(model.als_loss);
  p["attention.epochs"] = absl::StrCat(model.fit.epochs);
  p["attention.learning_rate"] = absl::StrCat(options.attention.learning_rate);
  p["attention.num_negatives"] = absl::StrCat(options.attention.num_negatives);
  p["attention.item_features"] = absl::StrCat(model.num_item_features);
  p["attention.dropout"] = absl::StrCat(model.options.dropout);
  p["attention.event_dropout"] = absl::StrCat(model.options.event_dropout);
  p["attention.average_decay"] = absl::StrCat(model.options.average_decay);
  p["attention.max_events"] = absl::StrCat(options.attention.max_events);
  p["attention.max_examples"] = absl::StrCat(options.attention.max_examples);
  p["dim"] = absl::StrCat(options.als.dim);
  std::vector<std::string> unseen;
  for (const EventTypeId id : model.unseen_types) {
    const EventType* type = data.event_types.FindById(id);
    unseen.push_back(type != nullptr ? type->name : absl::StrCat(int{id}));
  }
  if (!unseen.empty()) p["attention.types_without_events"] = absl::StrJoin(unseen, ",");
  p["seed"] = absl::StrCat(options.als.seed);
  return contents;
}

void SetUniformAttention(uint32_t max_events, SnapshotContents* contents) {
  contents->manifest.max_events = max_events;
  contents->manifest.event_classes.clear();
  for (const EventType& type : contents->manifest.event_types) {
    contents->manifest.event_classes.push_back(
        {type.id, -std::numeric_limits<float>::infinity(), type.weight < 0 ? -1.0f : 1.0f});
  }
  contents->class_logits.assign(contents->manifest.event_classes.size(), 0.0f);
  contents->position_logits.assign(1, 0.0f);
  contents->recency_logits.assign(kNumRecencyBuckets, 0.0f);
  contents->long_term_logit = contents->context_logit = 0;
}

SnapshotContents ContentsWithoutVectors(const Dataset& data, int64_t now_ms) {
  SnapshotContents contents = DescribeItems(data, 1, now_ms);
  contents.dim = 1;
  contents.item_vectors.assign(data.num_items(), 0.0f);
  contents.index = IndexMode::kNever;
  SetUniformAttention(1, &contents);
  return contents;
}

SnapshotContents MeanOfHistoryContents(const Dataset& data, const FittedModel& model, uint32_t max_events,
                                       int64_t now_ms) {
  SnapshotContents contents = DescribeItems(data, 1, now_ms);
  contents.dim = static_cast<uint32_t>(model.als_items.cols());
  contents.item_vectors = ToVector(model.als_items);
  SetUniformAttention(max_events, &contents);
  return contents;
}

SnapshotContents MeanOfHistoryContents(const ModelSnapshot& snapshot, int64_t now_ms) {
  SnapshotContents contents;
  contents.manifest.version = 1;
  contents.manifest.created_ms = contents.manifest.trained_through_ms = now_ms;
  contents.manifest.model_kind = "attention";
  contents.manifest.embedding_space = snapshot.manifest().embedding_space;
  contents.manifest.event_types = snapshot.manifest().event_types;
  contents.manifest.training_fingerprint = snapshot.manifest().training_fingerprint;
  contents.dim = snapshot.dim();
  for (uint32_t row = 0; row < snapshot.num_items(); ++row) {
    contents.item_ids.emplace_back(snapshot.ItemId(row));
    contents.item_popularity.push_back(snapshot.Popularity(row));
    const std::vector<float> vector = snapshot.ItemVector(row).Values();
    contents.item_vectors.insert(contents.item_vectors.end(), vector.begin(), vector.end());
  }
  SetUniformAttention(snapshot.manifest().max_events, &contents);
  return contents;
}

absl::StatusOr<uint64_t> WriteUserVectors(const std::string& directory,
                                          const std::vector<std::string>& user_ids, const MatrixF& vectors) {
  const std::string path = absl::StrCat(directory, "/", kUserVectorsFile);
  std::unique_ptr<UserVectorFileWriter> writer;
  uint64_t written = 0;
  for (size_t u = 0; u < user_ids.size() && vectors.rows() > 0; ++u) {
    const auto row = vectors.row(static_cast<Eigen::Index>(u));
    if (row.isZero(0)) continue;
    if (writer == nullptr) {
      SWIFTLET_ASSIGN_OR_RETURN(writer,
                                UserVectorFileWriter::Create(path, static_cast<uint32_t>(vectors.cols())));
    }
    SWIFTLET_RETURN_IF_ERROR(writer->Add(user_ids[u], {row.data(), static_cast<size_t>(row.size())}));
    ++written;
  }
  if (writer != nullptr) SWIFTLET_RETURN_IF_ERROR(writer->Finish());
  return written;
}

absl::Status WriteModel(const std::string& directory, SnapshotContents contents,
                        const std::vector<std::string>& user_ids, const MatrixF& user_vectors) {
  SWIFTLET_ASSIGN_OR_RETURN(contents.manifest.num_users, WriteUserVectors(directory, user_ids, user_vectors));
  if (contents.sample_user_vectors.empty()) contents.sample_user_vectors = SampleUserVectors(user_vectors);
  return WriteSnapshot(directory, contents);
}

}  // namespace swiftlet

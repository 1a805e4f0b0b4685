#include "engine/trainer/torch/transformer_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

// The encoder's tensors of a parameter: as it is, or, of a layer's matrix, its transpose (the engine reads
// matrices [in, out]).
EncoderTensor TensorOf(const Parameter& p, const std::vector<float>& values) {
  const float* const from = values.data() + p.offset;
  EncoderTensor tensor{.shape = {p.shape.begin(), p.shape.end()}, .values = {from, from + p.size}};
  if (p.shape.size() != 2 || p.name.find('.') == std::string::npos) return tensor;
  const size_t out = p.shape[0], in = p.shape[1];
  tensor.shape = {in, out};
  for (size_t j = 0; j < out; ++j) {
    for (size_t k = 0; k < in; ++k) tensor.values[k * out + j] = from[j * in + k];
  }
  return tensor;
}

std::vector<float> TableOf(const std::vector<Parameter>& parameters, const SequenceModel& model,
                           std::string_view name) {
  const Parameter* p = FindParameter(parameters, name);
  if (p == nullptr) return {};
  const float* const from = model.values.data() + p->offset;
  return {from, from + p->size};
}

SnapshotContents ContentsOf(const Dataset& data, std::span<const EventClass> classes,
                            const SequenceModel& model, const SequenceFitOptions& fit, RowType row_type) {
  const std::vector<Parameter> parameters = TransformerParameters(model.shape);
  const SequenceShape& shape = model.shape;
  const TransformerClasses described =
      DescribeClasses(data, classes, TableOf(parameters, model, "class"), shape.dim);
  SnapshotContents contents = DescribeItems(data, 1, 0);
  contents.dim = static_cast<uint32_t>(shape.dim);
  contents.item_vectors = TableOf(parameters, model, "output");
  contents.item_input_vectors = TableOf(parameters, model, "input");
  EncoderContents encoder{
      .encoder = {.kind = "transformer",
                  .dim = contents.dim,
                  .weight = 1,
                  .parameters = {{"blocks", static_cast<double>(shape.blocks)},
                                 {"heads", static_cast<double>(shape.heads)},
                                 {"hidden", static_cast<double>(shape.hidden)},
                                 {"max_length", static_cast<double>(shape.max_length)},
                                 {"context_class", static_cast<double>(described.context_class)}}},
      .tensors = {}};
  for (const Parameter& p : parameters) {
    if (p.name == "position" || p.name.find('.') != std::string::npos)
      encoder.tensors.emplace(p.name, TensorOf(p, model.values));
  }
  const uint64_t num_classes = described.classes.size();
  encoder.tensors["class_used"] = {{num_classes}, described.used};
  if (!described.vectors.empty()) encoder.tensors["class"] = {{num_classes, shape.dim}, described.vectors};
  contents.encoders.push_back(std::move(encoder));
  Manifest& m = contents.manifest;
  m.model_kind = "transformer";
  m.event_classes = described.classes;
  m.max_events = static_cast<uint32_t>(shape.max_length);
  m.row_type = row_type;
  std::map<std::string, std::string>& p = m.training_parameters;
  p["transformer.epochs"] = absl::StrCat(model.epochs);
  p["transformer.dropout"] = absl::StrCat(fit.dropout);
  p["transformer.learning_rate"] = absl::StrCat(fit.learning_rate);
  p["transformer.num_negatives"] = absl::StrCat(fit.loss.num_negatives);
  p["transformer.popular_share"] = absl::StrCat(fit.loss.popular_share);
  p["transformer.correction"] = absl::StrCat(fit.loss.correction);
  p["transformer.loss"] = fit.loss.kind == LossKind::kGbce ? "gbce" : "softmax";
  p["transformer.batch_users"] = absl::StrCat(fit.batch_users);
  p["transformer.average_decay"] = absl::StrCat(fit.average_decay);
  p["transformer.item_features"] = absl::StrCat(shape.num_features);
  p["transformer.batch_pieces"] = absl::StrCat(fit.pieces);
  p["transformer.blocks"] = absl::StrCat(shape.blocks);
  p["transformer.heads"] = absl::StrCat(shape.heads);
  p["transformer.hidden"] = absl::StrCat(shape.hidden);
  p["transformer.max_length"] = absl::StrCat(shape.max_length);
  p["transformer.separate_tables"] = shape.tied ? "0" : "1";
  p["dim"] = absl::StrCat(shape.dim);
  p["seed"] = absl::StrCat(fit.seed);
  return contents;
}

}  // namespace

SequenceFitOptions ChooseFit(const SequenceData& data, const TransformerOptions& o, uint32_t dim,
                             size_t threads) {
  SequenceFitOptions fit;
  fit.shape.num_items = data.num_items;
  fit.shape.num_classes = data.num_classes;
  fit.shape.num_features = data.item_features.num_features;
  fit.shape.dim = dim;
  fit.shape.heads = o.heads;
  fit.shape.hidden = size_t{o.feed_forward} * dim;
  fit.shape.tied = !o.separate_tables;
  fit.shape.max_length =
      o.max_length != 0 ? o.max_length : std::clamp<size_t>(LengthOfShare(data, 0.98), 10, 200);
  size_t rows = 0, users = 0;
  for (size_t u = 0; u < data.num_users(); ++u) {
    if (data.Length(u) < 2) continue;
    ++users;
    rows += std::min(data.Length(u) - 1, fit.shape.max_length);
  }
  const double mean_rows = users > 0 ? static_cast<double>(rows) / static_cast<double>(users) : 1;
  fit.shape.blocks = o.blocks != 0 ? o.blocks : (mean_rows >= kLongHistory ? 2 : 1);
  // Short histories are soon known by heart.
  fit.dropout = o.dropout >= 0 ? o.dropout : (mean_rows >= kLongHistory ? 0.2f : 0.4f);
  fit.batch_users =
      o.batch_users != 0 ? o.batch_users : std::clamp<size_t>(std::lround(3600 / mean_rows), 1, 128);
  fit.loss.kind = o.loss == "gbce" ? LossKind::kGbce : LossKind::kSoftmax;
  fit.loss.num_negatives = o.num_negatives;
  fit.loss.popular_share = o.popular_share;
  // Where events are few for each user, a sample that stands for all items is learned from twice as fast.
  fit.loss.correction = o.correction >= 0 ? o.correction : (mean_rows >= kLongHistory ? 0 : 1);
  fit.learning_rate = o.learning_rate;
  fit.average_decay = o.average_decay;
  fit.pieces = o.batch_pieces != 0 ? o.batch_pieces : std::max<size_t>(2, threads);
  fit.max_epochs = o.max_epochs;
  fit.patience = o.patience;
  return fit;
}

TransformerClasses DescribeClasses(const Dataset& data, std::span<const EventClass> classes,
                                   std::span<const float> vectors, size_t dim) {
  TransformerClasses described;
  described.classes.assign(classes.begin(), classes.end());
  described.used.assign(classes.size(), 1.0f);
  described.vectors.assign(vectors.begin(), vectors.end());
  std::vector<size_t> counts(classes.size(), 0);
  for (const TrainingEvent& e : data.events) ++counts[ClassOfEvent(classes, e.type, e.value)];
  // What an event of a type without a vector of its own is taken for: the mean of those that count for items.
  std::vector<double> mean(dim, 0.0);
  double total = 0;
  size_t most = 0;
  for (size_t c = 0; c < classes.size(); ++c) {
    if (classes[c].sign < 0) continue;
    if (counts[c] > most) {
      most = counts[c];
      described.context_class = static_cast<uint32_t>(c);
    }
    total += static_cast<double>(counts[c]);
    for (size_t i = 0; i < dim && !vectors.empty(); ++i)
      mean[i] += static_cast<double>(counts[c]) * double{vectors[c * dim + i]};
  }
  for (const EventType& type : data.event_types.types()) {
    if (std::any_of(classes.begin(), classes.end(), [&](const EventClass& c) { return c.type == type.id; }))
      continue;
    const bool is_negative = type.weight < 0;
    described.classes.push_back(
        {type.id, -std::numeric_limits<float>::infinity(), is_negative ? -1.0f : 1.0f});
    described.used.push_back(is_negative ? 0.0f : 1.0f);
    for (size_t i = 0; i < dim && !vectors.empty(); ++i)
      described.vectors.push_back(static_cast<float>(total > 0 ? mean[i] / total : 0.0));
  }
  return described;
}

absl::StatusOr<TrainedModel> TrainTransformer(const TrainingData& training, const TrainingOptions& options,
                                              ThreadPool* pool, Progress* progress) {
  const Dataset& data = *training.data;
  const std::vector<EventClass> classes = MakeEventClasses(data, options.attention.value_edges);
  SequenceData sequences = MakeSequences(data, classes);
  if (options.attention.item_features) sequences.item_features = MakeItemFeatures(data);
  const size_t threads = pool == nullptr ? 1 : pool->num_threads() + 1;
  SequenceFitOptions fit = ChooseFit(sequences, options.transformer, options.attention.als.dim, threads);
  fit.seed = options.seed;
  fit.memory_limit = options.memory_limit;
  const auto checkpoint = [&](std::string_view name) {
    return options.checkpoint_dir.empty() ? "" : absl::StrCat(options.checkpoint_dir, "/", std::string(name));
  };
  std::vector<SequenceTarget> validation;
  if (options.epochs != 0) {
    fit.max_epochs = options.epochs;
  } else if (!training.validation.empty()) {
    validation = MakeTargets(data, training.validation);
  } else {
    progress->Say("finding the number of epochs, on the last event of every user");
    SequenceData earlier = sequences;
    const std::vector<SequenceTarget> last = HoldOutLast(&earlier);
    if (!last.empty()) {
      fit.checkpoint = checkpoint("transformer-choosing.checkpoint");
      SWIFTLET_ASSIGN_OR_RETURN(const SequenceModel chosen,
                                FitSequenceModel(earlier, last, fit, pool, progress));
      fit.max_epochs = std::max(chosen.epochs, 1u);
      progress->Say(absl::StrCat("fit on all events, ", fit.max_epochs, " epochs"));
    }
  }
  fit.checkpoint = checkpoint("transformer.checkpoint");
  SWIFTLET_ASSIGN_OR_RETURN(const SequenceModel model,
                            FitSequenceModel(sequences, validation, fit, pool, progress));
  TrainedModel trained;
  trained.contents = ContentsOf(data, classes, model, fit, options.attention.row_type);
  constexpr size_t kMaxSample = 256;  // that a trial of the index asks for
  std::vector<uint32_t> sample;
  const size_t num_users = sequences.num_users(), count = std::min(num_users, kMaxSample);
  for (size_t i = 0; i < count; ++i) sample.push_back(static_cast<uint32_t>(i * num_users / count));
  trained.contents.sample_user_vectors = EncodeSequences(model.shape, model.values, sequences, sample, pool);
  trained.epochs = std::max(model.epochs, 1u);
  trained.validation_ndcg = model.validation_ndcg;
  for (const EpochRecord& e : model.curve) {
    if (!validation.empty()) trained.curve.push_back({e.seconds, e.epoch, e.validation_ndcg});
  }
  return trained;
}

}  // namespace swiftlet

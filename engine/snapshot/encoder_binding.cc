#include "engine/snapshot/encoder_binding.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quoted.h"
#include "engine/encoders/attention.h"
#include "engine/encoders/ials_fold_in.h"
#include "engine/encoders/no_vector.h"
#include "engine/encoders/stacked.h"
#include "engine/encoders/transformer.h"

namespace swiftlet {
namespace {

using EncoderPtr = std::unique_ptr<const UserEncoder>;

// Returns null, or whatever it likes, when spec.status() is not OK.
using BindFunction = EncoderPtr (*)(EncoderSpec& spec);

EncoderPtr BindAttention(EncoderSpec& spec) {
  AttentionParameters p;
  p.class_logits = spec.Tensor("class_logits", {spec.num_classes()});
  p.class_signs = spec.class_signs();
  p.position_logits = spec.Tensor("position_logits", {TensorBinder::kAnyLength});
  p.recency_logits = spec.Tensor("recency_logits", {kNumRecencyBuckets});
  const std::span<const float> slot_logits = spec.Tensor("slot_logits", {2});
  if (spec.status().ok() && p.position_logits.empty())
    spec.Fail("position_logits: expected at least 1, found 0");
  if (!spec.status().ok()) return nullptr;
  p.long_term_logit = slot_logits[0];
  p.context_logit = slot_logits[1];
  // Beside encoders that look further back.
  p.max_events = spec.Has("max_events") ? spec.Integer("max_events", 1, 10'000) : spec.manifest().max_events;
  if (!spec.status().ok()) return nullptr;
  return std::make_unique<AttentionEncoder>(p);
}

// Sizes are bounded so that products of them cannot overflow; the tensors must then be there in full.
EncoderPtr BindTransformer(EncoderSpec& spec) {
  TransformerParameters p;
  p.dim = spec.dim();
  p.heads = spec.Integer("heads", 1, 4096);
  p.hidden = spec.Integer("hidden", 1, 1 << 16);
  const uint32_t num_blocks = spec.Integer("blocks", 0, 256);
  const uint32_t max_length = spec.Integer("max_length", 1, 1 << 16);
  if (!spec.status().ok()) return nullptr;
  if (spec.num_classes() == 0) spec.Fail("there are no event classes");
  if (p.dim % p.heads != 0) {
    spec.Fail(absl::StrCat("parameter heads: dim ", p.dim, " is not a multiple of ", p.heads));
  }
  if (!spec.status().ok()) return nullptr;
  const uint64_t dim = p.dim, hidden = p.hidden;
  p.positions = spec.Tensor("position", {max_length, dim});
  p.class_vectors = spec.OptionalTensor("class", {spec.num_classes(), dim});
  p.class_signs = spec.class_signs();
  p.class_used = spec.Tensor("class_used", {spec.num_classes()});
  p.context_class = spec.Integer("context_class", 0, static_cast<uint32_t>(spec.num_classes() - 1));
  for (uint32_t k = 0; k < num_blocks && spec.status().ok(); ++k) {
    const auto tensor = [&](std::string_view name, std::initializer_list<uint64_t> shape) {
      return spec.Tensor(absl::StrCat(k, ".", std::string(name)), shape);
    };
    p.blocks.push_back({.norm1_weight = tensor("norm1.weight", {dim}),
                        .norm1_bias = tensor("norm1.bias", {dim}),
                        .qkv_weight = tensor("qkv.weight", {dim, 3 * dim}),
                        .qkv_bias = tensor("qkv.bias", {3 * dim}),
                        .attended_weight = tensor("attended.weight", {dim, dim}),
                        .attended_bias = tensor("attended.bias", {dim}),
                        .gate1_weight = tensor("gate1.weight", {dim, dim}),
                        .gate1_bias = tensor("gate1.bias", {dim}),
                        .norm2_weight = tensor("norm2.weight", {dim}),
                        .norm2_bias = tensor("norm2.bias", {dim}),
                        .up_weight = tensor("up.weight", {dim, 2 * hidden}),
                        .down_weight = tensor("down.weight", {hidden, dim}),
                        .gate2_weight = tensor("gate2.weight", {dim, dim}),
                        .gate2_bias = tensor("gate2.bias", {dim})});
  }
  p.max_events = spec.manifest().max_events;
  if (!spec.status().ok()) return nullptr;
  return std::make_unique<TransformerEncoder>(std::move(p));
}

EncoderPtr BindIals(EncoderSpec& spec) {
  IalsParameters p;
  p.gram = spec.Tensor("gram", {spec.dim()});
  p.class_weights = spec.Tensor("class_weights", {spec.num_classes()});
  p.lambda = spec.Number("lambda", 1e-30, 1e30);
  p.alpha0 = spec.Number("alpha0", 0, 1e30);
  p.nu = spec.Number("nu", 0, 4);
  p.num_items = spec.Number("num_items", 1, 1e10);
  if (!spec.status().ok()) return nullptr;
  p.max_events = spec.manifest().max_events;
  return std::make_unique<IalsFoldIn>(p);
}

EncoderPtr BindNoVector(EncoderSpec& spec) {
  return std::make_unique<NoVectorEncoder>(spec.manifest().max_events);
}

struct Kind {
  std::string_view name;
  BindFunction bind;
};
constexpr Kind kKinds[] = {{kAttentionModelKind, BindAttention},
                           {"ials", BindIals},
                           {kNoVectorKind, BindNoVector},
                           {"transformer", BindTransformer}};

}  // namespace

std::string EncoderSpec::FieldName(std::string_view name) const {
  return absl::StrCat("encoder.", k_, ".", std::string(name));
}

std::span<const float> EncoderSpec::OptionalTensor(std::string_view name,
                                                   std::initializer_list<uint64_t> shape) {
  std::span<const float> values;
  const std::string full_name = FieldName(name);
  binder_.Optional(full_name, shape, &values);
  if (!status().ok()) return {};
  tensors_.emplace_back(full_name, values);
  return values;
}

std::span<const float> EncoderSpec::Tensor(std::string_view name, std::initializer_list<uint64_t> shape) {
  std::span<const float> values;
  const std::string full_name = FieldName(name);
  binder_.Required(full_name, shape, &values);
  if (!status().ok()) return {};
  tensors_.emplace_back(full_name, values);
  return values;
}

bool EncoderSpec::Has(std::string_view name) const {
  return manifest_.encoders[k_].parameters.contains(std::string(name));
}

double EncoderSpec::Number(std::string_view name, double min, double max) {
  if (!status().ok()) return 0;
  const std::map<std::string, double>& parameters = manifest_.encoders[k_].parameters;
  const auto it = parameters.find(std::string(name));
  const std::string what = absl::StrCat("parameter ", std::string(name));
  if (it == parameters.end()) {
    Fail(absl::StrCat(what, ": missing"));
    return 0;
  }
  if (!(it->second >= min && it->second <= max)) {
    Fail(absl::StrCat(what, ": expected a number in [", min, ", ", max, "], found ", it->second));
    return 0;
  }
  return it->second;
}

uint32_t EncoderSpec::Integer(std::string_view name, uint32_t min, uint32_t max) {
  const double value = Number(name, min, max);
  if (status().ok() && value != std::floor(value)) {
    Fail(absl::StrCat("parameter ", std::string(name), ": expected a whole number, found ", value));
  }
  return status().ok() ? static_cast<uint32_t>(value) : 0;
}

void EncoderSpec::Fail(std::string_view what) {
  if (!status().ok()) return;
  status_ = absl::DataLossError(absl::StrCat("encoder ", k_, " (", Shortened(manifest_.encoders[k_].kind, 64),
                                             "): ", std::string(what)));
}

absl::StatusOr<EncoderPtr> BindEncoders(const Manifest& manifest, std::span<const float> class_signs,
                                        TensorBinder* binder, EncoderTensors* tensors) {
  std::vector<StackedEncoder::Part> parts;
  for (size_t k = 0; k < manifest.encoders.size(); ++k) {
    const ManifestEncoder& encoder = manifest.encoders[k];
    EncoderSpec spec(manifest, k, class_signs, binder, tensors);
    const Kind* const kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                          [&](const Kind& known) { return known.name == encoder.kind; });
    if (kind == std::end(kKinds)) {
      spec.Fail(absl::StrCat("this kind of encoder is not known; there are: ",
                             absl::StrJoin(EncoderKinds(), ", ", [](std::string* out, std::string_view name) {
                               out->append(name);
                             })));
      return spec.status();
    }
    EncoderPtr made = kind->bind(spec);
    if (!spec.status().ok()) return spec.status();
    parts.push_back({std::move(made), encoder.dim, encoder.weight});
  }
  if (parts.size() == 1 && parts[0].weight == 1) return std::move(parts[0].encoder);
  return std::make_unique<const StackedEncoder>(std::move(parts), manifest.max_events);
}

std::vector<std::string_view> EncoderKinds() {
  std::vector<std::string_view> kinds;
  for (const Kind& kind : kKinds) kinds.push_back(kind.name);
  return kinds;
}

}  // namespace swiftlet

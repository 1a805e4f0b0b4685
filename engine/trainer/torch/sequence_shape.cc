#include "engine/trainer/torch/sequence_shape.h"

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"

namespace swiftlet {

std::vector<Parameter> TransformerParameters(const SequenceShape& s) {
  std::vector<Parameter> parameters;
  size_t offset = 0;
  const auto add = [&](std::string name, std::vector<size_t> shape) {
    size_t size = 1;
    for (const size_t n : shape) size *= n;
    parameters.push_back({std::move(name), std::move(shape), offset, size});
    offset += size;
  };
  add("output", {s.num_items, s.dim});
  if (!s.tied) add("input", {s.num_items, s.dim});
  add("position", {s.max_length, s.dim});
  if (s.num_classes > 1) add("class", {s.num_classes, s.dim});
  for (size_t b = 0; b < s.blocks; ++b) {
    const auto name = [b](const char* what) { return absl::StrCat(b, ".", what); };
    add(name("norm1.weight"), {s.dim});
    add(name("norm1.bias"), {s.dim});
    add(name("qkv.weight"), {3 * s.dim, s.dim});
    add(name("qkv.bias"), {3 * s.dim});
    add(name("attended.weight"), {s.dim, s.dim});
    add(name("attended.bias"), {s.dim});
    add(name("gate1.weight"), {s.dim, s.dim});
    add(name("gate1.bias"), {s.dim});
    add(name("norm2.weight"), {s.dim});
    add(name("norm2.bias"), {s.dim});
    add(name("up.weight"), {2 * s.hidden, s.dim});
    add(name("down.weight"), {s.dim, s.hidden});
    add(name("gate2.weight"), {s.dim, s.dim});
    add(name("gate2.bias"), {s.dim});
  }
  if (s.num_features > 0) {
    add(std::string(kFeatures), {s.num_features, s.dim});
    if (!s.tied) add(std::string(kInputFeatures), {s.num_features, s.dim});
  }
  return parameters;
}

size_t NumFloats(const std::vector<Parameter>& parameters) {
  return parameters.empty() ? 0 : parameters.back().offset + parameters.back().size;
}

const Parameter* FindParameter(const std::vector<Parameter>& parameters, std::string_view name) {
  for (const Parameter& parameter : parameters) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

std::vector<float> InitialParameters(const std::vector<Parameter>& parameters, uint64_t seed) {
  std::vector<float> values(NumFloats(parameters), 0.0f);
  std::mt19937_64 random(seed);
  for (const Parameter& p : parameters) {
    if (p.name == kFeatures || p.name == kInputFeatures) continue;
    if (p.shape.size() == 1) {
      const bool is_norm = p.name.ends_with("norm1.weight") || p.name.ends_with("norm2.weight");
      for (size_t i = 0; i < p.size; ++i) values[p.offset + i] = is_norm ? 1.0f : 0.0f;
      continue;
    }
    const double deviation = std::sqrt(2.0 / static_cast<double>(p.shape[0] + p.shape[1]));
    std::normal_distribution<float> normal(0.0f, static_cast<float>(deviation));
    for (size_t i = 0; i < p.size; ++i) values[p.offset + i] = normal(random);
  }
  return values;
}

}  // namespace swiftlet

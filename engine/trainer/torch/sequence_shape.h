// Sizes of a sequence model, and where its parameters lie in one flat array.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_SHAPE_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_SHAPE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace swiftlet {

struct SequenceShape {
  size_t num_items = 0;
  size_t num_classes = 1;  // of events; a class embedding is learned where there are two or more
  size_t dim = 64;
  size_t blocks = 1;
  size_t heads = 1;         // a divisor of dim
  size_t hidden = 256;      // of the feed-forward layers
  size_t max_length = 50;   // newest events that are looked at
  bool tied = true;         // one table of items for what goes in and what comes out
  size_t num_features = 0;  // of the items (engine/trainer/item_features.h)

  friend bool operator==(const SequenceShape&, const SequenceShape&) = default;
};

struct Parameter {
  std::string name;
  std::vector<size_t> shape;
  size_t offset = 0, size = 0;  // floats in the flat array
};

inline constexpr std::string_view kFeatures = "features", kInputFeatures = "input_features";

// The parameters of a transformer whose residuals are gated (LiGR), in order:
//   output [items, dim], input [items, dim] (unless tied), position [max_length, dim] (row 0: the newest
//   event), class [classes, dim] (where there are two or more), then of each block b
//   b.norm1.weight, b.norm1.bias [dim], b.qkv.weight [3 dim, dim], b.qkv.bias [3 dim],
//   b.attended.weight [dim, dim], b.attended.bias [dim], b.gate1.weight [dim, dim], b.gate1.bias [dim],
//   b.norm2.weight, b.norm2.bias [dim], b.up.weight [2 hidden, dim], b.down.weight [dim, hidden],
//   b.gate2.weight [dim, dim], b.gate2.bias [dim]
// and at the end, where there are features, "features" and (unless tied) "input_features" [features, dim], of
// which the rows of items in the tables are sums already.
// Matrices are [out, in]: y = W x + b.
std::vector<Parameter> TransformerParameters(const SequenceShape& shape);
size_t NumFloats(const std::vector<Parameter>& parameters);
// Null when there is none of that name.
const Parameter* FindParameter(const std::vector<Parameter>& parameters, std::string_view name);

// Random values of a new model: Xavier's normal distribution for matrices (Glorot and Bengio 2010, eq. 12),
// ones for the weights of the norms, zeros for biases and features.
std::vector<float> InitialParameters(const std::vector<Parameter>& parameters, uint64_t seed);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_SEQUENCE_SHAPE_H_

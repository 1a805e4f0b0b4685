// Makes the encoders of a snapshot from its manifest and tensors. Private to this folder, but for the tests.
//
// The tensors of encoder k are encoder.<k>.<name>, all F32, d_k its dim:
//
//   attention    class_logits [classes], position_logits [P >= 1], recency_logits [32], slot_logits [2]: as
//   the
//                attention.* tensors of model_snapshot.h; item.attention_logits is its, too
//   transformer  position [max_length, d_k], class_used [classes], class [classes, d_k] (optional), and of
//   each
//                block b < blocks what engine/encoders/transformer.h says, as b.<name>; the parameters heads,
//                hidden, blocks, max_length and context_class
//   ials         gram [d_k], class_weights [classes]; the parameters lambda, alpha0, nu and num_items of
//                ials_fold_in.h; the item vectors lie along the principal axes of their table
//   neighbours   none: no user vector, for snapshots that score by neighbours.* alone (model_snapshot.h)
#ifndef SWIFTLET_ENGINE_SNAPSHOT_ENCODER_BINDING_H_
#define SWIFTLET_ENGINE_SNAPSHOT_ENCODER_BINDING_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/encoders/encoder.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/tensor_binder.h"

namespace swiftlet {

// Names and values of tensors that encoders use, for a check that all are finite.
using EncoderTensors = std::vector<std::pair<std::string, std::span<const float>>>;

// What a kind's binding function is given. Keeps the first error; what it hands out is empty or 0 after one.
class EncoderSpec {
 public:
  // All must outlive this; what is bound must outlive the encoder.
  EncoderSpec(const Manifest& manifest, size_t k, std::span<const float> class_signs, TensorBinder* binder,
              EncoderTensors* tensors)
      : manifest_(manifest), k_(k), class_signs_(class_signs), binder_(*binder), tensors_(*tensors) {}

  const Manifest& manifest() const { return manifest_; }
  uint32_t dim() const { return manifest_.encoders[k_].dim; }
  size_t num_classes() const { return manifest_.event_classes.size(); }
  // [num_classes()], +1 or -1.
  std::span<const float> class_signs() const { return class_signs_; }

  // A tensor of this encoder, 64-byte aligned. TensorBinder::kAnyLength: of any length, which may be 0.
  std::span<const float> Tensor(std::string_view name, std::initializer_list<uint64_t> shape);
  // The same where it may be missing: then empty.
  std::span<const float> OptionalTensor(std::string_view name, std::initializer_list<uint64_t> shape);
  // Whether the manifest has a parameter.
  bool Has(std::string_view name) const;
  // A parameter of the manifest in [min, max].
  double Number(std::string_view name, double min, double max);
  uint32_t Integer(std::string_view name, uint32_t min, uint32_t max);
  // Says that something of this encoder is wrong.
  void Fail(std::string_view what);
  absl::Status status() const { return status_.ok() ? binder_.status() : status_; }

 private:
  std::string FieldName(std::string_view name) const;

  const Manifest& manifest_;
  const size_t k_;
  const std::span<const float> class_signs_;
  TensorBinder& binder_;
  EncoderTensors& tensors_;
  absl::Status status_;
};

// The encoder of a manifest that has "encoders". DATA_LOSS, naming the field or tensor, for an unknown kind,
// a missing tensor or parameter, or one of another shape or range. Sees shapes, not values: an encoder must
// be safe with any.
absl::StatusOr<std::unique_ptr<const UserEncoder>> BindEncoders(const Manifest& manifest,
                                                                std::span<const float> class_signs,
                                                                TensorBinder* binder,
                                                                EncoderTensors* tensors);

// The kinds that there are.
std::vector<std::string_view> EncoderKinds();

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_SNAPSHOT_ENCODER_BINDING_H_

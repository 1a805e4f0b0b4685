// Loss of predicted vectors against their target items and sampled other items, with its gradients.
#ifndef SWIFTLET_ENGINE_TRAINER_TORCH_SAMPLED_LOSS_H_
#define SWIFTLET_ENGINE_TRAINER_TORCH_SAMPLED_LOSS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace swiftlet {

enum class LossKind : uint8_t {
  // Softmax cross entropy of the target among itself and the sampled items.
  kSoftmax,
  // Binary cross entropy of the target and the sampled items, calibrated against the overconfidence that
  // sampling brings (gBCE: Petrov and Macdonald 2023, "gSASRec", eq. 14).
  kGbce,
};

struct LossOptions {
  LossKind kind = LossKind::kSoftmax;
  size_t num_negatives = 256;  // for each group of targets
  // Of the negatives, drawn from the targets of the data (by popularity); the others uniformly.
  double popular_share = 0;
  // Softmax: exp(score) of a negative i is divided by (n Q(i))^correction, Q being its probability to be
  // drawn. 1 makes the sum an unbiased estimate of the sum over all items (logQ correction: Yi et al. 2019,
  // sec. 3.2); 0 takes the sample as it is.
  double correction = 0;
  double gbce_t = 0.75;  // the calibration t
};

inline constexpr uint32_t kNoTarget = 0xffffffffu;

// Draws negatives. Immutable and thread-safe; borrows `targets`.
class NegativeSampler {
 public:
  // targets: items of all events that are predicted; drawing one of them draws by popularity.
  NegativeSampler(size_t num_items, std::span<const uint32_t> targets, const LossOptions& options);
  // Items of one group, and what is to be added to their scores; a function of the seed.
  void Draw(uint64_t seed, std::span<uint32_t> items, std::span<float> shifts) const;

 private:
  const size_t num_items_;
  const std::span<const uint32_t> targets_;
  const LossOptions options_;
  std::vector<float> shifts_;  // [num_items], by item
};

// Buffers of one thread.
struct LossScratch {
  std::vector<uint32_t> rows, negatives;
  std::vector<float> vectors, negative_vectors, scores, d_vectors, d_negatives, shifts;
};

// Returns the sum of the losses over the rows with a target. vectors: [rows, dim], targets: [rows], kNoTarget
// for a row that predicts nothing; table: [items, dim]. Groups of rows share their negatives; a negative that
// is a row's own target does not count for that row.
// d_vectors: [rows, dim] out; d_table: [items, dim], added to; touched: [items], set to 1 where d_table was
// added to. Gradients are those of the sum, multiplied by scale.
double SampledLoss(const LossOptions& options, const NegativeSampler& sampler, const float* vectors,
                   std::span<const uint32_t> targets, const float* table, size_t num_items, size_t dim,
                   uint64_t seed, float scale, float* d_vectors, float* d_table, uint8_t* touched,
                   LossScratch* scratch);

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TORCH_SAMPLED_LOSS_H_

// The user solve of iALS at request time (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit
// Feedback Datasets", ICDM 2008, sec. 4; with the regularisation of Rendle, Krichene, Zhang and Koren,
// "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022, sec. 4): for the n
// different items that a user's events are positive about, rows v_j of weight w_j,
//
//   q = A^-1 sum_j w_j v_j      A = D + sum_j w_j v_j v_j^T
//   D = diag(gram) + lambda (n + alpha0 num_items)^nu I
//
// which is what the trainer's last half epoch solves for its users. The item vectors lie along the principal
// axes of their own table, where alpha0 V^T V is diagonal: `gram` is that diagonal. By the identity of
// Woodbury the solve takes n^2 d / 2 + n^3 / 6 multiplications while n < d, and n d^2 / 2 + d^3 / 6
// otherwise.
//
// The exact explanation (sec. 5 there): <q, v_i> = sum_j w_j v_i^T A^-1 v_j, so the term of item j is
// w_j A^-1 v_j.
#ifndef SWIFTLET_ENGINE_ENCODERS_IALS_FOLD_IN_H_
#define SWIFTLET_ENGINE_ENCODERS_IALS_FOLD_IN_H_

#include <cstdint>
#include <span>

#include "engine/encoders/encoder.h"

namespace swiftlet {

// Borrowed; must outlive the encoder.
struct IalsParameters {
  std::span<const float> gram;           // [dim]
  std::span<const float> class_weights;  // [classes]: of a positive event; 0 where a class counts against
  double lambda = 0;                     // > 0
  double alpha0 = 0, nu = 1;             // >= 0
  double num_items = 0;                  // of the training, >= 1
  uint32_t max_events = 50;              // >= 1
};

// An item counts once: its newest event says whether it is positive, its weight is the largest of its
// positive events' classes. Items that count against are left out, as in training. A context item is a
// positive event of weight 1 that is newer than all others. Long-term slots weigh 0.
class IalsFoldIn final : public UserEncoder {
 public:
  explicit IalsFoldIn(const IalsParameters& parameters) : parameters_(parameters) {}

  uint32_t max_events() const override { return parameters_.max_events; }
  // weights: by w_j |1 - <q, v_j>|, what is left of each observation to explain. Numbers beyond float's range
  // give the zero vector.
  void Encode(std::span<const EncoderSlot> slots, EncoderScratch& scratch, std::span<float> user_vector,
              std::span<float> weights, std::span<float> signs) const override;
  // Factors are 1 (0 for slots that do not count). Costs a solve more for each item.
  bool Terms(std::span<const EncoderSlot> slots, std::span<const float> weights, std::span<const float> signs,
             EncoderScratch& scratch, std::span<EncoderTerm> terms) const override;

 private:
  const IalsParameters parameters_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_ENCODERS_IALS_FOLD_IN_H_

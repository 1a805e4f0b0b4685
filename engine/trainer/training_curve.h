// How quality grows with training time.
#ifndef SWIFTLET_ENGINE_TRAINER_TRAINING_CURVE_H_
#define SWIFTLET_ENGINE_TRAINER_TRAINING_CURVE_H_

#include <cstdint>
#include <vector>

namespace swiftlet {

struct CurvePoint {
  double seconds = 0;  // since the fit began, validation included
  uint32_t epoch = 0;  // 0: before the first
  double validation_ndcg = 0;
};
using TrainingCurve = std::vector<CurvePoint>;  // by time

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TRAINING_CURVE_H_

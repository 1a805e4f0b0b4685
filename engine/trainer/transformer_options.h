// What can be chosen about kind "transformer".
#ifndef SWIFTLET_ENGINE_TRAINER_TRANSFORMER_OPTIONS_H_
#define SWIFTLET_ENGINE_TRAINER_TRANSFORMER_OPTIONS_H_

#include <cstdint>
#include <string>

namespace swiftlet {

// Zeros (and negative numbers where 0 means something) leave a choice to the data; see ChooseShape in
// transformer_model.h.
struct TransformerOptions {
  uint32_t blocks = 0;
  uint32_t heads = 1;         // a divisor of the dimension
  uint32_t feed_forward = 4;  // hidden floats of the feed-forward layers, for each float of a vector
  uint32_t max_length = 0;    // newest events that are looked at
  float dropout = -1;
  bool separate_tables = false;  // one table of items for what goes in and another for what comes out
  float learning_rate = 0.001f;
  std::string loss = "softmax";  // or "gbce"
  uint32_t num_negatives = 256;
  double popular_share = 0;  // of the negatives, drawn by popularity
  double correction = -1;    // logQ, see LossOptions; 0: none, negative: by the data
  // The model is a running mean of the parameters; the share that the mean keeps at each step. 0: none.
  float average_decay = 0.998f;
  uint32_t batch_users = 0;
  uint32_t batch_pieces = 0;  // threads that can share a batch; 0: one for each thread, but at least 2
  uint32_t max_epochs = 200;
  uint32_t patience = 25;
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_TRAINER_TRANSFORMER_OPTIONS_H_

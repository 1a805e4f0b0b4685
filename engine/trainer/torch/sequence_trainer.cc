#include "engine/trainer/torch/sequence_trainer.h"

#include <malloc.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/memory_limit.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/matrix.h"
#include "engine/trainer/metrics.h"
#include "engine/trainer/torch/blas.h"
#include "engine/trainer/torch/checkpoint.h"
#include "engine/trainer/torch/packed_batch.h"
#include "engine/trainer/torch/transformer_net.h"

namespace swiftlet {
namespace {

// Tables above this are updated only in the rows that a batch touched ("lazy" Adam): a step over all rows
// would cost more than the batch.
constexpr size_t kMaxDenseTable = 16u << 20;  // floats
constexpr size_t kRowsAtOnce = 8192;          // of an encoding pass

// The allocator hands buffers of this size back to the system by default, and every one of the next step's
// would be mapped and zeroed again: three quarters of the time of element-wise steps.
void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

std::string FingerprintOf(const SequenceData& data, std::span<const SequenceTarget> validation,
                          const SequenceFitOptions& o) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  const auto add = [&](const void* bytes, size_t size) { XXH3_64bits_update(state, bytes, size); };
  add(data.begin.data(), data.begin.size() * sizeof(size_t));
  add(data.items.data(), data.items.size() * sizeof(uint32_t));
  add(data.classes.data(), data.classes.size() * sizeof(uint32_t));
  add(data.is_target.data(), data.is_target.size());
  for (const SequenceTarget& t : validation) {
    add(&t.user, sizeof(t.user));
    add(t.items.data(), t.items.size() * sizeof(uint32_t));
  }
  const ItemFeatures& features = data.item_features;
  if (!features.empty()) {
    add(features.begin.data(), features.begin.size() * sizeof(size_t));
    add(features.features.data(), features.features.size() * sizeof(uint32_t));
  }
  const std::string text = absl::StrCat(
      data.num_items, " ", o.shape.num_classes, " ", o.shape.dim, " ", o.shape.blocks, " ", o.shape.heads,
      " ", o.shape.hidden, " ", o.shape.max_length, " ", o.shape.tied, " ", static_cast<int>(o.loss.kind),
      " ", o.loss.num_negatives, " ", o.loss.popular_share, " ", o.loss.correction, " ", o.loss.gbce_t, " ",
      o.dropout, " ", o.learning_rate, " ", o.beta1, " ", o.beta2, " ", o.weight_decay, " ", o.average_decay,
      " ", o.batch_users, " ", o.seed, " ", o.pieces);
  add(text.data(), text.size());
  const XXH64_hash_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return absl::StrCat(absl::Hex(hash, absl::kZeroPad16));
}

// What one thread needs for its piece of a batch.
struct Piece {
  std::vector<uint32_t> users;
  size_t num_rows = 0;
  PackedBatch batch;
  std::vector<float> gradient;   // as the parameters
  std::vector<uint8_t> touched;  // [items]
  LossScratch scratch;
  double loss = 0;
};

class Fit {
 public:
  Fit(const SequenceData& data, std::span<const SequenceTarget> validation, const SequenceFitOptions& options,
      ThreadPool* pool, Progress* progress)
      : data_(data),
        validation_(validation),
        o_(options),
        pool_(pool),
        progress_(progress),
        parameters_(TransformerParameters(options.shape)),
        tables_(FindTables(parameters_)),
        num_floats_(NumFloats(parameters_)),
        num_others_(std::min(num_floats_, tables_.features)),
        batches_of_move_(
            data.item_features.empty() ? 1 : BatchesOfOneMove(data.item_features, options.shape.dim)),
        dense_(options.dense_tables.value_or(options.shape.num_items * options.shape.dim <= kMaxDenseTable)) {
    for (size_t u = 0; u < data.num_users(); ++u) {
      if (data.Length(u) < 2) continue;
      users_.push_back(static_cast<uint32_t>(u));
      const size_t end = data.begin[u + 1] - 1;
      for (size_t e = std::max(data.begin[u], end - std::min(end, options.shape.max_length)); e < end; ++e) {
        if (data.is_target[e + 1] != 0) targets_.push_back(data.items[e + 1]);
      }
    }
    pieces_.resize(std::max<size_t>(1, options.pieces));
    for (Piece& piece : pieces_) {
      piece.gradient.assign(num_floats_, 0.0f);
      piece.touched.assign(options.shape.num_items, 0);
    }
  }

  absl::StatusOr<SequenceModel> Run();

 private:
  absl::Status Begin();
  absl::Status Epoch(double* loss);
  void Step(std::span<const uint32_t> users);
  void RunPiece(size_t index, size_t num_targets);
  // What the batch's gradient says of items' features; with `move`, moves these, and the items with them.
  void UpdateFeatures(bool move);
  // Where only rows that a batch touched are updated: moves the mean of all items as that of their features
  // has moved since the last call.
  void MoveAverages();
  void Update(bool move_features);
  bool MovesFeatures() const;  // after the batch that is at hand
  absl::Status Save(bool now);
  SequenceModel Result();
  std::span<const float> Current() const { return s_.average.empty() ? s_.values : s_.average; }

  const SequenceData& data_;
  const std::span<const SequenceTarget> validation_;
  const SequenceFitOptions& o_;
  ThreadPool* const pool_;
  Progress* const progress_;
  const std::vector<Parameter> parameters_;
  const TableOffsets tables_;
  const size_t num_floats_;
  const size_t num_others_;       // parameters before those of items' features
  const size_t batches_of_move_;  // see BatchesOfOneMove
  const bool dense_;
  std::vector<uint32_t> users_, targets_;
  std::unique_ptr<NegativeSampler> sampler_;
  std::vector<Piece> pieces_;
  FitState s_;
  std::vector<float> moved_to_;  // the mean of the features when MoveAverages was last called
  std::vector<float> moves_;     // of features, for one call
  const AdamParameters adam_{.learning_rate = o_.learning_rate,
                             .beta1 = o_.beta1,
                             .beta2 = o_.beta2,
                             .weight_decay = o_.weight_decay};
  double earlier_seconds_ = 0, saved_at_ = 0;
  absl::Time begin_;
};

absl::Status Fit::Begin() {
  begin_ = absl::Now();
  sampler_ = std::make_unique<NegativeSampler>(o_.shape.num_items, targets_, o_.loss);
  s_.fingerprint = FingerprintOf(data_, validation_, o_);
  if (!o_.checkpoint.empty()) {
    absl::StatusOr<FitState> state = ReadCheckpoint(o_.checkpoint);
    if (state.ok()) {
      if (state->fingerprint != s_.fingerprint || state->values.size() != num_floats_) {
        return absl::FailedPreconditionError(
            absl::StrCat(o_.checkpoint, ": of a fit with other events or options (", state->fingerprint,
                         ", this one is ", s_.fingerprint, "): remove it, or give another directory"));
      }
      s_ = *std::move(state);
      if (!s_.average.empty())
        moved_to_.assign(s_.average.begin() + static_cast<ptrdiff_t>(num_others_), s_.average.end());
      earlier_seconds_ = saved_at_ = s_.seconds;
      progress_->Say(absl::StrFormat("%s: goes on after epoch %d (best: epoch %d, NDCG@10 %.4f)",
                                     o_.checkpoint, s_.epoch, s_.best_epoch, std::max(0.0, s_.best_ndcg)));
      return absl::OkStatus();
    }
    if (!absl::IsNotFound(state.status())) return state.status();
    std::error_code ignored;  // writing the file fails with a reason
    std::filesystem::create_directories(std::filesystem::path(o_.checkpoint).parent_path(), ignored);
  }
  s_.values = InitialParameters(parameters_, MixSeed(o_.seed, 1));
  s_.first.assign(num_floats_, 0.0f);
  s_.second.assign(num_floats_, 0.0f);
  if (o_.average_decay > 0) s_.average = s_.values;
  moved_to_.assign(num_floats_ - num_others_, 0.0f);
  return absl::OkStatus();
}

void Fit::RunPiece(size_t index, size_t num_targets) {
  Piece& piece = pieces_[index];
  piece.loss = 0;
  if (piece.users.empty()) return;
  const size_t dim = o_.shape.dim;
  const uint64_t seed = MixSeed(o_.seed, s_.step + 2, index);
  PackForTraining(data_, piece.users, o_.shape.max_length, &piece.batch);
  const DropoutMask mask{MixSeed(seed, 1), o_.dropout};
  const auto rows = static_cast<int64_t>(piece.batch.rows());
  torch::Tensor x = torch::empty({rows, static_cast<int64_t>(dim)});
  GatherEmbeddings(piece.batch, tables_, s_.values.data(), dim, mask, x.data_ptr<float>());
  x.requires_grad_(true);
  std::vector<torch::Tensor> inputs = BlockTensors(parameters_, s_.values.data(), true);
  TransformerPass pass;
  const torch::Tensor h =
      TransformerForward(o_.shape, inputs, x, piece.batch.begin, o_.dropout, MixSeed(seed, 2), &pass);
  torch::Tensor d_h = torch::empty_like(h);
  piece.loss = SampledLoss(o_.loss, *sampler_, h.data_ptr<float>(), piece.batch.targets,
                           s_.values.data() + tables_.output, o_.shape.num_items, dim, MixSeed(seed, 3),
                           1.0f / static_cast<float>(std::max<size_t>(1, num_targets)), d_h.data_ptr<float>(),
                           piece.gradient.data() + tables_.output, piece.touched.data(), &piece.scratch);
  inputs.push_back(x);
  const std::vector<torch::Tensor> gradients = torch::autograd::grad({h}, inputs, {d_h});
  size_t tensor = 0;
  for (const Parameter& p : parameters_) {
    if (p.name.find('.') == std::string::npos) continue;
    const torch::Tensor g = gradients[tensor++].contiguous();
    std::copy_n(g.data_ptr<float>(), p.size, piece.gradient.data() + p.offset);
  }
  torch::Tensor d_x = gradients.back().contiguous();
  ScatterEmbeddings(piece.batch, tables_, dim, mask, d_x.data_ptr<float>(), piece.gradient.data(),
                    piece.touched.data());
}

bool Fit::MovesFeatures() const {
  const uint64_t last = (users_.size() + o_.batch_users - 1) / o_.batch_users - 1;
  return s_.batch == last || (s_.batch + 1) % batches_of_move_ == 0;
}

void Fit::UpdateFeatures(bool move) {
  const ItemFeatures& features = data_.item_features;
  if (features.empty()) return;
  const size_t dim = o_.shape.dim, size = features.num_features * dim;
  const auto update = [&](size_t table, size_t of_features) {
    float* const gradient = pieces_[0].gradient.data() + of_features;
    for (size_t i = 0; i < o_.shape.num_items; ++i) {
      for (const Piece& piece : pieces_) {
        if (piece.touched[i] == 0) continue;
        AddToFeatures(features, i, std::span(&piece.gradient[table + i * dim], dim), gradient);
      }
    }
    if (!move) return;
    // Moves of an epoch are those after batches_of_move_ batches each, and one at its end.
    const uint64_t batches = (users_.size() + o_.batch_users - 1) / o_.batch_users;
    const uint64_t moves_of_epoch = (batches + batches_of_move_ - 1) / batches_of_move_;
    const uint64_t step = s_.epoch * moves_of_epoch + s_.batch / batches_of_move_ + 1;
    moves_.assign(s_.values.begin() + static_cast<ptrdiff_t>(of_features),
                  s_.values.begin() + static_cast<ptrdiff_t>(of_features + size));
    AdamStep(adam_, step, size, gradient, &s_.first[of_features], &s_.second[of_features],
             &s_.values[of_features]);
    for (size_t k = 0; k < size; ++k) moves_[k] = s_.values[of_features + k] - moves_[k];
    MoveItems(features, moves_, dim, pool_, s_.values.data() + table);
  };
  update(tables_.output, tables_.features);
  if (!o_.shape.tied) update(tables_.input, tables_.input_features);
  if (!dense_) return;
  for (Piece& piece : pieces_) std::fill(piece.touched.begin(), piece.touched.end(), uint8_t{0});
}

void Fit::MoveAverages() {
  const ItemFeatures& features = data_.item_features;
  if (features.empty() || dense_ || s_.average.empty()) return;
  const size_t dim = o_.shape.dim, size = features.num_features * dim;
  moves_.resize(num_floats_ - num_others_);
  for (size_t k = 0; k < moves_.size(); ++k) moves_[k] = s_.average[num_others_ + k] - moved_to_[k];
  const std::span<const float> all(moves_);
  MoveItems(features, all.first(size), dim, pool_, s_.average.data() + tables_.output);
  if (!o_.shape.tied) MoveItems(features, all.last(size), dim, pool_, s_.average.data() + tables_.input);
  moved_to_.assign(s_.average.begin() + static_cast<ptrdiff_t>(num_others_), s_.average.end());
}

// Sums the pieces' gradients in order, then one step of Adam.
void Fit::Update(bool move_features) {
  UpdateFeatures(move_features);
  // Early on, the mean of what there is: a fixed share would keep the random start for long.
  const float keep =
      std::min(o_.average_decay, static_cast<float>(s_.step) / static_cast<float>(s_.step + 9));
  const auto average = [&](size_t begin, size_t end) {
    if (s_.average.empty()) return;
    for (size_t i = begin; i < end; ++i) s_.average[i] += (1 - keep) * (s_.values[i] - s_.average[i]);
  };
  const size_t dim = o_.shape.dim, num_items = o_.shape.num_items;
  // The same of the own part of an item's row alone: MoveAverages moves what its features are of it.
  const auto average_own = [&](size_t item, size_t table, size_t of_features) {
    if (s_.average.empty()) return;
    const size_t row = table + item * dim;
    for (size_t k = 0; k < dim; ++k) {
      float of_others = 0;
      if (!data_.item_features.empty()) {
        for (const uint32_t f : data_.item_features.Of(item)) {
          const size_t a = of_features + f * dim + k;
          of_others += s_.values[a] - moved_to_[a - num_others_];
        }
      }
      s_.average[row + k] += (1 - keep) * (s_.values[row + k] - of_others - s_.average[row + k]);
    }
  };
  const auto update = [&](size_t begin, size_t end) {
    float* const total = pieces_[0].gradient.data();
    for (size_t p = 1; p < pieces_.size(); ++p) {
      float* const part = pieces_[p].gradient.data();
      for (size_t i = begin; i < end; ++i) {
        total[i] += part[i];
        part[i] = 0;
      }
    }
    AdamStep(adam_, s_.step, end - begin, total + begin, &s_.first[begin], &s_.second[begin],
             &s_.values[begin]);
  };
  size_t dense_begin = 0;
  if (!dense_) {
    ForPieces(pool_, num_items, 4096, [&](size_t begin, size_t end, size_t) {
      const auto update_row = [&](size_t item, size_t table, size_t of_features) {
        update(table + item * dim, table + (item + 1) * dim);
        average_own(item, table, of_features);
      };
      for (size_t i = begin; i < end; ++i) {
        bool touched = false;
        for (Piece& piece : pieces_) {
          touched |= piece.touched[i] != 0;
          piece.touched[i] = 0;
        }
        if (!touched) continue;
        update_row(i, tables_.output, tables_.features);
        if (!o_.shape.tied) update_row(i, tables_.input, tables_.input_features);
      }
    });
    dense_begin = tables_.position;
  }
  ForPieces(pool_, num_others_ - dense_begin, 1 << 16, [&](size_t begin, size_t end, size_t) {
    update(dense_begin + begin, dense_begin + end);
    average(dense_begin + begin, dense_begin + end);
  });
  average(num_others_, num_floats_);
  if (move_features) MoveAverages();
}

void Fit::Step(std::span<const uint32_t> users) {
  // Longest first, each to the piece with the fewest rows.
  std::vector<uint32_t> order(users.begin(), users.end());
  const auto rows = [&](uint32_t u) { return std::min(data_.Length(u) - 1, o_.shape.max_length); };
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return rows(a) != rows(b) ? rows(a) > rows(b) : a < b; });
  for (Piece& piece : pieces_) {
    piece.users.clear();
    piece.num_rows = 0;
  }
  size_t num_targets = 0;
  for (const uint32_t u : order) {
    Piece* least = &pieces_[0];
    for (Piece& piece : pieces_) {
      if (piece.num_rows < least->num_rows) least = &piece;
    }
    least->users.push_back(u);
    least->num_rows += rows(u);
    const size_t end = data_.begin[u + 1];
    for (size_t e = end - rows(u); e < end; ++e) num_targets += data_.is_target[e] != 0 ? 1 : 0;
  }
  ForPieces(pool_, pieces_.size(), 1, [&](size_t begin, size_t end, size_t) {
    for (size_t p = begin; p < end; ++p) RunPiece(p, num_targets);
  });
  ++s_.step;
  Update(MovesFeatures());
}

absl::Status Fit::Epoch(double* loss) {
  std::vector<uint32_t> order = users_;
  std::mt19937_64 random(MixSeed(o_.seed, 2, s_.epoch));
  std::shuffle(order.begin(), order.end(), random);
  for (size_t begin = s_.batch * o_.batch_users; begin < order.size(); begin += o_.batch_users) {
    // What features have summed up is not kept in a file: nothing is while there is some.
    const bool is_whole = s_.batch % batches_of_move_ == 0;
    if (const absl::Status interrupted = is_whole ? CheckInterrupted() : absl::OkStatus();
        !interrupted.ok()) {
      SWIFTLET_RETURN_IF_ERROR(Save(/*now=*/true));
      return interrupted;
    }
    Step(std::span(order).subspan(begin, std::min(o_.batch_users, order.size() - begin)));
    ++s_.batch;
    for (const Piece& piece : pieces_) s_.loss_sum += piece.loss;
    if (o_.checkpoint_seconds > 0 && s_.batch % batches_of_move_ == 0)
      SWIFTLET_RETURN_IF_ERROR(Save(/*now=*/false));
  }
  *loss = s_.loss_sum / static_cast<double>(std::max<size_t>(1, targets_.size()));
  s_.batch = 0;
  s_.loss_sum = 0;
  return absl::OkStatus();
}

absl::Status Fit::Save(bool now) {
  s_.seconds = earlier_seconds_ + absl::ToDoubleSeconds(absl::Now() - begin_);
  if (o_.checkpoint.empty()) return absl::OkStatus();
  if (!now && s_.seconds - saved_at_ < o_.checkpoint_seconds) return absl::OkStatus();
  saved_at_ = s_.seconds;
  SWIFTLET_RETURN_IF_ERROR(WriteCheckpoint(o_.checkpoint, s_));
  return WriteCurve(o_.checkpoint + ".csv", s_.curve);
}

SequenceModel Fit::Result() {
  SequenceModel model{
      .shape = o_.shape, .values = {}, .epochs = s_.epoch, .validation_ndcg = 0, .curve = s_.curve};
  if (!s_.best.empty()) {
    model.values = s_.best;
    model.epochs = s_.best_epoch;
    model.validation_ndcg = s_.best_ndcg;
  } else {
    model.values.assign(Current().begin(), Current().end());
  }
  return model;
}

absl::StatusOr<SequenceModel> Fit::Run() {
  SWIFTLET_RETURN_IF_ERROR(Begin());
  // The time left is reckoned from this run's epochs.
  const uint32_t first = s_.epoch;
  progress_->Begin("transformer", int64_t{o_.max_epochs} - first);
  const auto done = [&] {
    return s_.epoch >= o_.max_epochs || (!validation_.empty() && s_.epoch >= s_.best_epoch + o_.patience);
  };
  while (!done()) {
    const absl::Time epoch_begin = absl::Now();
    EpochRecord record;
    SWIFTLET_RETURN_IF_ERROR(Epoch(&record.loss));
    if (!std::isfinite(record.loss)) {
      return absl::InternalError(absl::StrCat("transformer: epoch ", s_.epoch + 1, " has a loss of ",
                                              record.loss, ": give a smaller learning rate"));
    }
    const absl::Time trained = absl::Now();
    record.epoch = ++s_.epoch;
    std::string detail = absl::StrFormat("epoch %d  loss %.4f", s_.epoch, record.loss);
    if (!validation_.empty()) {
      record.validation_ndcg = SequenceNdcg(o_.shape, Current(), data_, validation_, pool_);
      if (record.validation_ndcg > s_.best_ndcg) {
        s_.best_ndcg = record.validation_ndcg;
        s_.best_epoch = s_.epoch;
        s_.best.assign(Current().begin(), Current().end());
      }
      absl::StrAppend(&detail, absl::StrFormat("  NDCG@10 %.4f (best %.4f, epoch %d)", record.validation_ndcg,
                                               s_.best_ndcg, s_.best_epoch));
    }
    absl::StrAppend(&detail,
                    absl::StrFormat("  %.1f+%.1f s/epoch", absl::ToDoubleSeconds(trained - epoch_begin),
                                    absl::ToDoubleSeconds(absl::Now() - trained)));
    record.seconds = earlier_seconds_ + absl::ToDoubleSeconds(absl::Now() - begin_);
    s_.curve.push_back(record);
    progress_->Step(s_.epoch - first, detail);
    SWIFTLET_RETURN_IF_ERROR(Save(done()));
  }
  progress_->End();
  return Result();
}

}  // namespace

uint64_t SequenceFitBytes(const SequenceData& data, const SequenceFitOptions& o) {
  const uint64_t floats = NumFloats(TransformerParameters(o.shape));
  // Values, moments, best, mean and one gradient for each piece.
  uint64_t bytes = floats * 4 * (4 + (o.average_decay > 0 ? 1 : 0) + std::max<size_t>(1, o.pieces));
  // What features moved by and were moved to, and which items have.
  const uint64_t feature_floats = uint64_t{o.shape.num_features} * o.shape.dim * (o.shape.tied ? 1 : 2);
  bytes +=
      2 * feature_floats * 4 + data.item_features.features.size() * 4 + data.item_features.begin.size() * 8;
  // Activations of a whole batch: about 14 vectors and 7 of the feed-forward layers a block and row, and the
  // attention weights twice.
  uint64_t longest = 0;
  for (size_t u = 0; u < data.num_users(); ++u) longest = std::max<uint64_t>(longest, data.Length(u));
  longest = std::min<uint64_t>(longest, o.shape.max_length);
  const uint64_t rows = longest * o.batch_users;
  bytes += rows * o.shape.blocks * 4 * (14 * o.shape.dim + 7 * o.shape.hidden + 2 * longest * o.shape.heads);
  bytes += uint64_t{o.shape.num_items} * 512 * 4;  // scores of a validation pass
  return bytes;
}

std::vector<float> EncodeSequences(const SequenceShape& shape, std::span<const float> values,
                                   const SequenceData& data, std::span<const uint32_t> users,
                                   ThreadPool* pool) {
  const std::vector<Parameter> parameters = TransformerParameters(shape);
  const TableOffsets tables = FindTables(parameters);
  // Passes of a bounded number of rows.
  std::vector<size_t> passes = {0};
  size_t rows = 0;
  for (size_t i = 0; i < users.size(); ++i) {
    const size_t length = std::min(data.Length(users[i]), shape.max_length);
    if (rows > 0 && rows + length > kRowsAtOnce) {
      passes.push_back(i);
      rows = 0;
    }
    rows += length;
  }
  passes.push_back(users.size());
  std::vector<float> vectors(users.size() * shape.dim);
  ForPieces(pool, passes.size() - 1, 1, [&](size_t first, size_t last, size_t) {
    const torch::NoGradGuard no_gradients;
    // The tensors are only read.
    const std::vector<torch::Tensor> blocks =
        BlockTensors(parameters, const_cast<float*>(values.data()), false);
    PackedBatch batch;
    for (size_t p = first; p < last; ++p) {
      const auto part = users.subspan(passes[p], passes[p + 1] - passes[p]);
      PackForEncoding(data, part, shape.max_length, &batch);
      if (batch.rows() == 0) continue;
      torch::Tensor x = torch::empty({static_cast<int64_t>(batch.rows()), static_cast<int64_t>(shape.dim)});
      GatherEmbeddings(batch, tables, values.data(), shape.dim, {}, x.data_ptr<float>());
      TransformerPass pass;
      const torch::Tensor h = TransformerForward(shape, blocks, x, batch.begin, 0, 0, &pass).contiguous();
      for (size_t i = 0; i < part.size(); ++i) {
        std::copy_n(h.data_ptr<float>() + (batch.begin[i + 1] - 1) * shape.dim, shape.dim,
                    &vectors[(passes[p] + i) * shape.dim]);
      }
    }
  });
  return vectors;
}

double SequenceNdcg(const SequenceShape& shape, std::span<const float> values, const SequenceData& data,
                    std::span<const SequenceTarget> targets, ThreadPool* pool) {
  if (targets.empty()) return 0;
  std::vector<uint32_t> users;
  for (const SequenceTarget& t : targets) users.push_back(t.user);
  const std::vector<float> vectors = EncodeSequences(shape, values, data, users, pool);
  const float* const table = values.data() + FindTables(TransformerParameters(shape)).output;
  constexpr size_t kUsersAtOnce = 128;
  std::vector<double> gains(targets.size(), 0.0);
  ForPieces(pool, targets.size(), kUsersAtOnce, [&](size_t begin, size_t end, size_t) {
    std::vector<float> scores((end - begin) * shape.num_items);
    Gemm(end - begin, shape.num_items, shape.dim, 1, {&vectors[begin * shape.dim], shape.dim},
         {table, shape.dim, true}, 0, scores.data(), shape.num_items);
    for (size_t t = begin; t < end; ++t) {
      float* const row = &scores[(t - begin) * shape.num_items];
      const uint32_t user = targets[t].user;
      for (size_t e = data.begin[user]; e < data.begin[user + 1]; ++e) row[data.items[e]] = -INFINITY;
      double gain = 0;
      for (const uint32_t item : targets[t].items) {
        const float score = row[item];
        // 32 bits wide, as the scores are: four at a time on any machine.
        uint32_t better = 0;
        for (size_t i = 0; i < shape.num_items; ++i) better += row[i] > score ? 1u : 0u;
        if (better < 10) gain += RankGain(better);
      }
      gains[t] = gain / IdealDcg(targets[t].items.size(), 10);
    }
  });
  return std::accumulate(gains.begin(), gains.end(), 0.0) / static_cast<double>(targets.size());
}

absl::StatusOr<SequenceModel> FitSequenceModel(const SequenceData& data,
                                               std::span<const SequenceTarget> validation,
                                               const SequenceFitOptions& options, ThreadPool* pool,
                                               Progress* progress) {
  const SequenceShape& shape = options.shape;
  if (shape.num_items == 0 || shape.dim == 0 || shape.heads == 0 || shape.dim % shape.heads != 0 ||
      shape.max_length == 0) {
    return absl::InvalidArgumentError(absl::StrCat("transformer: dim ", shape.dim, ", ", shape.heads,
                                                   " heads, length ", shape.max_length, ", ", shape.num_items,
                                                   " items"));
  }
  const uint64_t bytes = SequenceFitBytes(data, options);
  const uint64_t memory = options.memory_limit > 0 ? options.memory_limit : MemoryLimit();
  progress->Say(absl::StrFormat(
      "transformer: %d blocks of dim %d, %d items, newest %d events, %s floats; at most %.1f GB of %.1f GB",
      shape.blocks, shape.dim, shape.num_items, shape.max_length,
      WithCommas(NumFloats(TransformerParameters(shape))), static_cast<double>(bytes) / 1e9,
      static_cast<double>(memory) / 1e9));
  if (bytes > memory) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "transformer: this does not fit into memory: give a smaller --dim, --batch-users or --max-length",
        shape.num_features > 0 ? ", or --no-item-features" : ""));
  }
  KeepFreedMemory();
  UseOneBlasThread();
  at::set_num_threads(1);  // threads work on pieces of a batch side by side instead
  return Fit(data, validation, options, pool, progress).Run();
}

}  // namespace swiftlet

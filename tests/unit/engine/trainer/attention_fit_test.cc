#include "engine/trainer/attention_fit.h"

#include <functional>

#include "engine/encoders/attention.h"
#include "engine/trainer/attention_gradient.h"
#include "engine/trainer/stale_prefixes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using trainer_testing::CyclicData;
using trainer_testing::kDislike;
using trainer_testing::kView;

// Random parameters over a small data set with a negative class, and examples of all its events.
struct Fixture {
  explicit Fixture(Dataset d) : data(std::move(d)) {
    classes = MakeEventClasses(data, {});
    for (const TrainingEvent& e : data.events)
      event_classes.push_back(ClassOfEvent(classes, e.type, e.value));
    options.max_events = 4;
    examples = MakeExamples(data, classes, {}, options);
    const Eigen::Index n = static_cast<Eigen::Index>(data.num_items()), dim = 5;
    std::srand(17);  // of Eigen's Random
    long_term = MatrixF::Random(static_cast<Eigen::Index>(examples.size()), dim);
    model.items = MatrixF::Random(n, dim);
    model.inputs = MatrixF::Random(n, dim);
    model.bias = VectorF::Random(n);
    model.item_logits = VectorF::Random(n);
    model.class_logits = VectorF::Random(static_cast<Eigen::Index>(classes.size()));
    model.class_signs.resize(static_cast<Eigen::Index>(classes.size()));
    for (size_t c = 0; c < classes.size(); ++c) model.class_signs[c] = classes[c].sign;
    model.position_logits = VectorF::Random(3);  // fewer than max_events: older ones share the last
    model.recency_logits = VectorF::Random(kNumRecencyBuckets);
    model.long_term_logit = 0.3f;
    model.long_term_scale = 1.7f;
  }
  FitInput Input() const { return {&data, event_classes, examples, &long_term}; }

  Dataset data;
  std::vector<EventClass> classes;
  std::vector<uint32_t> event_classes;
  AttentionFitOptions options;
  std::vector<FitExample> examples;
  MatrixF long_term;
  AttentionModel model;
};

Dataset MixedData() {
  DatasetBuilder builder(EventTypeTable::Default());
  for (int u = 0; u < 4; ++u) {
    for (int e = 0; e < 7; ++e) {
      builder.AddEvent(absl::StrCat("u", u), absl::StrCat("i", (u * 3 + e * e) % 11),
                       e % 3 == 1 ? kDislike : kView, 0, int64_t{1} << (4 * e));
    }
  }
  return *builder.Build();
}

TEST(AttentionFitTest, GradientAgreesWithFiniteDifferences) {
  Fixture f(MixedData());
  std::vector<size_t> batch(f.examples.size());
  for (size_t e = 0; e < batch.size(); ++e) batch[e] = e;
  const std::vector<uint32_t> negatives = {0, 2, 3, 5, 7, 8};
  AttentionGradient gradient;
  AttentionLoss(f.model, f.Input(), batch, negatives, 4, &gradient);

  const auto check = [&](const std::string& name, float* parameter, float analytic) {
    constexpr float kStep = 4e-3f;
    const float before = *parameter;
    *parameter = before + kStep;
    const double up = AttentionLoss(f.model, f.Input(), batch, negatives, 4, nullptr);
    *parameter = before - kStep;
    const double down = AttentionLoss(f.model, f.Input(), batch, negatives, 4, nullptr);
    *parameter = before;
    // The loss is a float32 computation: its rounding over 2 kStep, plus the third-order term.
    EXPECT_NEAR((up - down) / (2 * kStep), analytic, 5e-4) << name;
  };
  double largest = 0;
  for (Eigen::Index i = 0; i < f.model.items.size(); ++i) {
    check(absl::StrCat("items ", i), f.model.items.data() + i, gradient.items.data()[i]);
    check(absl::StrCat("inputs ", i), f.model.inputs.data() + i, gradient.inputs.data()[i]);
    largest = std::max<double>(largest, std::fabs(gradient.inputs.data()[i]));
  }
  EXPECT_GT(largest, 0.01);  // the tolerance means something
  for (Eigen::Index i = 0; i < f.model.bias.size(); ++i) {
    check(absl::StrCat("bias ", i), f.model.bias.data() + i, gradient.bias[i]);
    check(absl::StrCat("item logit ", i), f.model.item_logits.data() + i, gradient.item_logits[i]);
  }
  for (Eigen::Index i = 0; i < f.model.class_logits.size(); ++i) {
    check(absl::StrCat("class ", i), f.model.class_logits.data() + i, gradient.class_logits[i]);
  }
  for (Eigen::Index i = 0; i < f.model.position_logits.size(); ++i) {
    check(absl::StrCat("position ", i), f.model.position_logits.data() + i, gradient.position_logits[i]);
  }
  for (Eigen::Index i = 0; i < f.model.recency_logits.size(); ++i) {
    check(absl::StrCat("recency ", i), f.model.recency_logits.data() + i, gradient.recency_logits[i]);
  }
  check("long-term logit", &f.model.long_term_logit, gradient.long_term_logit);
  check("long-term scale", &f.model.long_term_scale, gradient.long_term_scale);
}

TEST(AttentionFitTest, ForwardPassIsTheServingEncoders) {
  Fixture f(MixedData());
  const uint32_t dim = static_cast<uint32_t>(f.model.items.cols());
  const std::vector<float> signs(f.model.class_signs.begin(), f.model.class_signs.end());
  const AttentionEncoder encoder({.class_logits = {f.model.class_logits.data(), f.classes.size()},
                                  .class_signs = signs,
                                  .position_logits = {f.model.position_logits.data(), 3},
                                  .recency_logits = {f.model.recency_logits.data(), kNumRecencyBuckets},
                                  .long_term_logit = f.model.long_term_logit,
                                  .max_events = 4});
  std::vector<internal::FitSlot> fit_slots;
  VectorF q(dim), scaled(dim);
  for (size_t e = 0; e < f.examples.size(); ++e) {
    internal::CollectSlots(f.Input(), f.examples[e], 4, f.model, &fit_slots);
    internal::ForwardAttention(f.model, f.long_term.row(e).data(), &fit_slots, q.data());
    std::vector<EncoderSlot> slots;
    const size_t last = f.examples[e].event - 1;
    for (uint32_t position = 0; position < fit_slots.size(); ++position) {
      const TrainingEvent& event = f.data.events[last - position];
      slots.push_back({.kind = SlotKind::kEvent,
                       .event_class = f.event_classes[last - position],
                       .position = position,
                       .age_ms = f.data.events[last].timestamp_ms - event.timestamp_ms,
                       .item_logit = f.model.item_logits[event.item],
                       .vector = f.model.inputs.row(event.item).data()});
    }
    scaled = f.long_term.row(e).transpose() * f.model.long_term_scale;
    slots.push_back({.kind = SlotKind::kLongTerm, .vector = scaled.data()});
    std::vector<float> user(dim), weights(slots.size()), slot_signs(slots.size());
    EncoderScratch scratch;
    encoder.Encode(slots, scratch, user, weights, slot_signs);
    for (uint32_t d = 0; d < dim; ++d) EXPECT_NEAR(user[d], q[d], 1e-5) << "example " << e;
  }
}

TEST(AttentionFitTest, ExamplesLeaveOutFirstMarkedNegativeAndRepeatedEvents) {
  const Dataset data = MixedData();
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  std::vector<bool> skip(data.events.size(), false);
  skip[data.user_begin[1] - 2] = true;  // event 5 of user 0
  AttentionFitOptions options;
  const std::vector<FitExample> examples = MakeExamples(data, classes, skip, options);
  for (const FitExample& e : examples) {
    EXPECT_GT(e.event, data.user_begin[e.user]);
    EXPECT_LT(e.event, data.user_begin[e.user + 1]);
    EXPECT_FALSE(skip[e.event]);
    EXPECT_NE(data.events[e.event].type, kDislike);
    for (size_t earlier = data.user_begin[e.user]; earlier < e.event; ++earlier) {
      EXPECT_NE(data.events[earlier].item, data.events[e.event].item);
    }
  }
  // Events 2, 3 and 5 of each of four users, but for one marked; 6 is of the item of 5.
  EXPECT_EQ(examples.size(), 4u * 3 - 1);
  options.max_examples = 7;
  EXPECT_LE(MakeExamples(data, classes, skip, options).size(), 7u);
}

TEST(AttentionFitTest, PrefixFoldInUsesOnlyEventsBeforeTheTarget) {
  const Dataset data = CyclicData(6, 2, 9, 6, 1);
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  const MatrixF items = MatrixF::Random(static_cast<Eigen::Index>(data.num_items()), 4);
  AlsOptions als{
      .dim = 4, .lambda = 0.1f, .alpha0 = 0.3f, .nu = 0};  // nu 0: regularisation without the count
  AttentionFitOptions options;
  const std::vector<FitExample> examples = MakeExamples(data, classes, {}, options);
  const MatrixF folded = FoldInPrefixes(data, classes, items, als, examples, nullptr);
  for (size_t e = 0; e < examples.size(); ++e) {
    // The same by marking everything from the target on and solving.
    std::vector<bool> skip(data.events.size(), true);
    for (size_t k = data.user_begin[examples[e].user]; k < examples[e].event; ++k) skip[k] = false;
    MatrixF users;
    SolveAlsSide(MakePositives(data, classes, skip), items, als, nullptr, &users);
    EXPECT_LT((users.row(examples[e].user) - folded.row(e)).norm(), 1e-4) << "example " << e;
  }
}

TEST(AttentionFitTest, AStalePrefixLacksTheNewestEvents) {
  const Dataset data = CyclicData(6, 2, 9, 6, 1);
  const std::vector<EventClass> classes = MakeEventClasses(data, {});
  const MatrixF items = MatrixF::Random(static_cast<Eigen::Index>(data.num_items()), 4);
  AlsOptions als{.dim = 4, .lambda = 0.1f, .alpha0 = 0.3f, .nu = 0};
  const std::vector<FitExample> examples = MakeExamples(data, classes, {}, {});
  const MatrixF fresh = FoldInPrefixes(data, classes, items, als, examples, nullptr);
  std::vector<uint32_t> staleness(examples.size());
  for (size_t e = 0; e < examples.size(); ++e) staleness[e] = (e * 7) % 4;
  const MatrixF stale = FoldInStalePrefixes(data, classes, items, als, examples, staleness, nullptr);
  size_t compared = 0;
  for (size_t e = 0; e < examples.size(); ++e) {
    // What the example of the earlier event sees; the first event is always there.
    const size_t first = data.user_begin[examples[e].user] + 1;
    const size_t event = std::max(first + staleness[e], examples[e].event) - staleness[e];
    for (size_t other = 0; other < examples.size(); ++other) {
      if (examples[other].user != examples[e].user || examples[other].event != event) continue;
      EXPECT_LT((stale.row(e) - fresh.row(other)).norm(), 1e-5) << "example " << e;
      ++compared;
    }
  }
  EXPECT_EQ(compared, examples.size());
}

TEST(AttentionFitTest, StalenessIsOfItsMeanAndAFunctionOfTheSeed) {
  const std::vector<uint32_t> drawn = DrawStaleness(20'000, 1.5, 3);
  double sum = 0;
  for (const uint32_t s : drawn) sum += s;
  EXPECT_NEAR(sum / 20'000, 1.5, 0.08);  // of a standard deviation of .014
  EXPECT_EQ(drawn, DrawStaleness(20'000, 1.5, 3));
  EXPECT_NE(drawn, DrawStaleness(20'000, 1.5, 4));
  EXPECT_EQ(DrawStaleness(3, 0, 1), std::vector<uint32_t>({0, 0, 0}));
}

TEST(AttentionFitTest, GradientsUnderDropoutAreThoseOfTheLossUnderTheSameDropout) {
  Fixture f(MixedData());
  const std::vector<uint32_t> negatives = {0, 2, 3, 5, 7, 8};
  std::vector<size_t> batch(f.examples.size());
  for (size_t e = 0; e < batch.size(); ++e) batch[e] = e;
  const auto compute = [&](const internal::FitDropout& dropout, internal::PieceGradient* piece) {
    internal::GradientScratch scratch;
    const internal::NegativeSample sample = internal::GatherNegatives(f.model, negatives);
    internal::ComputePiece(f.model, f.Input(), batch, {}, dropout, sample, 4, 1, &scratch, piece);
    return piece->loss;
  };
  const internal::FitDropout dropout{.events = 0.4f, .values = 0.4f, .seed = 5};
  internal::PieceGradient piece, other;
  const double loss = compute(dropout, &piece);
  EXPECT_EQ(compute(dropout, &other), loss);
  EXPECT_NE(compute({.events = 0.4f, .values = 0.4f, .seed = 6}, &other), loss);
  EXPECT_LT(piece.slots.size(), 0.8 * static_cast<double>((compute({}, &other), other.slots.size())));
  EXPECT_GT((piece.q.array() == 0).count(), 0.2 * static_cast<double>(piece.q.size()));
  for (size_t e = 0; e < batch.size(); ++e) EXPECT_GT(piece.slot_begin[e + 1], piece.slot_begin[e]);
  MatrixF d_inputs = MatrixF::Zero(f.model.inputs.rows(), f.model.inputs.cols());
  for (size_t e = 0; e < batch.size(); ++e) {
    for (size_t k = piece.slot_begin[e]; k < piece.slot_begin[e + 1]; ++k) {
      const internal::FitSlot& s = piece.slots[k];
      d_inputs.row(s.item) += (s.weight * s.sign) * piece.dq.row(static_cast<Eigen::Index>(e));
    }
  }
  EXPECT_GT(d_inputs.cwiseAbs().maxCoeff(), 0.05);  // the tolerance means something
  constexpr float kStep = 4e-3f;
  for (Eigen::Index i = 0; i < d_inputs.size(); ++i) {
    float& value = f.model.inputs.data()[i];
    const float before = value;
    value = before + kStep;
    const double up = compute(dropout, &other);
    value = before - kStep;
    const double down = compute(dropout, &other);
    value = before;
    EXPECT_NEAR((up - down) / (2 * kStep), d_inputs.data()[i], 5e-3) << "input " << i;
  }
}

// With nearly all kept, the mean stays at the start; and it is the parameters' own where nothing is.
TEST(AttentionFitTest, TheMeanOfTheParametersIsWhatIsValidatedAndReturned) {
  const auto fit = [](float decay, FitResult* result) {
    Fixture f(CyclicData(60, 3, 12, 8, 9));
    f.options.max_epochs = 3;
    f.options.batch_size = 16;
    f.options.average_decay = decay;
    Progress silent(nullptr);
    *result = *FitAttention(f.Input(), {}, f.options, nullptr, &silent, &f.model);
    return f.model;
  };
  FitResult result;
  const AttentionModel plain = fit(0, &result), slow = fit(0.99999f, &result), quick = fit(1e-6f, &result);
  const AttentionModel start = Fixture(CyclicData(60, 3, 12, 8, 9)).model;
  const double moved = (plain.inputs - start.inputs).norm();
  EXPECT_GT(moved, 0.1);
  EXPECT_LT((slow.inputs - start.inputs).norm(), 0.05 * moved);
  EXPECT_LT((quick.inputs - plain.inputs).norm(), 0.5 * moved);
  EXPECT_LT((quick.items - plain.items).norm(), (slow.items - plain.items).norm());
}

TEST(AttentionFitTest, TheMeanOfAnEpochOfFewStepsIsNotTheStart) {
  Fixture f(CyclicData(60, 3, 12, 8, 9));
  f.options.max_epochs = 1;
  f.options.average_decay = 0.5f;
  AttentionModel plain = f.model, mean = f.model;
  Progress silent(nullptr);
  ASSERT_TRUE(FitAttention(f.Input(), {}, f.options, nullptr, &silent, &mean).ok());
  f.options.average_decay = 0;
  ASSERT_TRUE(FitAttention(f.Input(), {}, f.options, nullptr, &silent, &plain).ok());
  const auto steps = (f.Input().examples.size() + f.options.batch_size - 1) / f.options.batch_size;
  ASSERT_LT(steps, 8u);
  const auto moved = static_cast<float>(1 - std::pow(0.5, steps));
  EXPECT_TRUE(mean.inputs.isApprox(f.model.inputs + moved * (plain.inputs - f.model.inputs), 1e-5f));
  EXPECT_GT((mean.inputs - f.model.inputs).norm(), 0);
}

TEST(AttentionFitTest, LearnsTheNextItemAndIsTheSameWithAnyNumberOfThreads) {
  Fixture f(CyclicData(60, 3, 12, 8, 9));
  f.options.max_epochs = 12;
  f.options.learning_rate = 0.05f;
  f.options.batch_size = 128;
  f.options.num_negatives = 20;
  const double before = ValidationNdcg(f.model, f.Input(), 4, nullptr);
  AttentionModel alone = f.model, together = f.model;
  Progress silent(nullptr);
  ThreadPool pool(3);
  ASSERT_TRUE(FitAttention(f.Input(), {}, f.options, nullptr, &silent, &alone).ok());
  ASSERT_TRUE(FitAttention(f.Input(), {}, f.options, &pool, &silent, &together).ok());
  EXPECT_EQ(alone.items, together.items);
  EXPECT_EQ(alone.inputs, together.inputs);
  EXPECT_EQ(alone.position_logits, together.position_logits);
  EXPECT_GT(ValidationNdcg(alone, f.Input(), 4, nullptr), before + 0.2);
  // The newest event tells the next one: it must have become the heaviest.
  EXPECT_GT(alone.position_logits[0], alone.position_logits[1]);
  EXPECT_GT(alone.position_logits[0], alone.position_logits[2]);
}

TEST(AttentionFitTest, EarlyStoppingKeepsTheBestEpoch) {
  Fixture f(CyclicData(40, 3, 12, 6, 9));
  f.options.max_epochs = 20;
  f.options.learning_rate = 0.05f;
  f.options.num_negatives = 20;
  Progress silent(nullptr);
  const FitResult result = *FitAttention(f.Input(), f.Input(), f.options, nullptr, &silent, &f.model);
  EXPECT_GE(result.epochs, 1u);
  EXPECT_DOUBLE_EQ(result.validation_ndcg, ValidationNdcg(f.model, f.Input(), f.options.max_events, nullptr));
}

}  // namespace
}  // namespace swiftlet

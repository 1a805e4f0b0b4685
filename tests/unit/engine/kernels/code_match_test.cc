#include "engine/kernels/code_match.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "engine/base/aligned_vector.h"
#include "engine/kernels/linear_bound.h"
#include "tests/unit/engine/kernels/each_cpu_target.h"

namespace swiftlet {
namespace {

class CodeMatchTest : public EachCpuTarget {
 protected:
  void TearDown() override {
    AllowVnni(true);
    EachCpuTarget::TearDown();
  }
};
SWIFTLET_FOR_EACH_CPU_TARGET(CodeMatchTest);

struct Section {
  AlignedVector<uint8_t> codes;
  std::vector<int8_t> query;
  CodeSection section;
};

Section MakeSection(size_t groups, size_t quads, bool extreme, std::mt19937& random) {
  Section s;
  s.codes.resize(groups * quads * 64);
  for (uint8_t& c : s.codes) c = static_cast<uint8_t>(extreme ? 255 : random());
  s.query.resize(quads * 4);
  for (int8_t& q : s.query)
    q = static_cast<int8_t>(extreme ? 127 - 255 * static_cast<int>(random() % 2) : random());
  s.section = {.codes = s.codes.data(), .query = s.query.data(), .quads = quads};
  return s;
}

int32_t Sum(const CodeSection& s, size_t group, size_t row) {
  int32_t sum = 0;
  for (size_t j = 0; j < s.quads; ++j) {
    for (size_t c = 0; c < 4; ++c)
      sum += s.codes[((group * s.quads + j) * 16 + row) * 4 + c] * s.query[j * 4 + c];
  }
  return sum;
}

void ExpectMatchesAgreeWithScalar(std::mt19937& random) {
  for (int round = 0; round < 300; ++round) {
    const size_t num_groups = 1 + random() % 30;
    // Four quads have a kernel of their own.
    const size_t quads = round % 3 == 0 ? 4 : 1 + random() % 9;
    const Section s = MakeSection(num_groups, quads, round % 10 == 0, random);
    std::vector<uint32_t> groups(random() % 40);
    for (uint32_t& g : groups) g = static_cast<uint32_t>(random() % num_groups);
    std::vector<int32_t> limits;
    std::vector<uint16_t> want, got(groups.size() + 1, 0xBEEF);
    for (const uint32_t g : groups) {
      // The sum of one of the rows: equality must count.
      int32_t limit = Sum(s.section, g, random() % 16) + static_cast<int>(random() % 3) - 1;
      if (random() % 10 == 0) limit = std::numeric_limits<int32_t>::min();
      if (random() % 10 == 0) limit = std::numeric_limits<int32_t>::max();
      limits.push_back(limit);
      uint32_t mask = 0;
      for (size_t r = 0; r < 16; ++r) mask |= uint32_t{Sum(s.section, g, r) >= limit} << r;
      want.push_back(static_cast<uint16_t>(mask));
    }
    want.push_back(0xBEEF);
    MatchGroups(s.section, groups.data(), limits.data(), groups.size(), got.data());
    ASSERT_EQ(got, want) << "round " << round;
  }
}

TEST_P(CodeMatchTest, MatchesAgreeWithScalarSums) { ExpectMatchesAgreeWithScalar(random_); }

TEST_P(CodeMatchTest, MatchesAgreeWithScalarSumsWithoutVnni) {
  AllowVnni(false);
  ASSERT_FALSE(UsesVnni());
  ExpectMatchesAgreeWithScalar(random_);
}

void ExpectDotsAgreeWithScalar(std::mt19937& random) {
  for (int round = 0; round < 300; ++round) {
    const bool extreme = round % 10 == 0;
    const size_t dim = extreme ? kMaxCodeRowBytes : 1 + random() % kMaxCodeRowBytes;
    const size_t bytes = (dim + 15) / 16 * 16, num_rows = 1 + random() % 50;
    AlignedVector<uint8_t> codes(num_rows * bytes);
    for (uint8_t& c : codes) c = static_cast<uint8_t>(extreme ? 255 * (random() % 2) : random());
    std::vector<int16_t> coordinates(dim);
    for (int16_t& q : coordinates) {
      q = static_cast<int16_t>(static_cast<int>(random() % (2 * kMaxCodeQuery + 1)) - kMaxCodeQuery);
      if (extreme) q = q < 0 && round % 20 == 0 ? -kMaxCodeQuery : kMaxCodeQuery;
    }
    // Set again, longer before: nothing of the last query may be left.
    CodeQuery query;
    const std::vector<int16_t> before(kMaxCodeRowBytes, int16_t{31000});
    query.Set(before.data(), before.size());
    query.Set(coordinates.data(), dim);
    ASSERT_EQ(query.bytes, bytes);
    std::vector<uint32_t> rows(random() % 40), want, got(rows.size() + 1, 0xBEEF);
    for (uint32_t& row : rows) {
      row = static_cast<uint32_t>(random() % num_rows);
      int64_t sum = 0;
      for (size_t j = 0; j < dim; ++j) sum += int64_t{codes[row * bytes + j]} * coordinates[j];
      want.push_back(static_cast<uint32_t>(sum));
    }
    want.push_back(0xBEEF);
    DotCodes(codes.data(), query, rows.data(), rows.size(), got.data());
    ASSERT_EQ(got, want) << "round " << round << ", dim " << dim;
  }
}

TEST_P(CodeMatchTest, DotsAgreeWithScalarSums) { ExpectDotsAgreeWithScalar(random_); }

TEST_P(CodeMatchTest, DotsAgreeWithScalarSumsWithoutVnni) {
  AllowVnni(false);
  ExpectDotsAgreeWithScalar(random_);
}

TEST_P(CodeMatchTest, CollectBoundsAgreesWithScalar) {
  for (int round = 0; round < 300; ++round) {
    const size_t n = random_() % 200;
    // Multiples of 1/4: sums are exact, whatever their order.
    const auto value = [&] { return static_cast<float>(static_cast<int>(random_() % 9) - 4) / 4; };
    std::vector<float> a(n), b(n), c(n);
    for (size_t i = 0; i < n; ++i) {
      a[i] = value();
      b[i] = value();
      c[i] = value();
    }
    if (n > 0) a[random_() % n] = std::numeric_limits<float>::quiet_NaN();
    const float x = value(), y = value(), threshold = value();
    const bool has_c = round % 2 == 0;
    std::vector<uint32_t> want, got(n + 1, 77);
    for (size_t i = 0; i < n; ++i) {
      if (!(a[i] * x + b[i] * y + (has_c ? c[i] : 0) < threshold))
        want.push_back(static_cast<uint32_t>(1000 + i));
    }
    const size_t count =
        CollectBounds(a.data(), b.data(), has_c ? c.data() : nullptr, n, x, y, threshold, 1000, got.data());
    ASSERT_EQ(count, want.size());
    ASSERT_TRUE(std::equal(want.begin(), want.end(), got.begin()));
    ASSERT_EQ(got[n], 77u) << "wrote behind the end";
  }
}

}  // namespace
}  // namespace swiftlet

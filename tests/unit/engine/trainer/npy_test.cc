#include "engine/trainer/npy.h"

#include <cstring>

#include "Eigen/Core"
#include "absl/strings/str_cat.h"
#include "engine/trainer/import_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/engine/trainer/trainer_test_util.h"

namespace swiftlet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trainer_testing::WriteFile;

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string Npy(const std::string& header, const std::string& data, int version = 1) {
  std::string text = "\x93NUMPY";
  text.push_back(static_cast<char>(version));
  text.push_back('\0');
  for (int byte = 0; byte < (version == 1 ? 2 : 4); ++byte) {
    text.push_back(static_cast<char>(header.size() >> (8 * byte) & 0xFF));
  }
  return text + header + data;
}

std::string Header(const std::string& descr, const std::string& fortran, const std::string& shape) {
  return absl::StrCat("{'descr': '", descr, "', 'fortran_order': ", fortran, ", 'shape': ", shape,
                      ", }   \n");
}

class NpyTest : public ::testing::Test {
 protected:
  absl::StatusOr<MatrixF> Read(const std::string& bytes) {
    WriteFile(dir_.File("a.npy"), bytes);
    return ReadNpy(dir_.File("a.npy"));
  }
  std::string Error(const std::string& bytes) { return std::string(Read(bytes).status().message()); }
  testing::TempDir dir_;
};

std::vector<float> Values(const MatrixF& m) { return {m.data(), m.data() + m.size()}; }

TEST_F(NpyTest, ReadsEveryElementTypeOrderAndVersion) {
  const std::vector<float> six = {1, 2, 3, 4, 5, 6};
  const auto c = Read(Npy(Header("<f4", "False", "(2, 3)"), Bytes(six)));
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->rows(), 2);
  EXPECT_THAT(Values(*c), ElementsAre(1, 2, 3, 4, 5, 6));
  const auto fortran = Read(Npy(Header("<f4", "True", "(2, 3)"), Bytes(six), 2));
  ASSERT_TRUE(fortran.ok()) << fortran.status();
  EXPECT_EQ(fortran->rows(), 2);
  EXPECT_THAT(Values(*fortran), ElementsAre(1, 3, 5, 2, 4, 6));
  EXPECT_THAT(Values(*Read(Npy(Header("<f8", "False", "(1, 2)"), Bytes(std::vector<double>{0.5, -2})))),
              ElementsAre(0.5f, -2));
  EXPECT_THAT(Values(*Read(Npy(Header("<f2", "False", "(2, 1)"),
                               Bytes(std::vector<Eigen::half>{Eigen::half(1.5f), Eigen::half(-3.0f)}), 3))),
              ElementsAre(1.5f, -3));
  const auto line = Read(Npy(Header("<f4", "True", "(3,)"), Bytes(std::vector<float>{1, 2, 3})));
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->rows(), 3);
  EXPECT_EQ(line->cols(), 1);
}

TEST_F(NpyTest, RefusesHostileHeadersWithoutAllocatingWhatTheySay) {
  const std::string data(24, '\0');
  EXPECT_THAT(Error(""), HasSubstr("no .npy file"));
  EXPECT_THAT(Error("\x93NUMPX123456"), HasSubstr("no .npy file"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(2, 3)"), data, 9)), HasSubstr("version 9"));
  // More than there is: by one element, by so much that a product would overflow, and the file cut short.
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(7, 1)"), data)), HasSubstr("24 bytes follow"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(4611686018427387910, 4)"), data)),
              HasSubstr("24 bytes follow"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(99999999999999999999, 1)"), data)),
              HasSubstr("not a dictionary"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(2, 3)"), data + "x")), HasSubstr("25 bytes follow"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(0, 3)"), "")), HasSubstr("at least one row"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "()"), "1234")), HasSubstr("0 dimensions"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(1, 2, 3)"), data)), HasSubstr("3 dimensions"));
  EXPECT_THAT(Error(Npy(Header("<f4", "False", "(-1, 6)"), data)), HasSubstr("not a dictionary"));
  for (const char* descr : {"|O", ">f4", "<i4", "<f4x"}) {
    EXPECT_THAT(Error(Npy(Header(descr, "False", "(2, 3)"), data)), HasSubstr("expected '<f4'")) << descr;
  }
  for (const char* header : {"", "{", "{'descr': '<f4'}",
                             "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}",
                             "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (6,)}", "{'shape': (6"}) {
    EXPECT_THAT(Error(Npy(header, data)), HasSubstr("not a dictionary")) << header;
  }
  std::string huge = Npy(Header("<f4", "False", "(2, 3)"), data, 2);
  huge[11] = '\x7F';  // two gigabytes of header
  EXPECT_THAT(Error(huge), HasSubstr("a header of"));
  EXPECT_THAT(std::string(ReadNpy(dir_.File("none.npy")).status().message()),
              HasSubstr("none.npy: No such file"));
  // Every cut of a good file is refused.
  const std::string good = Npy(Header("<f4", "False", "(2, 3)"), data);
  for (size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(Read(good.substr(0, size)).ok()) << size;
  EXPECT_TRUE(Read(good).ok());
}

TEST_F(NpyTest, ImportsVectorsWithAnIdFile) {
  WriteFile(dir_.File("v.npy"), Npy(Header("<f4", "False", "(2, 2)"), Bytes(std::vector<float>{1, 2, 3, 4})));
  WriteFile(dir_.File("u.npy"), Npy(Header("<f8", "False", "(1, 2)"), Bytes(std::vector<double>{5, 6})));
  WriteFile(dir_.File("ids"), "a b\n\xC3\xA4\n");
  WriteFile(dir_.File("users"), "u\n");
  ImportOptions options;
  options.vectors_path = dir_.File("v.npy");
  EXPECT_THAT(std::string(ImportModel(options, 1, 1000).status().message()), HasSubstr("--ids"));
  options.item_ids_path = dir_.File("ids");
  options.user_tensor = dir_.File("u.npy");
  options.user_ids_path = dir_.File("users");
  const auto model = ImportModel(options, 1, 1000);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT(model->contents.item_ids, ElementsAre("a b", "\xC3\xA4"));
  EXPECT_THAT(model->contents.item_vectors, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(model->user_vectors(0, 1), 6);
  options.bias_tensor = "bias";
  EXPECT_THAT(std::string(ImportModel(options, 1, 1000).status().message()), HasSubstr("no tensor \"bias\""));
  WriteFile(dir_.File("ids"), "a\n");
  options.bias_tensor.clear();
  EXPECT_THAT(std::string(ImportModel(options, 1, 1000).status().message()), HasSubstr("has 1 ids"));
}

}  // namespace
}  // namespace swiftlet

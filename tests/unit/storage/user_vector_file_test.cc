#include "storage/user_vector_file.h"

#include <limits>
#include <map>

#include "storage_test_util.h"

namespace swiftlet {
namespace {

using storage_testing::Fails;
using storage_testing::TempDir;

TEST(UserVectorFileTest, WhatIsWrittenIsRead) {
  const TempDir dir;
  const std::string path = dir.Path("user_vectors.sst");
  std::map<std::string, std::vector<float>> users;
  for (int i = 0; i < 500; ++i) {
    users[absl::StrCat("user", i)] = {static_cast<float>(i), -0.5f, std::numeric_limits<float>::denorm_min()};
  }
  users["ü"] = {1, 2, 3};  // bytes above 127 sort last
  auto writer = UserVectorFileWriter::Create(path, 3);
  ASSERT_OK(writer.status());
  for (const auto& [id, vector] : users) ASSERT_OK((*writer)->Add(id, vector));
  ASSERT_OK((*writer)->Finish());
  EXPECT_EQ((*writer)->Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*writer)->Add("z", std::vector<float>(3)).code(), absl::StatusCode::kFailedPrecondition);
  auto expected = users.begin();
  ASSERT_OK(ReadUserVectorFile(path, 3, [&](std::string_view id, std::span<const float> vector) {
    EXPECT_EQ(id, expected->first);
    EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()), expected->second);
    ++expected;
    return absl::OkStatus();
  }));
  EXPECT_EQ(expected, users.end());
  UserVectorFileReader reader(path, 3);
  std::vector<float> found = {9};
  for (const char* id : {"user7", "ü", "user499", "user0"}) {
    ASSERT_OK(reader.Find(id, &found));
    EXPECT_EQ(found, users[id]);
  }
  for (const char* id : {"", "user", "user500", "zz", "\xff"}) {
    ASSERT_OK(reader.Find(id, &found));
    EXPECT_EQ(found, std::vector<float>()) << id;
  }
  EXPECT_THAT(UserVectorFileReader(path, 4).Find("user7", &found),
              Fails(absl::StatusCode::kDataLoss, "12 bytes, expected 16"));
  EXPECT_THAT(ReadUserVectorFile(path, 4, [](auto, auto) { return absl::OkStatus(); }),
              Fails(absl::StatusCode::kDataLoss, "12 bytes, expected 16"));
  EXPECT_EQ(ReadUserVectorFile(path, 3, [](auto, auto) { return absl::CancelledError(); }).code(),
            absl::StatusCode::kCancelled);
}

TEST(UserVectorFileTest, BadInputIsRefused) {
  const TempDir dir;
  EXPECT_EQ(UserVectorFileWriter::Create(dir.Path("x"), 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(UserVectorFileWriter::Create(dir.Path("no/such/dir"), 2).ok());
  auto writer = UserVectorFileWriter::Create(dir.Path("x"), 2);
  ASSERT_OK(writer.status());
  EXPECT_EQ((*writer)->Finish().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_OK((*writer)->Add("m", std::vector<float>{1, 2}));
  const std::vector<float> ok = {1, 2};
  EXPECT_THAT((*writer)->Add("m", ok), Fails(absl::StatusCode::kInvalidArgument, "\"m\" is not after \"m\""));
  EXPECT_THAT((*writer)->Add("a", ok), Fails(absl::StatusCode::kInvalidArgument, "is not after"));
  EXPECT_THAT((*writer)->Add("", ok), Fails(absl::StatusCode::kInvalidArgument, "id is not 1 to 256"));
  EXPECT_THAT((*writer)->Add("z\xFF", ok), Fails(absl::StatusCode::kInvalidArgument, "UTF-8"));
  EXPECT_THAT((*writer)->Add("n", std::vector<float>{1}),
              Fails(absl::StatusCode::kInvalidArgument, "expected 2"));
  EXPECT_THAT((*writer)->Add("n", std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()}),
              Fails(absl::StatusCode::kInvalidArgument, "nan"));
  ASSERT_OK((*writer)->Add("n", ok)) << "a refused vector leaves no trace";
  ASSERT_OK((*writer)->Finish());
}

TEST(UserVectorFileTest, DamagedFilesAreRefused) {
  const TempDir dir;
  const std::string path = dir.Path("user_vectors.sst");
  auto writer = UserVectorFileWriter::Create(path, 4);
  ASSERT_OK(writer.status());
  for (int i = 100; i < 600; ++i)
    ASSERT_OK((*writer)->Add(absl::StrCat("user", i), std::vector<float>(4, 1.0f)));
  ASSERT_OK((*writer)->Finish());
  const std::string bytes = storage_testing::FileBytes(path);
  const auto read = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    return ReadUserVectorFile(path, 4, [](auto, auto) { return absl::OkStatus(); });
  };
  ASSERT_OK(read(bytes));
  EXPECT_EQ(read(bytes.substr(0, bytes.size() / 2)).code(), absl::StatusCode::kDataLoss);
  std::string flipped = bytes;
  flipped[bytes.size() / 4] ^= 1;
  EXPECT_EQ(read(flipped).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(read("").code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(ReadUserVectorFile(dir.Path("none"), 4, [](auto, auto) { return absl::OkStatus(); }).ok());
}

}  // namespace
}  // namespace swiftlet

// Vectors from elsewhere: what `swiftlet-trainer import` takes in must make a snapshot that a server loads.
// Input: a byte of options, the length of a list of ids, the list, then the safetensors file.
#include <filesystem>

#include "engine/base/aligned_vector.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/snapshot/snapshot_writer.h"
#include "engine/trainer/import_model.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temp_dir.h"

namespace swiftlet::fuzz {
namespace {

enum Option : uint8_t { kIdFile = 1, kInput = 2, kBias = 4, kPopularity = 8, kUsers = 16 };

const std::string& Directory() {
  static const testing::TempDir dir;
  return dir.path();
}

std::string Seed(uint8_t options, std::string_view ids, const std::vector<NamedTensor>& tensors) {
  const std::string path = Directory() + "/seed.safetensors";
  const absl::Status written = WriteSafetensors(path, tensors, {});
  FUZZ_CHECK(written.ok(), written.ToString());
  const auto file = SafetensorsFile::Open(path);
  FUZZ_CHECK(file.ok(), file.status().ToString());
  std::string seed;
  Put<uint8_t>(options, &seed);
  Put<uint16_t>(static_cast<uint16_t>(ids.size()), &seed);
  seed.append(ids);
  seed.append(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size());
  return seed;
}

}  // namespace

std::vector<std::string> Seeds() {
  const AlignedVector<float> floats = {1, 2, -0.5f, 0, 3, 1e-3f, 5, -1, 0.25f, 7, 0, 1};
  const AlignedVector<uint16_t> halves = {0x3C00, 0xBC00, 0x3555, 0, 0x7BFF, 1};
  const AlignedVector<double> doubles = {1, -2, 0.5, 1e-10, 3, 4};
  const AlignedVector<uint64_t> offsets = {0, 1, 3, 6};
  const AlignedVector<uint8_t> text = {'a', 'b', 'c', 0xC3, 0xA4, 'd'};
  const auto f = std::as_bytes(std::span(floats));
  const auto h = std::as_bytes(std::span(halves));
  const auto d = std::as_bytes(std::span(doubles));
  const auto o = std::as_bytes(std::span(offsets));
  const auto t = std::as_bytes(std::span(text));
  const std::vector<NamedTensor> ids = {{"item.id_bytes", {DType::kU8, {6}, t}},
                                        {"item.id_offsets", {DType::kU64, {4}, o}},
                                        {"user.id_bytes", {DType::kU8, {6}, t}},
                                        {"user.id_offsets", {DType::kI64, {4}, o}}};
  std::vector<NamedTensor> all = {{"items", {DType::kF32, {3, 4}, f}},
                                  {"input", {DType::kF32, {3, 4}, f}},
                                  {"bias", {DType::kF64, {3}, d.first(24)}},
                                  {"popularity", {DType::kF16, {3, 1}, h.first(6)}},
                                  {"users", {DType::kF32, {3, 4}, f}}};
  all.insert(all.end(), ids.begin(), ids.end());
  return {Seed(kIdFile, "x\ny\r\nz\n", {{"items", {DType::kF16, {3, 2}, h}}}),
          Seed(kIdFile, "x\ny\nz", {{"items", {DType::kBF16, {3, 2}, h}}}),
          Seed(kInput | kBias | kPopularity | kUsers, "", all),
          Seed(0, "", {{"items", {DType::kF64, {3, 2}, d}}, ids[0], ids[1]})};
}

}  // namespace swiftlet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace swiftlet;        // NOLINT(google-build-using-namespace): an extern "C" function
  using namespace swiftlet::fuzz;  // NOLINT(google-build-using-namespace)
  InputReader input(data, size);
  const auto flags = input.Take<uint8_t>();
  const std::string_view ids = input.TakeBytes(input.Take<uint16_t>());
  ImportOptions options;
  options.vectors_path = Directory() + "/vectors.safetensors";
  WriteFile(options.vectors_path, input.TakeRest());
  if ((flags & kIdFile) != 0) {
    options.item_ids_path = Directory() + "/ids.txt";
    WriteFile(options.item_ids_path, ids);
  }
  if ((flags & kInput) != 0) options.input_tensor = "input";
  if ((flags & kBias) != 0) options.bias_tensor = "bias";
  if ((flags & kPopularity) != 0) options.popularity_tensor = "popularity";
  if ((flags & kUsers) != 0) options.user_tensor = "users";
  absl::StatusOr<ImportedModel> model = ImportModel(options, /*version=*/7, /*now_ms=*/1'700'000'000'000);
  if (!model.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(model.status()) || absl::IsDataLoss(model.status()),
               model.status().ToString());
    FUZZ_CHECK(model.status().message().find(Directory()) != absl::string_view::npos,
               model.status().ToString());
    return 0;
  }
  FUZZ_CHECK(model->contents.item_vectors.size() == model->contents.item_ids.size() * model->contents.dim,
             "vectors");
  FUZZ_CHECK(static_cast<size_t>(model->user_vectors.rows()) == model->user_ids.size(), "user vectors");
  // The user vectors are another file (storage/user_vector_file.h).
  const std::string directory = Directory() + "/7";
  std::filesystem::create_directory(directory);
  const absl::Status written = WriteSnapshot(directory, model->contents);
  if (!written.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(written) && !written.message().empty(), written.ToString());
    return 0;
  }
  const auto snapshot = ModelSnapshot::Load(directory, {});
  FUZZ_CHECK(snapshot.ok(), snapshot.status().ToString());
  FUZZ_CHECK((*snapshot)->num_items() == model->contents.item_ids.size(), "items");
  for (uint32_t row = 0; row < (*snapshot)->num_items(); ++row) {
    FUZZ_CHECK((*snapshot)->ItemId(row) == model->contents.item_ids[row], "ids");
    FUZZ_CHECK((*snapshot)->FindRow((*snapshot)->Key(row)) == row, "keys");
  }
  return 0;
}

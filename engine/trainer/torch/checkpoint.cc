#include "engine/trainer/torch/checkpoint.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/snapshot/file_io.h"
#include "engine/snapshot/safetensors.h"
#include "nlohmann/json.hpp"

namespace swiftlet {
namespace {

constexpr char kFormat[] = "swiftlet-fit-1";

NamedTensor Named(const char* name, const std::vector<float>& values) {
  return {name, {DType::kF32, {values.size()}, std::as_bytes(std::span(values))}};
}

absl::Status Damaged(const std::string& path, std::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": no checkpoint of a fit: ", std::string(what)));
}

std::string DirectoryOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

absl::Status Publish(const std::string& temporary, const std::string& path) {
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) return absl::UnavailableError(absl::StrCat(path, ": cannot rename: ", error.message()));
  return SyncPath(DirectoryOf(path));
}

}  // namespace

absl::Status WriteCheckpoint(const std::string& path, const FitState& state) {
  std::vector<NamedTensor> tensors = {Named("values", state.values), Named("first", state.first),
                                      Named("second", state.second)};
  if (!state.average.empty()) tensors.push_back(Named("average", state.average));
  if (!state.best.empty()) tensors.push_back(Named("best", state.best));
  nlohmann::json curve = nlohmann::json::array();
  for (const EpochRecord& r : state.curve) curve.push_back({r.epoch, r.loss, r.validation_ndcg, r.seconds});
  const nlohmann::json facts = {{"epoch", state.epoch},           {"step", state.step},
                                {"batch", state.batch},           {"loss_sum", state.loss_sum},
                                {"best_epoch", state.best_epoch}, {"best_ndcg", state.best_ndcg},
                                {"seconds", state.seconds},       {"curve", curve}};
  const std::string temporary = path + ".tmp";
  SWIFTLET_RETURN_IF_ERROR(
      WriteSafetensors(temporary, tensors,
                       {{"format", kFormat}, {"fingerprint", state.fingerprint}, {"state", facts.dump()}}));
  return Publish(temporary, path);
}

absl::StatusOr<FitState> ReadCheckpoint(const std::string& path) {
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  const auto& metadata = file->metadata();
  const auto text = [&](const char* key) {
    const auto it = metadata.find(key);
    return it != metadata.end() ? it->second : std::string();
  };
  if (text("format") != kFormat) return Damaged(path, "format");
  FitState state;
  state.fingerprint = text("fingerprint");
  const auto read = [&](const char* name, std::vector<float>* values) {
    const TensorView* tensor = file->Find(name);
    if (tensor == nullptr || tensor->dtype != DType::kF32 || !tensor->is_aligned()) return false;
    const std::span<const float> floats = tensor->as<float>();
    values->assign(floats.begin(), floats.end());
    return true;
  };
  if (!read("values", &state.values) || !read("first", &state.first) || !read("second", &state.second) ||
      state.first.size() != state.values.size() || state.second.size() != state.values.size()) {
    return Damaged(path, "tensors");
  }
  if (read("average", &state.average) && state.average.size() != state.values.size()) {
    return Damaged(path, "average");
  }
  if (read("best", &state.best) && state.best.size() != state.values.size()) return Damaged(path, "best");
  try {
    const nlohmann::json facts = nlohmann::json::parse(text("state"));
    state.epoch = facts.at("epoch");
    state.step = facts.at("step");
    // Earlier releases wrote at the end of an epoch only.
    state.batch = facts.value("batch", uint64_t{0});
    state.loss_sum = facts.value("loss_sum", 0.0);
    state.best_epoch = facts.at("best_epoch");
    state.best_ndcg = facts.at("best_ndcg");
    state.seconds = facts.at("seconds");
    for (const nlohmann::json& r : facts.at("curve"))
      state.curve.push_back({r.at(0), r.at(1), r.at(2), r.at(3)});
  } catch (const nlohmann::json::exception& error) {
    return Damaged(path, error.what());
  }
  return state;
}

absl::Status WriteCurve(const std::string& path, const std::vector<EpochRecord>& curve) {
  std::string text = "epoch,loss,validation_ndcg_at_10,seconds\n";
  for (const EpochRecord& r : curve) {
    absl::StrAppendFormat(&text, "%d,%.6f,%.6f,%.2f\n", r.epoch, r.loss, r.validation_ndcg, r.seconds);
  }
  const std::string name = std::filesystem::path(path).filename().string();
  return ReplaceFile(DirectoryOf(path), name, name + ".tmp", text);
}

}  // namespace swiftlet

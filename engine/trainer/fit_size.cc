#include "engine/trainer/fit_size.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/base/bf16.h"
#include "engine/base/memory_limit.h"
#include "engine/base/status_macros.h"

namespace swiftlet {

absl::Status SaySizes(const Dataset& data, const TrainingOptions& training, Progress* progress) {
  if (training.kind == "blend") {
    for (const std::string& kind : training.blend) {
      TrainingOptions part = training;
      part.kind = kind;
      if (kind != "blend") SWIFTLET_RETURN_IF_ERROR(SaySizes(data, part, progress));
    }
    return absl::OkStatus();
  }
  const FitOptions& options = training.attention;
  const double dim = options.als.dim;
  const auto items = static_cast<double>(data.num_items()), users = static_cast<double>(data.num_users());
  const bool has_features =
      options.item_features && (training.kind == "attention" || training.kind == "transformer");
  const ItemFeaturesSize features = has_features ? BoundItemFeatures(data) : ItemFeaturesSize{};
  const auto memory = static_cast<double>(training.memory_limit > 0 ? training.memory_limit : MemoryLimit());
  // Rows of `dim` floats.
  double rows = 0;
  if (training.kind == "attention") {
    // Six item tables of the model (iALS, v, x, their running means, the best epoch's), two moments of each
    // of x and v; user factors, and the folded-in vectors of the examples.
    rows = 12 * items + 3 * users +
           std::min<double>(options.attention.max_examples, static_cast<double>(data.events.size()));
    // Gradient, step and two moments of the features' vectors for each of x and v.
    rows += 8 * static_cast<double>(features.num_features);
  } else if (training.kind == "ials") {
    rows = 3 * (items + users);  // the factors, along other axes, and those that are solved for
  } else if (training.kind == "pure-svd" || training.kind == "nmf") {
    rows = 5 * items + 2 * users;
  } else {
    // These say it when they know what they fit to; a transformer needs the features for that.
    if (static_cast<double>(features.bytes) <= memory) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrFormat("%s: what items share needs about %.3g GB and training may take %.3g GB; give "
                        "--no-item-features",
                        training.kind, static_cast<double>(features.bytes) / 1e9, memory / 1e9));
  }
  const double bytes = sizeof(float) * dim * rows + static_cast<double>(features.bytes) +
                       static_cast<double>(data.events.size() * 3 * sizeof(TrainingEvent));
  const double row_bytes = dim * (options.row_type == RowType::kBf16 ? sizeof(Bf16) : sizeof(float));
  const double snapshot = training.kind == "attention"
                              ? row_bytes * 2 * items + sizeof(float) * dim * users
                              : row_bytes * items * (training.kind == "ials" ? 1 : 2);
  progress->Say(
      absl::StrFormat("%s: training needs about %.0f MB of memory; the snapshot will take about %.0f MB",
                      training.kind, std::ceil(bytes / 1e6), std::ceil(snapshot / 1e6)));
  if (bytes <= memory) return absl::OkStatus();
  std::string less = "lower --dim";
  if (training.kind == "attention") less += " or --max-examples";
  if (features.num_features > 0) less += ", or give --no-item-features";
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s: training needs about %.3g GB and may take %.3g GB; %s", training.kind, bytes / 1e9,
                      memory / 1e9, less));
}

}  // namespace swiftlet

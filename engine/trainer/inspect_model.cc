#include "engine/trainer/inspect_model.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "engine/catalog_view.h"
#include "engine/recommender.h"
#include "engine/snapshot/model_directory.h"
#include "engine/snapshot/model_snapshot.h"
#include "engine/trainer/progress.h"
#include "storage/user_vector_file.h"

namespace swiftlet {
namespace {

std::string DescribeItem(const ModelSnapshot& snapshot, uint32_t row) {
  std::vector<std::string> categories;
  for (const uint32_t c : snapshot.CategoryIds(row)) categories.emplace_back(snapshot.CategoryName(c));
  std::string text = absl::StrCat(std::string(snapshot.ItemId(row)), "  ", std::string(snapshot.Title(row)));
  if (!categories.empty()) absl::StrAppend(&text, "  [", absl::StrJoin(categories, ", "), "]");
  return text;
}

std::string FormatTime(int64_t ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

// What searching takes (vectors, their norms and biases, index), and everything, as bytes an item.
std::string DescribeBytes(const ModelSnapshot& snapshot, const SafetensorsFile& file) {
  uint64_t search = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    const bool is_of_index = snapshot.manifest().index.has_value() && name.starts_with("index.");
    if (is_of_index || name == "item.vectors" || name == "item.inverse_norms" || name == "item.bias") {
      search += tensor.data.size();
    }
  }
  const auto items = static_cast<double>(snapshot.num_items());
  const double bytes = static_cast<double>(search) / items;
  return absl::StrFormat("%.1f to search (%.2f a dimension), %.1f with all else", bytes,
                         bytes / snapshot.dim(), static_cast<double>(snapshot.size_bytes()) / items);
}

absl::StatusOr<std::string> Neighbours(const ModelSnapshot& snapshot, const std::string& item_id,
                                       uint32_t k) {
  const std::optional<uint32_t> row = snapshot.FindRow(ItemKeyOf(item_id));
  if (!row.has_value() || snapshot.ItemId(*row) != item_id) {
    return absl::NotFoundError(
        absl::StrCat("item \"", item_id, "\" is not in snapshot ", snapshot.version()));
  }
  const std::shared_ptr<const CatalogView> view = CatalogView::Build(snapshot, {});
  Scratch scratch;
  Recommendation result;
  RecommendQuery query;
  query.k = k;
  SWIFTLET_RETURN_IF_ERROR(SimilarItems(snapshot, *view, query, *row, scratch, &result));
  std::string text = absl::StrCat("\nnearest to ", DescribeItem(snapshot, *row), "\n");
  for (const RecommendedItem& item : result.items) {
    absl::StrAppend(&text, absl::StrFormat("  %7.4f  ", item.score), DescribeItem(snapshot, item.row), "\n");
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> InspectModel(const InspectOptions& options) {
  std::string text, directory = options.path;
  std::error_code error;
  if (!std::filesystem::exists(directory + "/" + kManifestFile, error)) {
    const ModelDirectory models(directory);
    if (!std::filesystem::is_directory(directory, error)) {
      return absl::NotFoundError(absl::StrCat(directory, ": no such directory"));
    }
    SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> current, models.ReadCurrent());
    SWIFTLET_ASSIGN_OR_RETURN(const std::optional<int64_t> pinned, models.ReadPinned());
    SWIFTLET_ASSIGN_OR_RETURN(const std::vector<int64_t> versions, models.ListVersions());
    if (!current.has_value()) {
      return absl::NotFoundError(absl::StrCat(directory, ": neither a snapshot (no ", kManifestFile,
                                              ") nor a model directory (no CURRENT)"));
    }
    absl::StrAppend(&text, "model directory ", directory, ": versions ", absl::StrJoin(versions, ", "),
                    "; current ", *current, pinned.has_value() ? absl::StrCat("; pinned ", *pinned) : "",
                    "\n\n");
    directory = models.VersionPath(*current);
  }
  SWIFTLET_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSnapshot> snapshot,
                            ModelSnapshot::Load(directory, {}));
  SWIFTLET_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> model_file,
                            SafetensorsFile::Open(absl::StrCat(directory, "/", kModelFile)));
  const Manifest& m = snapshot->manifest();
  absl::StrAppend(&text, "snapshot ", m.version, " in ", directory, "\n");
  const auto line = [&](const std::string& name, const std::string& value) {
    absl::StrAppend(&text, absl::StrFormat("  %-18s %s\n", name, value));
  };
  line("model", absl::StrCat(m.model_kind, ", dim ", m.dim, ", newest ", m.max_events, " events"));
  line("items", WithCommas(m.num_items));
  line("rows", std::string(RowTypeName(m.row_type)));
  line("bytes an item", DescribeBytes(*snapshot, *model_file));
  line("users", WithCommas(m.num_users));
  line("categories", WithCommas(m.num_categories));
  line("embedding space", m.embedding_space);
  line("created", FormatTime(m.created_ms));
  line("trained through", FormatTime(m.trained_through_ms));
  line("training events",
       absl::StrCat(WithCommas(m.num_training_events), ", fingerprint ", m.training_fingerprint));
  for (const auto& [name, value] : m.training_parameters) line("parameter", absl::StrCat(name, " = ", value));
  if (m.index.has_value()) {
    line("index", absl::StrFormat(
                      "%s, %s clusters; a trial of %d queries read %.2f %% of the rows' bytes, recall %.4f",
                      m.index->kind, WithCommas(m.index->num_clusters), m.index->sample_queries,
                      100 * m.index->sample_bytes_read, m.index->sample_recall));
    for (const auto& [name, c] :
         {std::pair("approximate", m.index->dot), std::pair("similar", m.index->cosine)}) {
      line(name,
           c.box_scale < 1 || c.code_scale < 1
               ? absl::StrFormat("boxes x %.2f, codes x %.2f: %.2f %% of the rows looked at, recall %.4f",
                                 c.box_scale, c.code_scale, 100 * c.rows_scanned, c.recall)
               : "as exact: nothing cheaper finds enough");
    }
  } else {
    line("index", "none: searches scan all items");
  }
  if (const NeighbourRows* const rows = snapshot->neighbours(); rows != nullptr) {
    std::string neighbours = absl::StrCat(m.neighbours->kind, ", scale ", m.neighbours->scale, ", ",
                                          WithCommas(rows->rows.size()), " entries");
    if (const NeighbourUsers* const users = snapshot->neighbour_users(); users != nullptr) {
      absl::StrAppend(&neighbours, "; the ", WithCommas(users->nearest), " nearest of ",
                      WithCommas(users->num_users()), " users, shrinkage ", users->shrinkage);
    }
    line("neighbours", neighbours);
  }
  for (const auto& [name, value] : m.metrics) line("metric", absl::StrFormat("%s = %.4f", name, value));
  for (const EventClass& c : m.event_classes) {
    const auto type = std::find_if(m.event_types.begin(), m.event_types.end(),
                                   [&](const EventType& t) { return t.id == c.type; });
    line("event class",
         absl::StrCat(type == m.event_types.end() ? absl::StrCat("type ", int{c.type}) : type->name,
                      ", value >= ", c.min_value, c.sign < 0 ? ", counts against" : ""));
  }
  for (const auto& [name, file] : m.files) {
    line("file", absl::StrCat(name, ", ", WithCommas(file.bytes), " bytes, xxh3-128 ", file.xxh3_128));
  }
  if (options.tensors) {
    absl::StrAppend(&text, "\ntensors of ", kModelFile, "\n");
    for (const auto& [name, tensor] : model_file->tensors()) {
      absl::StrAppend(&text,
                      absl::StrFormat("  %-28s %-4s [%s]\n", name, std::string(DTypeName(tensor.dtype)),
                                      absl::StrJoin(tensor.shape, ", ")));
    }
  }
  uint64_t users = 0;
  if (!snapshot->user_vectors_path().empty()) {
    SWIFTLET_RETURN_IF_ERROR(ReadUserVectorFile(snapshot->user_vectors_path(), m.dim, [&](auto, auto) {
      ++users;
      return absl::OkStatus();
    }));
  }
  if (users != m.num_users) {
    return absl::DataLossError(absl::StrCat(directory, ": ", kUserVectorsFile, " holds ", users,
                                            " users, the manifest says ", m.num_users));
  }
  absl::StrAppend(&text, "\nchecks passed: sizes, checksums, tensors, ids, user vectors\n");
  if (options.num_items > 0) {
    absl::StrAppend(&text, "\nmost popular items\n");
    const std::span<const uint32_t> order = snapshot->popularity_order();
    for (const uint32_t row : order.first(std::min<size_t>(options.num_items, order.size()))) {
      absl::StrAppend(&text, absl::StrFormat("  %7g  ", snapshot->Popularity(row)),
                      DescribeItem(*snapshot, row), "\n");
    }
  }
  if (!options.item_id.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const std::string neighbours,
                              Neighbours(*snapshot, options.item_id, options.k));
    text += neighbours;
  }
  return text;
}

}  // namespace swiftlet

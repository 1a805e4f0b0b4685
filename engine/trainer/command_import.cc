#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/commands.h"
#include "engine/trainer/import_model.h"
#include "engine/trainer/input.h"
#include "engine/trainer/progress.h"
#include "engine/trainer/publish.h"
#include "engine/trainer/write_model.h"

namespace swiftlet {
namespace {

struct Options {
  ImportOptions import;
  Destination destination;
};

absl::Status RunImport(const Options& options) {
  SWIFTLET_RETURN_IF_ERROR(CheckDestination(options.destination));
  Progress progress(stderr);
  SWIFTLET_ASSIGN_OR_RETURN(
      const Published published,
      WriteAndPublish(
          options.destination, [&](const std::string& directory, int64_t version) -> absl::Status {
            SWIFTLET_ASSIGN_OR_RETURN(ImportedModel model,
                                      ImportModel(options.import, version, absl::ToUnixMillis(absl::Now())));
            progress.Say(absl::StrCat(WithCommas(model.contents.item_ids.size()), " items and ",
                                      WithCommas(model.user_ids.size()), " users of dimension ",
                                      model.contents.dim, "; ", WithCommas(model.num_described),
                                      " items have metadata"));
            return WriteModel(directory, std::move(model.contents), model.user_ids, model.user_vectors);
          }));
  std::printf("%s version %lld in %s\n", options.destination.models_dir.empty() ? "wrote" : "published",
              static_cast<long long>(published.version), published.path.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddImportCommand(CLI::App* app, Command* run) {
  auto options = std::make_shared<Options>();
  ImportOptions& o = options->import;
  CLI::App* command = app->add_subcommand(
      "import", "Make a snapshot of vectors that were trained elsewhere (safetensors, .npy)");
  command->footer(
      "The encoder is the plain mean of the history's vectors (and of the user's own vector).\n"
      "Example:\n"
      "  python3 -c 'import numpy, safetensors.numpy as s; s.save_file({\"items\": numpy.load(\"v.npy\")}, "
      "\"v.safetensors\")'\n"
      "  swiftlet-trainer import --vectors v.safetensors --ids ids.txt --models models --space mine-1\n"
      "  swiftlet-trainer import --vectors v.npy --ids ids.txt --user-tensor u.npy --user-ids users.txt "
      "--models "
      "models");
  command
      ->add_option(
          "--vectors", o.vectors_path,
          "safetensors file, or .npy file of the item vectors (with --ids); the tensors below may be .npy "
          "files, too")
      ->required();
  command->add_option("--item-tensor", o.item_tensor, "Item vectors: [items, dim], F32, F16, BF16 or F64")
      ->capture_default_str();
  command->add_option("--ids", o.item_ids_path,
                      "Item ids, one a line, in the order of the rows (default: in the file)");
  command
      ->add_option("--item-id-tensor", o.item_id_tensor,
                   "Item ids in the file: tensors NAME_bytes (U8) and NAME_offsets (U64, items + 1)")
      ->capture_default_str();
  command->add_option("--input-tensor", o.input_tensor,
                      "Vectors of items as parts of a history (default: --item-tensor)");
  command->add_option("--bias-tensor", o.bias_tensor, "Item biases: [items]");
  command->add_option("--popularity-tensor", o.popularity_tensor, "Item popularity, 0 or more: [items]");
  command->add_option("--user-tensor", o.user_tensor, "User vectors: [users, dim]");
  command->add_option("--user-ids", o.user_ids_path, "User ids, one a line (default: in the file)");
  command->add_option("--user-id-tensor", o.user_id_tensor, "User ids in the file, as --item-id-tensor")
      ->capture_default_str();
  command->add_option("--space", o.space,
                      "Name of the embedding space; items that are upserted with a vector name the same one");
  command->add_option("--max-events", o.max_events, "Newest events of a history that count")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  AddRowsFlag(command, &o.row_type, "Options");
  command->add_option("--items", o.items.path,
                      "Items: CSV, TSV or JSON Lines with item, title and categories (or genres)");
  command->add_option("--models", options->destination.models_dir, "Model directory to publish into");
  command->add_option("--output", options->destination.output_dir,
                      "Write the snapshot to this new directory, without publishing");
  command->callback([options, run] { *run = [options] { return RunImport(*options); }; });
}

}  // namespace swiftlet

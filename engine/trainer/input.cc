#include "engine/trainer/input.h"

#include <cmath>
#include <memory>
#include <optional>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "engine/trainer/interrupt.h"
#include "engine/trainer/write_model.h"
#include "storage/training_reader.h"

namespace swiftlet {
namespace {

absl::StatusOr<char> ParseCharacter(const std::string& flag, const std::string& text) {
  if (text == "tab" || text == "\\t") return '\t';
  if (text == "comma") return ',';
  if (text.size() == 1) return text[0];
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": \"", text, "\" is not one character, \"tab\" or \"comma\""));
}

std::string Skipped(const LoadStats& stats) {
  if (stats.num_bad_lines == 0) return "";
  return absl::StrCat("; skipped ", stats.num_bad_lines, " bad lines, the first: ", stats.first_bad);
}

}  // namespace

void AddContentVectorsFlag(CLI::App* app, std::vector<std::string>* flags) {
  app->add_option(
         "--content-vectors", *flags,
         "Vectors of items from elsewhere, such as embeddings of texts or images, that tell where an item "
         "belongs: NAME=FILE:IDS, FILE being .npy or safetensors (FILE#TENSOR) and IDS one item id a line; "
         "repeatable")
      ->group("Input");
}

void AddInputFlags(CLI::App* app, InputOptions* o) {
  const std::string group = "Input";
  app->add_option("--events", o->events.path,
                  "Events: CSV or TSV with a header, or JSON Lines (.jsonl), plain or .gz")
      ->group(group);
  app->add_option(
         "--data-dir", o->data_dir,
         "A server's data directory: its event log and items, also while the server runs. With --events, the "
         "file's events come first")
      ->group(group);
  app->add_option("--items", o->items.path,
                  "Items: CSV, TSV or JSON Lines with item, title and categories (or genres)")
      ->group(group);
  app->add_option("--delimiter", o->delimiter,
                  "Field separator: one character, tab or comma (default: by extension)")
      ->group(group);
  app->add_option("--user-column", o->events.user_column,
                  "Column of the user id (default: user, user_id, userId, ..)")
      ->group(group);
  app->add_option("--item-column", o->events.item_column,
                  "Column of the item id (default: item, item_id, movieId, ..)")
      ->group(group);
  app->add_option(
         "--time-column", o->events.time_column,
         "Column of the time since 1970 (default: timestamp, time, ..; without one, file order counts)")
      ->group(group);
  app->add_option("--time-unit", o->time_unit, "Unit of the time column: auto, s or ms")
      ->check(CLI::IsMember({"auto", "s", "ms"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--type-column", o->events.type_column,
                  "Column of the event type (default: type, event, ..)")
      ->group(group);
  app->add_option("--value-column", o->events.value_column,
                  "Column of the event value (default: rating, value, ..)")
      ->group(group);
  app->add_option(
         "--default-type", o->events.default_type,
         "Type of events without a type column (default: rating where there is a rating column, else view)")
      ->group(group);
  app->add_option("--skip-bad-lines", o->events.max_bad_lines,
                  "Bad lines to tolerate in each file; more are an error")
      ->capture_default_str()
      ->group(group);
  app->add_option("--item-id-column", o->items.item_column, "Items file: column of the item id")
      ->group(group);
  app->add_option("--title-column", o->items.title_column, "Items file: column of the title")->group(group);
  app->add_option("--category-column", o->items.category_column, "Items file: column of the categories")
      ->group(group);
  app->add_option(
         "--attribute-columns", o->items.attribute_columns,
         "Items file: more columns that say what an item is, separated by commas; numbers, words and "
         "texts")
      ->delimiter(',')
      ->group(group);
  app->add_option("--category-separator", o->category_separator, "Items file: what separates categories")
      ->capture_default_str()
      ->group(group);
}

void AddRowsFlag(CLI::App* app, RowType* rows, const std::string& group) {
  app->add_option_function<std::string>(
         "--rows", [rows](const std::string& name) { *rows = ParseRowType(name).value_or(*rows); },
         "How the snapshot stores item vectors: bf16 rounds them to 8 bits of precision and takes half "
         "the memory")
      ->check(CLI::IsMember({"float32", "bf16"}))
      ->default_str(std::string(RowTypeName(*rows)))
      ->group(group);
}

namespace {

// Of --logq: see TransformerOptions::correction.
std::optional<double> ParseCorrection(const std::string& text) {
  if (text == "auto") return -1;
  if (text == "off") return 0;
  double value = 0;
  if (absl::SimpleAtod(text, &value) && value >= 0 && value <= 1) return value;
  return std::nullopt;
}

void AddTransformerFlags(CLI::App* app, TransformerOptions* o) {
  const std::string group = "Transformer (0: by the data)";
  app->add_option("--blocks", o->blocks, "Layers")
      ->check(CLI::Range(0, 64))
      ->capture_default_str()
      ->group(group);
  app->add_option("--heads", o->heads, "Attention heads; --dim is a multiple of it")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(group);
  app->add_option("--feed-forward", o->feed_forward, "Width of the feed-forward layers, in vectors")
      ->check(CLI::Range(1, 16))
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-length", o->max_length, "Newest events that are looked at")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--dropout", o->dropout,
                  "Share of values that a training step leaves out (default: 0.2; where users have fewer "
                  "than 30 events on average, 0.4)")
      ->check(CLI::Range(0.0, 0.95))
      ->group(group);
  app->add_flag("--separate-tables", o->separate_tables,
                "Learn one vector of an item as an event and another one as an answer")
      ->group(group);
  app->add_option("--transformer-learning-rate", o->learning_rate, "Adam's rate")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str()
      ->group(group);
  app->add_option("--loss", o->loss, "softmax over sampled items, or gbce")
      ->check(CLI::IsMember({"softmax", "gbce"}))
      ->capture_default_str()
      ->group(group);
  app->add_option("--negatives", o->num_negatives, "Items sampled against each group of predictions")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str()
      ->group(group);
  app->add_option("--popular-negatives", o->popular_share, "Share of them that is drawn by popularity")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  app->add_option_function<std::string>(
         "--logq",
         [o](const std::string& text) { o->correction = ParseCorrection(text).value_or(o->correction); },
         "Power of the correction for how likely a sampled item was: off (0), up to 1 (an unbiased sum over "
         "all items), or auto (by the data)")
      ->check([](const std::string& text) {
        return ParseCorrection(text).has_value() ? "" : "expected auto, off or a number in [0, 1]";
      })
      ->default_str("auto")
      ->group(group);
  app->add_option("--average", o->average_decay,
                  "Share that the running mean of the parameters keeps at each step; 0: no mean")
      ->check(CLI::Range(0.0, 0.99999))
      ->capture_default_str()
      ->group(group);
  app->add_option("--batch-users", o->batch_users, "Users of a batch")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--batch-pieces", o->batch_pieces,
         "Threads that can share a batch: part of what a result depends on (0: as many as there are, "
         "but at least 2)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group(group);
  app->add_option("--transformer-max-epochs", o->max_epochs, "Most epochs of early stopping")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--transformer-patience", o->patience, "Epochs without a better NDCG@10 before stopping")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddModelFlags(CLI::App* app, ModelOptions* o) {
  const std::string group = "Model";
  AlsOptions& als = o->training.attention.als;
  AttentionFitOptions& attention = o->training.attention.attention;
  const std::vector<std::string> kinds(ModelKinds().begin(), ModelKinds().end());
  app->add_option("--model", o->training.kind, "Kind of model")
      ->check(CLI::IsMember(kinds))
      ->capture_default_str()
      ->group(group);
  app->add_option("--blend", o->training.blend, "Kinds of models that --model blend combines")
      ->check(CLI::IsMember(kinds))
      ->delimiter(',')
      ->capture_default_str()
      ->group(group);
  app->add_option("--neighbours", o->training.neighbours,
                  "ease, item-knn: of each item; 0: ease by the inverse over all items")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--dim", als.dim, "Floats of a vector")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str()
      ->group(group);
  app->add_option(
         "--als-lambda", als.lambda,
         "iALS: regularisation; 0: by the size of the data, and for --model ials chosen on validation")
      ->capture_default_str()
      ->group(group);
  app->add_option("--als-alpha0", als.alpha0,
                  "iALS: weight of unobserved pairs; for --model ials chosen on validation unless this or "
                  "--als-lambda is given")
      ->each([o](const std::string& /*value*/) { o->training.als_alpha0_given = true; })
      ->capture_default_str()
      ->group(group);
  app->add_option("--als-nu", als.nu, "iALS: exponent of the frequency scaling")
      ->capture_default_str()
      ->group(group);
  app->add_option("--als-epochs", als.epochs, "iALS: epochs")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--epochs", o->training.epochs, "Epochs; 0 finds the number by early stopping")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-epochs", attention.max_epochs, "Attention: most epochs of early stopping")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--patience", attention.patience,
                  "Attention: epochs without a better NDCG@10 before stopping")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-events", attention.max_events,
                  "Newest events of a history that the encoder looks at")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  app->add_option("--learning-rate", attention.learning_rate, "Attention: Adam's rate for the tables")
      ->capture_default_str()
      ->group(group);
  app->add_option("--num-negatives", attention.num_negatives, "Attention: items sampled against each batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(group);
  app->add_option("--max-examples", attention.max_examples,
                  "Attention: most events that are predicted in an epoch")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str()
      ->group(group);
  app->add_option("--attention-dropout", attention.dropout,
                  "Attention: share of the user vector's floats that a step leaves out (default: 0.2; where "
                  "users have fewer than 30 events on average, 0.5)")
      ->check(CLI::Range(0.0, 0.95))
      ->group(group);
  app->add_option("--event-dropout", attention.event_dropout,
                  "Attention: share of a history's events that a step leaves out (default: 0.1)")
      ->check(CLI::Range(0.0, 0.95))
      ->group(group);
  app->add_option("--attention-average", attention.average_decay,
                  "Attention: share that the running mean of the parameters keeps at each step; 0: no mean "
                  "(default: a mean over two epochs, 0.998 at most)")
      ->check(CLI::Range(0.0, 0.99999))
      ->group(group);
  app->add_flag("--item-features,!--no-item-features", o->training.attention.item_features,
                "Attention, transformer: learn a vector for each category, attribute and word of titles that "
                "items share (default: "
                "where items are described)")
      ->group(group);
  AddTransformerFlags(app, &o->training.transformer);
  app->add_option("--value-edges", o->value_edges,
                  "Where to split a type's values into classes, such as rating:2.5,3.5,4.5 (default: "
                  "deciles); repeatable")
      ->group(group);
  AddRowsFlag(app, &o->training.attention.row_type, group);
  app->add_option("--checkpoint-dir", o->training.checkpoint_dir,
                  "Kinds that train for long keep their state in this directory and go on from it")
      ->group(group);
  app->add_option_function<double>(
         "--memory-limit", [o](double mb) { o->training.memory_limit = static_cast<uint64_t>(mb * 1e6); },
         "MB that a fit may take; a larger one is refused before it begins (default: what the machine, or "
         "its "
         "container, has)")
      ->check(CLI::Range(1.0, 1e9))
      ->group(group);
  app->add_option("--seed", o->seed,
                  "Of all random numbers: the same seed, events and items make the same snapshot")
      ->capture_default_str()
      ->group(group);
  app->add_option("--threads", o->threads, "0: one for each core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group(group);
}

absl::StatusOr<Dataset> LoadInput(const InputOptions& options, Progress* progress, LiveState* live) {
  if (options.events.path.empty() && options.data_dir.empty()) {
    return absl::InvalidArgumentError("there are no events: give --events FILE, --data-dir DIR or both");
  }
  EventFileOptions events = options.events;
  ItemFileOptions items = options.items;
  if (!options.delimiter.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(events.delimiter, ParseCharacter("--delimiter", options.delimiter));
    items.delimiter = events.delimiter;
  }
  SWIFTLET_ASSIGN_OR_RETURN(items.category_separator,
                            ParseCharacter("--category-separator", options.category_separator));
  items.max_bad_lines = events.max_bad_lines;
  events.time_unit = options.time_unit == "s"    ? TimeUnit::kSeconds
                     : options.time_unit == "ms" ? TimeUnit::kMilliseconds
                                                 : TimeUnit::kAuto;

  std::unique_ptr<ScopedDirectory> scratch;
  std::unique_ptr<TrainingReader> reader;
  if (!options.data_dir.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(scratch, MakeTemporaryDirectory());
    SWIFTLET_ASSIGN_OR_RETURN(reader, TrainingReader::Open(options.data_dir, scratch->path() + "/secondary"));
  }
  DatasetBuilder builder(reader != nullptr ? reader->event_types() : EventTypeTable::Default());
  // A user who is erased from here on is masked in the snapshot: files do not tell when their events arrived.
  builder.set_trained_through_ms(absl::ToUnixMillis(absl::Now()));
  if (!events.path.empty()) {
    SWIFTLET_ASSIGN_OR_RETURN(const LoadStats stats, LoadEventFile(events, &builder));
    progress->Say(
        absl::StrCat("read ", WithCommas(stats.num_records), " events from ", events.path, Skipped(stats)));
  }
  if (!items.path.empty()) {
    std::vector<ItemRecord> records;
    SWIFTLET_ASSIGN_OR_RETURN(const LoadStats stats, LoadItemFile(items, &records));
    absl::flat_hash_set<std::string> known;
    for (ItemRecord& r : records) {
      known.insert(r.item_id);
      builder.SetItem(r.item_id, std::move(r.title), std::move(r.categories), std::move(r.attributes));
    }
    progress->Say(
        absl::StrCat("read ", WithCommas(known.size()), " items from ", items.path, Skipped(stats)));
    if (const size_t repeated = records.size() - known.size(); repeated > 0) {
      progress->Say(absl::StrCat(items.path, ": ", WithCommas(repeated),
                                 " lines describe an item again: the last one of each counts"));
    }
  }
  if (reader != nullptr) {
    int64_t newest_ms = 0;
    uint64_t count = 0, num_items = 0;
    SWIFTLET_RETURN_IF_ERROR(
        reader->ForEachEvent([&](int64_t arrival_ms, const EventRecord& event) -> absl::Status {
          if (count++ % 4096 == 0) SWIFTLET_RETURN_IF_ERROR(CheckInterrupted());
          if (reader->event_types().FindById(event.type) == nullptr) {
            return absl::DataLossError(absl::StrCat(options.data_dir, ": an event of user \"", event.user_id,
                                                    "\" has the unknown type ", int{event.type}));
          }
          builder.AddEvent(event.user_id, event.item_id, event.type, event.value, event.timestamp_ms);
          newest_ms = std::max(newest_ms, arrival_ms);
          return absl::OkStatus();
        }));
    SWIFTLET_RETURN_IF_ERROR(reader->ForEachItem([&](const CatalogItem& item) {
      ++num_items;
      if (live != nullptr) {
        live->catalog.push_back(item);
      } else if (item.deleted) {
        builder.DropItem(item.item_id);
      } else if (item.has_metadata) {
        builder.SetItem(item.item_id, item.title, item.categories, item.attributes);
      }
      return absl::OkStatus();
    }));
    if (live != nullptr) live->erasures = reader->erasures();
    // An erasure that the log does not have yet arrives after its newest event.
    if (count > 0) builder.set_trained_through_ms(newest_ms);
    progress->Say(absl::StrCat("read ", WithCommas(count), " events and ", WithCommas(num_items),
                               " items from ", options.data_dir, ", without ",
                               WithCommas(reader->num_erased_events()), " events of erased users"));
  }
  SWIFTLET_ASSIGN_OR_RETURN(Dataset data, builder.Build());
  progress->Say(absl::StrCat(
      WithCommas(data.events.size()), " events, ", WithCommas(data.num_users()), " users, ",
      WithCommas(data.num_items()), " items",
      data.unseen_items.empty()
          ? ""
          : absl::StrCat("; ", WithCommas(data.unseen_items.size()), " described items have no event")));
  if (const size_t identical = CountIdentical(data); identical > 0) {
    progress->Say(absl::StrCat(WithCommas(identical),
                               " events are identical to another one (user, item, type, value and "
                               "time); they count as any other"));
  }
  return data;
}

void MaskErasedUsers(const LiveState& live, int64_t trained_through_ms, UserVectors* users) {
  for (const auto& [user_id, erasure] : live.erasures) {
    if (erasure.Masks(trained_through_ms)) users->erase(user_id);
  }
}

absl::StatusOr<TrainingOptions> FinishTrainingOptions(const ModelOptions& options,
                                                      const EventTypeTable& event_types) {
  TrainingOptions training = options.training;
  FitOptions& fit = training.attention;
  const auto check = [](const char* flag, float value, float low, float high) {
    if (value >= low && value <= high) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", value, " is not in [", low, ", ", high, "]"));
  };
  SWIFTLET_RETURN_IF_ERROR(check("--als-lambda", fit.als.lambda, 0, 1e3f));
  SWIFTLET_RETURN_IF_ERROR(check("--als-alpha0", fit.als.alpha0, 1e-9f, 1e3f));
  SWIFTLET_RETURN_IF_ERROR(check("--als-nu", fit.als.nu, 0, 2));
  SWIFTLET_RETURN_IF_ERROR(check("--learning-rate", fit.attention.learning_rate, 1e-9f, 1));
  for (const std::string& text : options.value_edges) {
    SWIFTLET_ASSIGN_OR_RETURN(ValueEdges edges, ParseValueEdges(text, event_types));
    fit.value_edges.push_back(std::move(edges));
  }
  training.seed = fit.als.seed = fit.attention.seed = static_cast<uint64_t>(options.seed);
  return training;
}

std::unique_ptr<ThreadPool> MakePool(uint32_t threads) {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  // The calling thread works, too.
  return threads == 1 ? nullptr : std::make_unique<ThreadPool>(threads - 1);
}

}  // namespace swiftlet

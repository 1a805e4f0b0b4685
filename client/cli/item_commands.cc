// swiftlet item get, upsert, load, delete.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/bulk_loader.h"
#include "client/cli/command.h"
#include "client/cli/item_sink.h"
#include "client/cli/text.h"

namespace swiftlet::cli {
namespace {

std::string StatusText(const v1::Item& item) {
  std::string text;
  switch (item.status()) {
    case v1::Item::STATUS_RECOMMENDABLE:
      text = item.vector_from_content()      ? "recommendable by its content"
             : item.vector_from_categories() ? "recommendable by its categories"
                                             : "recommendable";
      break;
    case v1::Item::STATUS_NO_VECTOR:
      text = "no vector yet";
      break;
    case v1::Item::STATUS_DELETED:
      text = "deleted";
      break;
    default:
      text = "-";
  }
  return item.changed_since_snapshot() ? text + ", changed since the snapshot" : text;
}

struct GetFlags {
  std::vector<std::string> ids;
  bool vectors = false;
};

int RunGet(Session& session, const GetFlags& flags) {
  v1::GetItemsRequest request;
  request.mutable_item_ids()->Assign(flags.ids.begin(), flags.ids.end());
  request.set_include_vectors(flags.vectors);
  const std::unique_ptr<Client> client = session.Connect("item get");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::GetItemsResponse> answer = client->GetItems(request, session.Call());
  if (!answer.ok()) return session.Fail("item get", answer.status());
  if (session.json) return session.PrintJson(*answer);
  if (answer->items_size() > 0) {
    Table table(
        {{"Item"}, {"Title", Table::Align::kLeft, 44}, {"Categories", Table::Align::kLeft, 32}, {"Status"}});
    for (const v1::Item& item : answer->items()) {
      table.AddRow({item.item_id(), item.metadata().title(),
                    absl::StrJoin(item.metadata().categories(), ", "), StatusText(item)});
      if (item.vector_size() > 0) table.AddNote(absl::StrCat("[", absl::StrJoin(item.vector(), ", "), "]"));
    }
    table.Print(session.io.out, session.io.out_is_terminal);
  }
  if (answer->unknown_item_ids_size() > 0) {
    session.io.out << "Unknown: " << Printable(absl::StrJoin(answer->unknown_item_ids(), ", ")) << "\n";
  }
  return kOk;
}

struct UpsertFlags {
  std::string id, title, vector, vector_file;
  std::vector<std::string> categories, attributes;
};

// Numbers between commas, blanks or line ends; brackets around them are allowed.
absl::Status ParseVector(std::string text, v1::Item& item) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '[' || c == ']'; }, ' ');
  for (const absl::string_view part : absl::StrSplit(text, absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    float number = 0;
    if (!absl::SimpleAtof(part, &number) || !std::isfinite(number)) {
      return absl::InvalidArgumentError(
          absl::StrCat("number ", item.vector_size() + 1, ": \"", part, "\" is not a finite number"));
    }
    item.add_vector(number);
  }
  return item.vector_size() > 0 ? absl::OkStatus() : absl::InvalidArgumentError("no numbers");
}

int RunUpsert(Session& session, const UpsertFlags& flags) {
  v1::UpsertItemsRequest request;
  v1::Item& item = *request.add_items();
  item.set_item_id(flags.id);
  if (!flags.title.empty() || !flags.categories.empty()) {
    item.mutable_metadata()->set_title(flags.title);
    item.mutable_metadata()->mutable_categories()->Assign(flags.categories.begin(), flags.categories.end());
  }
  for (const std::string& attribute : flags.attributes) {
    const size_t equals = attribute.find('=');
    if (equals == std::string::npos || equals == 0) {
      return session.Usage("item upsert",
                           absl::StrCat("--attribute: \"", Printable(attribute), "\" is not NAME=VALUE"));
    }
    (*item.mutable_metadata()->mutable_attributes())[attribute.substr(0, equals)] =
        attribute.substr(equals + 1);
  }
  if (!flags.vector.empty()) {
    if (const absl::Status status = ParseVector(flags.vector, item); !status.ok()) {
      return session.Usage("item upsert", absl::StrCat("--vector: ", status.message()));
    }
  } else if (!flags.vector_file.empty()) {
    std::ifstream file(flags.vector_file);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const absl::Status status = file ? ParseVector(text, item) : absl::NotFoundError("cannot be read");
    if (!status.ok()) {
      return session.Fail("item upsert", absl::Status(status.code(), absl::StrCat(flags.vector_file, ": ",
                                                                                  status.message())));
    }
  }
  if (!item.has_metadata() && item.vector_size() == 0) {
    return session.Usage("item upsert", "give --title, --category, --attribute or a vector");
  }
  const std::unique_ptr<Client> client = session.Connect("item upsert");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::UpsertItemsResponse> answer = client->UpsertItems(request, session.Call());
  if (!answer.ok()) return session.Fail("item upsert", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << "Item " << Printable(flags.id) << " is stored.\n";
  return kOk;
}

struct LoadFlags {
  std::string file, columns;
  size_t batch = 1000;
  bool skip_bad = false;
};

int RunLoad(Session& session, const LoadFlags& flags) {
  const absl::StatusOr<std::unique_ptr<TextTable>> table = OpenTable(flags.file);
  if (!table.ok()) return session.Fail("item load", table.status());
  const std::unique_ptr<Client> client = session.Connect("item load");
  if (client == nullptr) return kFailed;
  absl::StatusOr<ItemSink> sink =
      ItemSink::Create(flags.columns, **table, *client, session.Call(absl::Seconds(30)));
  if (!sink.ok()) return session.Fail("item load", sink.status());
  return LoadTable(session, **table, *sink,
                   {.command = "item load",
                    .noun = "item",
                    .field = "items",
                    .batch_size = flags.batch,
                    .skip_bad = flags.skip_bad,
                    .resume_hint = "Load the file again: an item that is there is replaced."});
}

int RunDelete(Session& session, const std::vector<std::string>& ids) {
  v1::DeleteItemsRequest request;
  request.mutable_item_ids()->Assign(ids.begin(), ids.end());
  const std::unique_ptr<Client> client = session.Connect("item delete");
  if (client == nullptr) return kFailed;
  const absl::StatusOr<v1::DeleteItemsResponse> answer = client->DeleteItems(request, session.Call());
  if (!answer.ok()) return session.Fail("item delete", answer.status());
  if (session.json) return session.PrintJson(*answer);
  session.io.out << Count(answer->num_deleted(), "item") << " deleted";
  if (const int64_t rest = static_cast<int64_t>(ids.size()) - answer->num_deleted(); rest > 0) {
    session.io.out << ", " << WithThousands(rest) << " unknown or deleted before";
  }
  session.io.out << ".\n";
  return kOk;
}

}  // namespace

void AddItemCommands(CLI::App& app, Session& session) {
  CLI::App* item = app.add_subcommand("item", "The catalogue");
  item->require_subcommand(1);
  item->footer("Example:\n  swiftlet item get 318 296");

  const auto get_flags = std::make_shared<GetFlags>();
  CLI::App* get = AddCommand(*item, session, "get", "What is known of items", "  swiftlet item get 318 296",
                             [&session, get_flags] { return RunGet(session, *get_flags); });
  get->add_option("ids", get_flags->ids, "The items' ids")->required()->type_name("ITEM");
  get->add_flag("--vectors", get_flags->vectors, "Also the items' vectors");

  const auto upsert_flags = std::make_shared<UpsertFlags>();
  CLI::App* upsert = AddCommand(
      *item, session, "upsert",
      "Adds or changes an item; it is recommendable at once with a vector, or with title and categories "
      "that the model knows something about. Title, categories and attributes are replaced together.",
      "  swiftlet item upsert 9001 --title \"New Film (2026)\" --category Drama --attribute director=Varda\n"
      "  swiftlet item upsert 9001 --vector 0.12,-0.5,0.33",
      [&session, upsert_flags] { return RunUpsert(session, *upsert_flags); });
  upsert->add_option("id", upsert_flags->id, "The item's id")->required()->type_name("ITEM");
  upsert->add_option("--title", upsert_flags->title, "Its title");
  AddRepeated(upsert, "--category", upsert_flags->categories, "One of its categories")->type_name("NAME");
  AddRepeated(upsert, "--attribute", upsert_flags->attributes,
              "What else is known, for models that place new items by their content")
      ->type_name("NAME=VALUE");
  CLI::Option* vector = upsert->add_option("--vector", upsert_flags->vector,
                                           "Its vector in the serving snapshot's space: numbers with commas");
  upsert->add_option("--vector-file", upsert_flags->vector_file, "A file with the numbers")->excludes(vector);

  const auto load_flags = std::make_shared<LoadFlags>();
  CLI::App* load =
      AddCommand(*item, session, "load",
                 "Adds or changes the items of a CSV or TSV file with a header line, plain or gzip.\n"
                 "Column item is needed, and title or categories (also named genres), separated by |. Of "
                 "lines with the same item\n"
                 "the last one wins.",
                 "  swiftlet item load items.tsv\n"
                 "  swiftlet item load products.csv.gz --columns item=sku,title=name,categories=tags",
                 [&session, load_flags] { return RunLoad(session, *load_flags); });
  load->add_option("file", load_flags->file, "The file; - reads the standard input")
      ->required()
      ->type_name("FILE");
  load->add_option("--columns", load_flags->columns,
                   "Which column is what: field=column,... with the fields item, title, categories");
  load->add_option("--batch", load_flags->batch, "Items a call")->check(CLI::Range(1, 100000));
  load->add_flag("--skip-bad", load_flags->skip_bad,
                 "Skip and count bad lines instead of stopping at the first");

  const auto ids = std::make_shared<std::vector<std::string>>();
  CLI::App* erase =
      AddCommand(*item, session, "delete", "Takes items out of every answer until they are upserted again",
                 "  swiftlet item delete 9001 9002", [&session, ids] { return RunDelete(session, *ids); });
  erase->add_option("ids", *ids, "The items' ids")->required()->type_name("ITEM");
}

}  // namespace swiftlet::cli

#include "client/cli/item_sink.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/item_key.h"
#include "engine/base/status_macros.h"

namespace swiftlet::cli {

absl::StatusOr<ItemSink> ItemSink::Create(const std::string& columns, const TextTable& table, Client& client,
                                          const CallOptions& call) {
  // The names that swiftlet-trainer knows.
  const std::vector<ColumnMap::Field> fields = {
      {"item",
       {"item", "item_id", "itemid", "id", "movie", "movie_id", "movieid", "product_id", "productid", "asin",
        "track_id", "book_id", "article_id"},
       true},
      {"title", {"title", "name"}, false},
      {"categories", {"categories", "genres", "category", "genre", "tags"}, false}};
  SWIFTLET_ASSIGN_OR_RETURN(ColumnMap map, ColumnMap::Create(fields, columns, table));
  if (!map.Find("title") && !map.Find("categories")) {
    return absl::InvalidArgumentError(absl::StrCat(
        table.path(), ":1: neither a title nor a categories column; name one: --columns title=COLUMN"));
  }
  return ItemSink(std::move(map), client, call);
}

absl::Status ItemSink::Add(const std::vector<std::string>& fields, uint64_t line) {
  v1::Item item;
  item.set_item_id(fields[*columns_.Find("item")]);
  if (!IsValidId(item.item_id())) {
    return absl::InvalidArgumentError(
        absl::StrCat("item: not an id of 1 to ", kMaxIdBytes, " bytes of UTF-8"));
  }
  if (const auto title = columns_.Find("title")) item.mutable_metadata()->set_title(fields[*title]);
  if (const auto categories = columns_.Find("categories")) {
    item.mutable_metadata();  // an item without categories loses those it had
    for (const absl::string_view category :
         absl::StrSplit(fields[*categories], '|', absl::SkipWhitespace())) {
      item.mutable_metadata()->add_categories(std::string(category));
    }
  }
  const auto [position, inserted] = position_.try_emplace(item.item_id(), request_.items_size());
  if (inserted) request_.add_items();
  *request_.mutable_items(position->second) = std::move(item);
  return absl::OkStatus();
}

absl::Status ItemSink::Send(EventLoadObserver& observer) {
  if (request_.items_size() == 0) return absl::OkStatus();
  SWIFTLET_ASSIGN_OR_RETURN(const v1::UpsertItemsResponse answer, client_->UpsertItems(request_, call_));
  counts_.stored += answer.num_upserted();
  ++counts_.batches;
  Clear();
  return observer.OnWait() ? absl::OkStatus() : absl::CancelledError("stopped by the caller");
}

bool ItemSink::Drop(size_t index) {
  if (index >= size()) return false;
  request_.mutable_items()->DeleteSubrange(static_cast<int>(index), 1);
  position_.clear();
  for (int i = 0; i < request_.items_size(); ++i) position_[request_.items(i).item_id()] = i;
  if (size() == 0) ++counts_.batches;  // nothing is left to store
  return true;
}

void ItemSink::Clear() {
  request_.Clear();
  position_.clear();
}

}  // namespace swiftlet::cli

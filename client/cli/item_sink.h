// The items of a delimited file.
#ifndef SWIFTLET_CLIENT_CLI_ITEM_SINK_H_
#define SWIFTLET_CLIENT_CLI_ITEM_SINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/bulk_loader.h"
#include "client/client.h"

namespace swiftlet::cli {

// Upserts items with title and categories (separated by '|'). Of lines with the same item the last one wins.
class ItemSink : public BulkSink {
 public:
  // `columns`: see ColumnMap; of item, title, categories. `client` must outlive this.
  static absl::StatusOr<ItemSink> Create(const std::string& columns, const TextTable& table, Client& client,
                                         const CallOptions& call);

  absl::Status Add(const std::vector<std::string>& fields, uint64_t line) override;
  size_t size() const override { return request_.items_size(); }
  absl::Status Send(EventLoadObserver& observer) override;
  absl::Status Finish(EventLoadObserver& /*observer*/) override { return absl::OkStatus(); }
  Counts counts() const override { return counts_; }
  bool Drop(size_t index) override;
  void Clear() override;

 private:
  ItemSink(ColumnMap columns, Client& client, const CallOptions& call)
      : columns_(std::move(columns)), client_(&client), call_(call) {}

  ColumnMap columns_;
  Client* client_;
  CallOptions call_;
  Counts counts_;
  v1::UpsertItemsRequest request_;
  absl::flat_hash_map<std::string, int> position_;  // of an item in request_
};

}  // namespace swiftlet::cli

#endif  // SWIFTLET_CLIENT_CLI_ITEM_SINK_H_

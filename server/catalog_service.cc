#include "server/catalog_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace swiftlet {
namespace {

v1::Item::Status ToProto(ItemStatus status) {
  switch (status) {
    case ItemStatus::kRecommendable:
      return v1::Item::STATUS_RECOMMENDABLE;
    case ItemStatus::kNoVector:
      return v1::Item::STATUS_NO_VECTOR;
    case ItemStatus::kDeleted:
      return v1::Item::STATUS_DELETED;
    case ItemStatus::kUnknown:
      break;
  }
  return v1::Item::STATUS_UNSPECIFIED;
}

}  // namespace

grpc::ServerUnaryReactor* CatalogService::UpsertItems(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::UpsertItemsRequest>(
      core_->gate, Method::kUpsertItems, context, in, out,
      [this](const Call& call, v1::UpsertItemsRequest& request) {
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        std::vector<ItemChange> changes;
        changes.reserve(request.items_size());
        for (v1::Item& item : *request.mutable_items()) {
          ItemChange& change = changes.emplace_back();
          change.item_id = std::move(*item.mutable_item_id());
          if (item.has_metadata()) {
            change.has_metadata = true;
            change.title = std::move(*item.mutable_metadata()->mutable_title());
            change.categories.assign(item.metadata().categories().begin(),
                                     item.metadata().categories().end());
            change.attributes.assign(item.metadata().attributes().begin(),
                                     item.metadata().attributes().end());
            std::sort(change.attributes.begin(), change.attributes.end());
          }
          change.vector.assign(item.vector().begin(), item.vector().end());
          for (const v1::ContentVector& vector : item.content_vectors()) {
            change.content_vectors.emplace_back(
                vector.source(), std::vector<float>(vector.values().begin(), vector.values().end()));
          }
        }
        if (absl::Status status = call.Run(Stage::kStore, [&] { return core_->catalog->Upsert(changes); });
            !status.ok()) {
          return call.Finish(status);
        }
        call.metrics().CountCatalogChanges(changes.size(), 0);
        v1::UpsertItemsResponse response;
        response.set_num_upserted(static_cast<int32_t>(changes.size()));
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* CatalogService::DeleteItems(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::DeleteItemsRequest>(
      core_->gate, Method::kDeleteItems, context, in, out,
      [this](const Call& call, v1::DeleteItemsRequest& request) {
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        const std::vector<std::string> ids(request.item_ids().begin(), request.item_ids().end());
        const absl::StatusOr<int> num_deleted =
            call.Run(Stage::kStore, [&] { return core_->catalog->Delete(ids); });
        if (!num_deleted.ok()) return call.Finish(num_deleted.status());
        call.metrics().CountCatalogChanges(0, *num_deleted);
        v1::DeleteItemsResponse response;
        response.set_num_deleted(*num_deleted);
        call.Finish(response);
      });
}

grpc::ServerUnaryReactor* CatalogService::GetItems(grpc::CallbackServerContext* context,
                                                   const grpc::ByteBuffer* in, grpc::ByteBuffer* out) {
  return ServeOnWorker<v1::GetItemsRequest>(
      core_->gate, Method::kGetItems, context, in, out,
      [this](const Call& call, v1::GetItemsRequest& request) {
        if (absl::Status status = core_->validator.Check(request); !status.ok()) return call.Finish(status);
        const std::vector<std::string> ids(request.item_ids().begin(), request.item_ids().end());
        const std::shared_ptr<const ServingState> state = core_->catalog->Acquire();
        absl::StatusOr<std::vector<ItemInfo>> infos =
            call.Run(Stage::kStore, [&] { return core_->catalog->Get(state.get(), ids); });
        if (!infos.ok()) return call.Finish(infos.status());
        v1::GetItemsResponse response;
        response.set_snapshot_version(state == nullptr ? 0 : state->snapshot->version());
        for (size_t i = 0; i < ids.size(); ++i) {
          ItemInfo& info = (*infos)[i];
          if (info.status == ItemStatus::kUnknown) {
            response.add_unknown_item_ids(ids[i]);
            continue;
          }
          v1::Item* item = response.add_items();
          item->set_item_id(ids[i]);
          item->set_status(ToProto(info.status));
          item->set_changed_since_snapshot(info.changed_since_snapshot);
          item->set_vector_from_categories(info.vector_from_categories);
          item->set_vector_from_content(info.vector_from_content);
          if (info.has_metadata) {
            item->mutable_metadata()->set_title(std::move(info.title));
            for (std::string& category : info.categories) {
              item->mutable_metadata()->add_categories(std::move(category));
            }
            item->mutable_metadata()->mutable_attributes()->insert(info.attributes.begin(),
                                                                   info.attributes.end());
          }
          if (request.include_vectors()) item->mutable_vector()->Add(info.vector.begin(), info.vector.end());
        }
        call.Finish(response);
      });
}

}  // namespace swiftlet

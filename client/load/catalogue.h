// Which items a server has.
#ifndef SWIFTLET_CLIENT_LOAD_CATALOGUE_H_
#define SWIFTLET_CLIENT_LOAD_CATALOGUE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace swiftlet::load {

// One id a line; empty lines are skipped. NOT_FOUND or INVALID_ARGUMENT name the file.
absl::StatusOr<std::vector<std::string>> ReadItemIds(const std::string& path);

// "<prefix>0" .. "<prefix><n-1>".
std::vector<std::string> NumberedItems(const std::string& prefix, int64_t n);

// Up to `most` items that the server recommends: the most popular ones, then those similar to them, and so
// on. NOT_FOUND when there are none.
absl::StatusOr<std::vector<std::string>> DiscoverItems(Client& client, size_t most);

// NOT_FOUND naming an id that the server does not know, out of a sample of `item_ids`.
absl::Status CheckItems(Client& client, const std::vector<std::string>& item_ids);

}  // namespace swiftlet::load

#endif  // SWIFTLET_CLIENT_LOAD_CATALOGUE_H_

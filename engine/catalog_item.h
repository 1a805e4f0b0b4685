// What the item store knows about one item.
#ifndef SWIFTLET_ENGINE_CATALOG_ITEM_H_
#define SWIFTLET_ENGINE_CATALOG_ITEM_H_

#include <string>
#include <vector>

namespace swiftlet {

// The input of a CatalogView, and what storage keeps.
struct CatalogItem {
  std::string item_id = {};
  bool deleted = false;
  bool has_metadata = false;
  std::string title = {};
  std::vector<std::string> categories = {};
  // In the embedding space `space`, or empty.
  std::vector<float> vector = {};
  std::string space = {};
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_CATALOG_ITEM_H_

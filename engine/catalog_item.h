// What the item store knows about one item.
#ifndef SWIFTLET_ENGINE_CATALOG_ITEM_H_
#define SWIFTLET_ENGINE_CATALOG_ITEM_H_

#include <string>
#include <utility>
#include <vector>

namespace swiftlet {

// The input of a CatalogView, and what storage keeps.
struct CatalogItem {
  std::string item_id = {};
  bool deleted = false;
  bool has_metadata = false;
  std::string title = {};
  std::vector<std::string> categories = {};
  // Name and value; what else is known, for models with a content tower.
  std::vector<std::pair<std::string, std::string>> attributes = {};
  // Vectors from elsewhere, by the name of their source, such as embeddings of texts; finite. For models
  // whose content tower was trained with vectors of this source.
  std::vector<std::pair<std::string, std::vector<float>>> content_vectors = {};
  // In the embedding space `space`, or empty.
  std::vector<float> vector = {};
  std::string space = {};
};

}  // namespace swiftlet

#endif  // SWIFTLET_ENGINE_CATALOG_ITEM_H_

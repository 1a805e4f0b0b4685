// Writes a small random snapshot and what a reader should find in it, for read_with_python_test.py.
//
//   write_sample_snapshot <new directory>     -> model.safetensors, manifest.json, expected.txt
#include <cstdio>
#include <fstream>

#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s <new directory>\n", argv[0]);
    return 2;
  }
  const swiftlet::SnapshotContents contents =
      swiftlet::testing::RandomSnapshot({.num_items = 37, .dim = 10, .version = 3});
  const auto snapshot = swiftlet::testing::WriteAndLoad(argv[1], contents);
  // One item a line: id, key, title, popularity, first and last component of the vector, as hexadecimal
  // floats.
  std::ofstream out(std::string(argv[1]) + "/expected.txt");
  for (uint32_t r = 0; r < snapshot->num_items(); ++r) {
    char line[512];
    std::snprintf(line, sizeof(line), "%s\t%llu\t%s\t%a\t%a\t%a\n", contents.item_ids[r].c_str(),
                  static_cast<unsigned long long>(snapshot->Key(r)), contents.item_titles[r].c_str(),
                  double{contents.item_popularity[r]}, double{contents.item_vectors[r * 10]},
                  double{contents.item_vectors[r * 10 + 9]});
    out << line;
  }
  return out.flush() ? 0 : 1;
}

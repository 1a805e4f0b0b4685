// Writes a small random snapshot and what a reader should find in it, for read_with_python_test.py.
//
//   write_sample_snapshot <new directory> float32|bf16     -> model.safetensors, manifest.json, expected.txt
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>

#include "engine/snapshot/model_snapshot.h"
#include "tests/testing/random_snapshot.h"

int main(int argc, char** argv) {
  const std::optional<swiftlet::RowType> row_type =
      argc == 3 ? swiftlet::ParseRowType(argv[2]) : std::nullopt;
  if (!row_type.has_value()) {
    std::fprintf(stderr, "usage: %s <new directory> float32|bf16\n", argv[0]);
    return 2;
  }
  const swiftlet::SnapshotContents contents =
      swiftlet::testing::RandomSnapshot({.num_items = 37, .dim = 10, .version = 3, .row_type = *row_type});
  const auto snapshot = swiftlet::testing::WriteAndLoad(argv[1], contents);
  // One item a line: id, key, title, popularity, first and last component of the vector, as hexadecimal
  // floats.
  std::ofstream out(std::string(argv[1]) + "/expected.txt");
  for (uint32_t r = 0; r < snapshot->num_items(); ++r) {
    char line[512];
    std::snprintf(line, sizeof(line), "%s\t%llu\t%s\t%a\t%a\t%a\n", contents.item_ids[r].c_str(),
                  static_cast<unsigned long long>(snapshot->Key(r)), contents.item_titles[r].c_str(),
                  double{contents.item_popularity[r]}, double{snapshot->ItemVector(r)[0]},
                  double{snapshot->ItemVector(r)[9]});
    out << line;
  }
  return out.flush() ? 0 : 1;
}

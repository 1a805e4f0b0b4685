#include "tests/integration/snapshot_mutations.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/snapshot/manifest.h"
#include "engine/snapshot/safetensors.h"

namespace swiftlet::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteAll(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  ASSERT_TRUE(out.flush().good()) << path;
}

// As a liar would: the manifest knows the size and checksum of what is there now.
void MakeChecksumsRight(const std::string& dir) {
  Manifest manifest = *ReadManifest(dir);
  for (auto& [name, file] : manifest.files) {
    file = {fs::file_size(dir + "/" + name), *ChecksumFile(dir + "/" + name)};
  }
  WriteAll(dir + "/" + kManifestFile, FormatManifest(manifest));
}

// Without its own checksum, so that the checks of the fields are what refuses it.
void ChangeManifest(const std::string& dir, const std::function<void(json&)>& change) {
  json manifest = json::parse(ReadAll(dir + "/" + kManifestFile));
  manifest.erase("checksum");
  change(manifest);
  WriteAll(dir + "/" + kManifestFile, manifest.dump());
}

struct Tensor {
  DType dtype;
  std::vector<uint64_t> shape;
  std::vector<std::byte> data;

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data.data());
  }
  size_t size() const { return data.size() / DTypeBytes(dtype); }
};
using Tensors = std::map<std::string, Tensor>;

Tensors ReadTensors(const std::string& dir) {
  Tensors tensors;
  const auto file = SafetensorsFile::Open(dir + "/" + kModelFile);
  for (const auto& [name, t] : (*file)->tensors()) {
    tensors[name] = {t.dtype, t.shape, {t.data.begin(), t.data.end()}};
  }
  return tensors;
}

// Another model file, with the checksums made right.
void ChangeTensors(const std::string& dir, const std::function<void(Tensors&)>& change) {
  Tensors tensors = ReadTensors(dir);
  change(tensors);
  std::vector<NamedTensor> named;
  for (const auto& [name, t] : tensors) named.push_back({name, {t.dtype, t.shape, t.data}});
  fs::remove(dir + "/" + kModelFile);
  const absl::Status written = WriteSafetensors(dir + "/" + kModelFile, named, {});
  ASSERT_TRUE(written.ok()) << written;
  MakeChecksumsRight(dir);
}

// Another header over the same tensors, with the checksums made right.
void ChangeHeader(const std::string& dir, const std::function<std::string(const json&)>& change) {
  const std::string path = dir + "/" + kModelFile;
  const std::string bytes = ReadAll(path);
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  std::string header = change(json::parse(bytes.substr(8, length)));
  // The tensors stay aligned, or that would be what is wrong with them.
  if (header.starts_with('{')) header.append((64 - (8 + header.size()) % 64) % 64, ' ');
  length = bytes.size() - 8 - length;
  const uint64_t size = header.size();
  WriteAll(path, absl::StrCat(std::string(reinterpret_cast<const char*>(&size), 8), header,
                              bytes.substr(bytes.size() - length)));
  MakeChecksumsRight(dir);
}

class Mutations {
 public:
  Mutations(std::string good, std::string other, uint64_t seed)
      : good_(std::move(good)), other_(std::move(other)), random_(seed) {
    for (const char* name : {kManifestFile, kModelFile, kUserVectorsFile}) {
      files_[name] = ReadAll(good_ + "/" + name);
    }
    std::memcpy(&header_bytes_, files_[kModelFile].data(), 8);
  }

  std::vector<Mutation> Take() {
    Truncated();
    Flipped();
    ManifestFields();
    WholeTensors();
    Values();
    Ids();
    Headers();
    OtherFiles();
    Swapped();
    return std::move(all_);
  }

 private:
  void Add(std::string name, std::function<void(const std::string&)> apply, std::vector<std::string> reasons,
           bool may_mean_the_same = false) {
    all_.push_back({std::move(name), std::move(apply), std::move(reasons), may_mean_the_same});
  }
  size_t Below(size_t n) { return static_cast<size_t>(random_() % n); }

  void Truncated() {
    const std::pair<std::string, int> counts[] = {
        {kModelFile, 90}, {kManifestFile, 60}, {kUserVectorsFile, 60}};
    for (const auto& [file, count] : counts) {
      const size_t size = files_[file].size();
      std::vector<size_t> lengths = {0, 1, 7, 8, 9, size - 1};
      while (lengths.size() < static_cast<size_t>(count)) lengths.push_back(Below(size));
      for (const size_t length : lengths) {
        // The last byte of a manifest ends a line.
        const bool same = file == kManifestFile && length == size - 1;
        const auto cut = [file = file, length](const std::string& dir) {
          fs::resize_file(dir + "/" + file, length);
        };
        Add(absl::StrCat(file, " cut to ", length), cut, {file}, same);
        if (file == kManifestFile || random_() % 2 == 0) continue;
        Add(absl::StrCat(file, " cut to ", length, ", checksums right"),
            [cut](const std::string& dir) {
              cut(dir);
              MakeChecksumsRight(dir);
            },
            {file});
      }
    }
  }

  void Flipped() {
    const auto flip = [](std::string file, size_t at, int bit) {
      return [file = std::move(file), at, bit](const std::string& dir) {
        std::string bytes = ReadAll(dir + "/" + file);
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
        WriteAll(dir + "/" + file, bytes);
      };
    };
    const auto add = [&](const std::string& file, size_t range, int count, bool right_checksums) {
      for (int i = 0; i < count; ++i) {
        const size_t at = Below(range);
        const int bit = static_cast<int>(Below(8));
        const auto apply = flip(file, at, bit);
        const std::string name = absl::StrCat(file, " bit ", bit, " of byte ", at);
        if (right_checksums) {
          Add(
              name + ", checksums right",
              [apply](const std::string& dir) {
                apply(dir);
                MakeChecksumsRight(dir);
              },
              {file}, true);
        } else {
          Add(name, apply, {file}, file == kManifestFile);
        }
      }
    };
    add(kModelFile, files_[kModelFile].size(), 100, false);
    add(kManifestFile, files_[kManifestFile].size(), 100, false);
    add(kUserVectorsFile, files_[kUserVectorsFile].size(), 60, false);
    // Of the model only the header: another number among the vectors is another model.
    add(kModelFile, 8 + header_bytes_, 100, true);
    add(kUserVectorsFile, files_[kUserVectorsFile].size(), 60, true);
  }

  void ManifestFields() {
    const std::vector<json> wrong = {nullptr, "7", -1, 0.5, 1e300, json::array(), json::object(), true};
    for (const char* field :
         {"format_version", "version", "created_ms", "trained_through_ms", "model_kind", "dim", "row_stride",
          "num_items", "num_users", "num_categories", "embedding_space", "max_events", "event_types",
          "event_classes", "training", "files"}) {
      Add(absl::StrCat("no ", field),
          [field](const std::string& dir) { ChangeManifest(dir, [&](json& m) { m.erase(field); }); },
          {field});
      for (const json& value : wrong) {
        const bool text =
            std::string_view(field) == "model_kind" || std::string_view(field) == "embedding_space";
        if (text && value.is_string() && std::string_view(field) == "embedding_space") continue;
        Add(absl::StrCat(field, " = ", value.dump()),
            [field, value](const std::string& dir) {
              ChangeManifest(dir, [&](json& m) { m[field] = value; });
            },
            {field});
      }
    }
    // Counts and dimensions that are not those of the tensors, in a manifest that is otherwise in order.
    const auto count = [&](std::string name, std::function<void(Manifest&)> change,
                           std::vector<std::string> reasons) {
      Add(
          std::move(name),
          [change = std::move(change)](const std::string& dir) {
            Manifest manifest = *ReadManifest(dir);
            change(manifest);
            WriteAll(dir + "/" + kManifestFile, FormatManifest(manifest));
          },
          std::move(reasons));
    };
    for (const int by : {-7, -1, 1, 2, 1000}) {
      count(absl::StrCat("num_items ", by), [by](Manifest& m) { m.num_items += static_cast<uint64_t>(by); },
            {"item."});
      count(absl::StrCat("num_users ", by), [by](Manifest& m) { m.num_users += static_cast<uint64_t>(by); },
            {"num_users"});
      count(absl::StrCat("version ", by), [by](Manifest& m) { m.version += by == -7 ? 70 : by; },
            {"version"});
      count(absl::StrCat("format_version ", by), [by](Manifest& m) { m.format_version += by == -7 ? 7 : by; },
            {"format_version"});
      if (by >= -1) {
        count(absl::StrCat("num_categories ", by),
              [by](Manifest& m) { m.num_categories += static_cast<uint32_t>(by); }, {"categor"});
      }
    }
    for (uint32_t dim = 1; dim <= 20; ++dim) {
      if (dim == 10) continue;
      count(absl::StrCat("dim ", dim), [dim](Manifest& m) { m.dim = dim; },
            {"dim", "row_stride", "tensor", "user"});
    }
    count("no event class", [](Manifest& m) { m.event_classes.pop_back(); }, {"attention.class_logits"});
    for (const char* name : {"../model.safetensors", "/etc/passwd", "", ".", "a/b", "manifest.json"}) {
      Add(absl::StrCat("file \"", name, "\""),
          [name](const std::string& dir) {
            ChangeManifest(dir, [&](json& m) { m["files"][name] = m["files"][kModelFile]; });
          },
          {"files.", "files["});
    }
    Add("a file that is not there",
        [](const std::string& dir) {
          ChangeManifest(dir, [&](json& m) { m["files"]["index.bin"] = m["files"][kModelFile]; });
        },
        {"index.bin"});
    Add("manifest nested deeply",
        [](const std::string& dir) { WriteAll(dir + "/" + kManifestFile, std::string(100'000, '[')); },
        {kManifestFile});
    Add("manifest of 17 MB",
        [](const std::string& dir) { WriteAll(dir + "/" + kManifestFile, std::string(17 << 20, ' ')); },
        {kManifestFile});
    Add("a key twice",
        [](const std::string& dir) {
          std::string text = ReadAll(dir + "/" + kManifestFile);
          text.insert(1, "\"dim\": 10,");
          WriteAll(dir + "/" + kManifestFile, text);
        },
        {"dim"});
  }

  void WholeTensors() {
    const std::vector<std::string> optional = {"item.input_vectors", "item.bias", "item.attention_logits",
                                               "encoder.input_map"};
    for (const auto& [name, tensor] : ReadTensors(good_)) {
      const auto add = [&, name = name](const char* what, std::function<void(Tensor&)> change) {
        // What points into a text or a list of any length is what no longer fits.
        Add(absl::StrCat(name, ": ", what),
            [name, change = std::move(change)](const std::string& dir) {
              ChangeTensors(dir, [&](Tensors& t) { change(t[name]); });
            },
            {name.substr(0, name.find("_bytes")), "item.category_offsets"});
      };
      if (std::find(optional.begin(), optional.end(), name) == optional.end()) {
        Add(absl::StrCat("no ", name),
            [name = name](const std::string& dir) { ChangeTensors(dir, [&](Tensors& t) { t.erase(name); }); },
            {name});
      }
      Add(absl::StrCat("one more: ", name, "x"),
          [name = name](const std::string& dir) {
            ChangeTensors(dir, [&](Tensors& t) { t[name + "x"] = t[name]; });
          },
          {name + "x"});
      add("another type", [](Tensor& t) {
        t = {DType::kI32, {t.data.size() / 4}, std::vector<std::byte>(t.data.size() / 4 * 4)};
      });
      add("a dimension more", [](Tensor& t) { t.shape.push_back(1); });
      add("empty", [](Tensor& t) { t = {t.dtype, {0}, {}}; });
      if (name == "attention.position_logits") continue;  // has any length
      add("an element more", [](Tensor& t) {
        t.shape = {t.size() + 1};
        t.data.resize(t.data.size() + DTypeBytes(t.dtype));
      });
      add("an element less", [](Tensor& t) {
        t.shape = {t.size() - 1};
        t.data.resize(t.data.size() - DTypeBytes(t.dtype));
      });
    }
  }

  void Values() {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const auto& [name, tensor] : ReadTensors(good_)) {
      for (int i = 0; i < 8; ++i) {
        const size_t at = Below(tensor.size());
        const auto add = [&, name = name](auto value, std::vector<std::string> reasons) {
          Add(
              absl::StrCat(name, "[", at, "] = ", value),
              [name, at, value](const std::string& dir) {
                ChangeTensors(dir,
                              [&](Tensors& t) { t[name].template as<decltype(value + 0)>()[at] = value; });
              },
              std::move(reasons));
        };
        if (tensor.dtype == DType::kF32) {
          add(std::vector<float>{kNan, kInfinity, -kInfinity}[i % 3], {name});
        } else if (tensor.dtype == DType::kU32) {
          add(std::vector<uint32_t>{1u << 31, ~0u, 1u << 20}[i % 3], {name});
        } else if (tensor.dtype == DType::kU64) {
          add(std::vector<uint64_t>{~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 40}[i % 3],
              {name, "row"});
        }
      }
    }
    for (int i = 0; i < 10; ++i) {
      const size_t a = Below(59), b = a + 1;
      for (const char* name : {"item.popularity_order", "item.keys", "item.inverse_norms"}) {
        Add(absl::StrCat(name, ": ", a, " as ", b),
            [name, a, b](const std::string& dir) {
              ChangeTensors(dir, [&](Tensors& tensors) {
                Tensor& t = tensors[name];
                const size_t n = DTypeBytes(t.dtype);
                std::copy_n(t.data.begin() + static_cast<ptrdiff_t>(b * n), n,
                            t.data.begin() + static_cast<ptrdiff_t>(a * n));
              });
            },
            {name, "item.key"});
      }
    }
  }

  void Ids() {
    for (int i = 0; i < 10; ++i) {
      const size_t row = Below(60);
      const auto bytes = [&](const char* tensor, const char* what, std::string text) {
        const std::string offsets = absl::StrCat(std::string(tensor), "_offsets");
        Add(absl::StrCat(tensor, " ", row, ": ", what),
            [=, name = absl::StrCat(tensor, "_bytes")](const std::string& dir) {
              ChangeTensors(dir, [&](Tensors& t) {
                // In place of what was there: what follows moves.
                Tensor& o = t[offsets];
                const size_t r = std::min(row, o.size() - 2);
                const uint64_t begin = o.as<uint64_t>()[r], end = o.as<uint64_t>()[r + 1];
                std::vector<std::byte>& data = t[name].data;
                data.erase(data.begin() + static_cast<ptrdiff_t>(begin),
                           data.begin() + static_cast<ptrdiff_t>(end));
                const auto* first = reinterpret_cast<const std::byte*>(text.data());
                data.insert(data.begin() + static_cast<ptrdiff_t>(begin), first, first + text.size());
                for (size_t j = r + 1; j < o.size(); ++j) o.as<uint64_t>()[j] += text.size() - (end - begin);
                t[name].shape = {data.size()};
              });
            },
            {tensor, "item.keys"});
      };
      bytes("item.id", "no UTF-8", "v2-item-\xC3\x28");
      bytes("item.id", "too long", std::string(257, 'x'));
      bytes("item.id", "empty", "");
      bytes("item.id", "NUL", std::string("a\0b", 3));
      bytes("item.id", "another's", "v2-item-7x");
      bytes("item.title", "no UTF-8", "\xFF");
      bytes("category.name", "no UTF-8", "\xC0\x80");
      bytes("category.name", "too long", std::string(300, 'c'));
      // The same id, key and slot twice.
      Add(absl::StrCat("id of row ", row, " twice"),
          [row](const std::string& dir) {
            ChangeTensors(dir, [&](Tensors& t) {
              const size_t a = row < 30 ? 30 + row % 20 : 10 + row % 20,
                           b = 10 + row % 49 == a ? a + 1 : 10 + row % 49;
              const uint64_t* offsets = t["item.id_offsets"].as<uint64_t>();
              std::copy_n(t["item.id_bytes"].data.begin() + static_cast<ptrdiff_t>(offsets[b]),
                          offsets[b + 1] - offsets[b],
                          t["item.id_bytes"].data.begin() + static_cast<ptrdiff_t>(offsets[a]));
              t["item.keys"].as<uint64_t>()[a] = t["item.keys"].as<uint64_t>()[b];
            });
          },
          {"item.key"});
    }
  }

  void Headers() {
    const auto header = [&](std::string name, std::function<std::string(const json&)> change,
                            std::vector<std::string> reasons = {kModelFile}) {
      Add(
          "header: " + name,
          [change = std::move(change)](const std::string& dir) { ChangeHeader(dir, change); },
          std::move(reasons));
    };
    const std::vector<std::pair<std::string, std::string>> texts = {
        {"empty", ""},
        {"an array", "[]"},
        {"a number", "7"},
        {"cut", "{\"a\":"},
        {"blank", "   "},
        {"deep arrays", "{\"a\":" + std::string(50'000, '[')},
        {"deep objects",
         [] {
           std::string s;
           for (int i = 0; i < 5000; ++i) s += "{\"a\":";
           return s;
         }()},
        {"NUL", std::string("{\0}", 3)},
        {"no tensors", "{}"},
        {"only metadata", "{\"__metadata__\":{}}"},
        {"metadata of a number", "{\"__metadata__\":{\"a\":1}}"},
        {"metadata of an array", "{\"__metadata__\":[]}"},
        {"no UTF-8", "{\"\xFF\":{}}"}};
    for (const auto& [name, text] : texts) {
      header(name, [text = text](const json&) { return text; });
    }
    for (const uint64_t length :
         {uint64_t{0}, uint64_t{1}, header_bytes_ - 1, header_bytes_ + 1, uint64_t{100'000'001},
          uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{7}}) {
      Add(absl::StrCat("header length ", length),
          [length](const std::string& dir) {
            std::fstream file(dir + "/" + kModelFile, std::ios::in | std::ios::out | std::ios::binary);
            file.write(reinterpret_cast<const char*>(&length), 8);
            file.close();
            MakeChecksumsRight(dir);
          },
          {kModelFile});
    }
    const std::vector<std::pair<std::string, std::function<void(json&)>>> entries = {
        {"begins before the data", [](json& e) { e["data_offsets"][0] = -64; }},
        {"begins after its end", [](json& e) { std::swap(e["data_offsets"][0], e["data_offsets"][1]); }},
        {"ends beyond the data", [](json& e) { e["data_offsets"][1] = uint64_t{1} << 40; }},
        {"ends at the end of the numbers",
         [](json& e) {
           e["data_offsets"] = {0, ~uint64_t{0}};
         }},
        {"overlaps",
         [](json& e) {
           e["data_offsets"] = {0,
                                e["data_offsets"][1].get<uint64_t>() - e["data_offsets"][0].get<uint64_t>()};
         }},
        {"leaves a hole",
         [](json& e) {
           e["data_offsets"] = {e["data_offsets"][0].get<uint64_t>() + 4,
                                e["data_offsets"][1].get<uint64_t>() + 4};
         }},
        {"a shape that overflows",
         [](json& e) {
           e["shape"] = {uint64_t{1} << 32, uint64_t{1} << 32};
         }},
        {"a shape that overflows to its size",
         [](json& e) {
           e["shape"] = {uint64_t{1} << 62, 4, 4};
         }},
        {"a huge shape", [](json& e) { e["shape"] = {~uint64_t{0}}; }},
        {"a negative shape",
         [](json& e) {
           e["shape"] = {-1, -60};
         }},
        {"a shape of fractions", [](json& e) { e["shape"] = {1.5}; }},
        {"a shape of words", [](json& e) { e["shape"] = "60"; }},
        {"nine dimensions",
         [](json& e) {
           e["shape"] = json::array({1, 1, 1, 1, 1, 1, 1, 1, 60});
         }},
        {"no shape", [](json& e) { e.erase("shape"); }},
        {"no offsets", [](json& e) { e.erase("data_offsets"); }},
        {"three offsets", [](json& e) { e["data_offsets"].push_back(7); }},
        {"offsets of fractions",
         [](json& e) {
           e["data_offsets"] = {0.5, 1e3};
         }},
        {"no dtype", [](json& e) { e.erase("dtype"); }},
        {"a dtype of the future", [](json& e) { e["dtype"] = "F8_E4M3"; }},
        {"a dtype of a number", [](json& e) { e["dtype"] = 32; }},
        {"a number", [](json& e) { e = 7; }},
        {"null", [](json& e) { e = nullptr; }}};
    for (const char* tensor : {"item.vectors", "item.keys", "item.id_bytes", "attention.slot_logits"}) {
      for (const auto& [what, change] : entries) {
        if (std::string_view(tensor) == "item.vectors" && what == "overlaps") continue;  // is at 0
        header(absl::StrCat(tensor, ": ", what), [tensor, change = change](const json& h) {
          json changed = h;
          change(changed[tensor]);
          return changed.dump();
        });
      }
      header(absl::StrCat(tensor, " twice"),
             [tensor](const json& h) {
               std::string text = h.dump();
               return text.insert(1, absl::StrCat("\"", tensor, "\":", h[tensor].dump(), ","));
             },
             {tensor});
      header(absl::StrCat(tensor, " renamed"),
             [tensor](const json& h) {
               json changed = h;
               changed[absl::StrCat(tensor, "2")] = changed[tensor];
               changed.erase(tensor);
               return changed.dump();
             },
             {tensor});
    }
    Add("bytes after the last tensor",
        [](const std::string& dir) {
          std::ofstream(dir + "/" + kModelFile, std::ios::app | std::ios::binary) << "more";
          MakeChecksumsRight(dir);
        },
        {kModelFile});
  }

  // Something else where a file should be.
  void OtherFiles() {
    for (const std::string file : {kManifestFile, kModelFile, kUserVectorsFile}) {
      const auto in_place = [&](const char* what, std::function<void(const std::string& path)> make) {
        Add(absl::StrCat(file, ": ", what),
            [file, make = std::move(make)](const std::string& dir) {
              fs::remove(dir + "/" + file);
              make(dir + "/" + file);
            },
            {file});
      };
      in_place("missing", [](const std::string&) {});
      in_place("a directory", [](const std::string& path) { fs::create_directory(path); });
      in_place("a pipe", [](const std::string& path) { ASSERT_EQ(mkfifo(path.c_str(), 0644), 0); });
      in_place("a link to nothing", [](const std::string& path) { fs::create_symlink("nothing", path); });
      in_place("a link to itself", [](const std::string& path) { fs::create_symlink(path, path); });
      in_place("a link to a directory", [](const std::string& path) { fs::create_symlink("/tmp", path); });
      in_place("a link to a device", [](const std::string& path) { fs::create_symlink("/dev/zero", path); });
      in_place("a link to another file",
               [](const std::string& path) { fs::create_symlink("/etc/passwd", path); });
      in_place("a link to a pipe", [](const std::string& path) {
        ASSERT_EQ(mkfifo((path + ".pipe").c_str(), 0644), 0);
        fs::create_symlink(path + ".pipe", path);
      });
      // Root reads everything.
      if (geteuid() != 0) {
        Add(absl::StrCat(file, ": unreadable"),
            [file](const std::string& dir) { fs::permissions(dir + "/" + file, fs::perms::none); }, {file});
      }
      Add(
          absl::StrCat(file, ": a link to itself elsewhere"),
          [file, good = good_](const std::string& dir) {
            fs::remove(dir + "/" + file);
            fs::create_symlink(good + "/" + file, dir + "/" + file);
          },
          {}, true);
    }
  }

  // Files of another version.
  void Swapped() {
    for (const std::vector<std::string>& files : {std::vector<std::string>{kManifestFile},
                                                  {kModelFile},
                                                  {kUserVectorsFile},
                                                  {kManifestFile, kModelFile},
                                                  {kManifestFile, kUserVectorsFile},
                                                  {kModelFile, kUserVectorsFile},
                                                  {kManifestFile, kModelFile, kUserVectorsFile}}) {
      for (const bool right_checksums : {false, true}) {
        const bool has_manifest = files[0] == kManifestFile;
        Add(
            absl::StrCat(files.size(), " files of another version, the first ", files[0], ", checksums ",
                         right_checksums),
            [files, right_checksums, other = other_](const std::string& dir) {
              for (const std::string& file : files) {
                fs::copy_file(other + "/" + file, dir + "/" + file, fs::copy_options::overwrite_existing);
              }
              if (right_checksums) MakeChecksumsRight(dir);
            },
            has_manifest ? std::vector<std::string>{kManifestFile}
                         : std::vector<std::string>{kModelFile, kUserVectorsFile});
      }
    }
  }

  const std::string good_, other_;
  std::mt19937_64 random_;
  std::map<std::string, std::string> files_;
  uint64_t header_bytes_ = 0;
  std::vector<Mutation> all_;
};

}  // namespace

std::vector<Mutation> MakeMutations(const std::string& good, const std::string& other, uint64_t seed) {
  return Mutations(good, other, seed).Take();
}

}  // namespace swiftlet::testing

// A directory that goes away with its owner.
//
//   TempDir dir;
//   std::ofstream(dir.File("a.txt")) << "hello";
#ifndef SWIFTLET_TESTS_TESTING_TEMP_DIR_H_
#define SWIFTLET_TESTS_TESTING_TEMP_DIR_H_

#include <string>
#include <string_view>

namespace swiftlet::testing {

// A fresh, empty directory under $TEST_TMPDIR, $TMPDIR or /tmp, removed with all that is in it on
// destruction. Ends the process when it cannot be made.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  // Absolute, without a slash at the end.
  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace swiftlet::testing

#endif  // SWIFTLET_TESTS_TESTING_TEMP_DIR_H_

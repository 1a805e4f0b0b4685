#include "power_loss_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "rocksdb/system_clock.h"

namespace swiftlet::storage_testing {
namespace fs = std::filesystem;
using rocksdb::IOStatus;

struct PowerLossFileSystem::Node {
  bool is_directory = false;
  uint64_t synced_bytes = 0;  // of a file
  Names synced_names = {};    // of a directory
  // What happened to it since it was synced, in order: names and their new files (0: none).
  std::vector<std::vector<std::pair<std::string, ino_t>>> changes = {};
};

namespace {

IOStatus FromErrno(const std::string& path) {
  return errno == ENOENT ? IOStatus::NotFound(path, strerror(errno))
                         : IOStatus::IOError(path, strerror(errno));
}

uint64_t SizeOf(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

std::string Normal(const std::string& path) {
  std::string normal = fs::path(path).lexically_normal();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

// After a failed flush or compaction RocksDB sleeps for a second, even when the database is being closed.
class QuickClock final : public rocksdb::SystemClockWrapper {
 public:
  QuickClock() : SystemClockWrapper(rocksdb::SystemClock::Default()) {}
  void SleepForMicroseconds(int us) override { SystemClockWrapper::SleepForMicroseconds(std::min(us, 1000)); }
  static const char* kClassName() { return "QuickClock"; }
  const char* Name() const override { return kClassName(); }
};

class QuickEnv final : public rocksdb::EnvWrapper {
 public:
  explicit QuickEnv(const std::shared_ptr<rocksdb::FileSystem>& file_system)
      : EnvWrapper(rocksdb::NewCompositeEnv(file_system)) {
    system_clock_ = std::make_shared<QuickClock>();
  }
};

}  // namespace

class PowerLossFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  PowerLossFile(PowerLossFileSystem* disk, ino_t node, std::unique_ptr<rocksdb::FSWritableFile> file)
      : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk), node_(node) {}

  IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                  rocksdb::IODebugContext* debug) override {
    return disk_->Run([&] { return target()->Append(data, options, debug); });
  }
  IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                  const rocksdb::DataVerificationInfo& info, rocksdb::IODebugContext* debug) override {
    return disk_->Run([&] { return target()->Append(data, options, info, debug); });
  }
  IOStatus PositionedAppend(const rocksdb::Slice&, uint64_t, const rocksdb::IOOptions&,
                            rocksdb::IODebugContext*) override {
    return IOStatus::NotSupported("PositionedAppend");
  }
  IOStatus PositionedAppend(const rocksdb::Slice&, uint64_t, const rocksdb::IOOptions&,
                            const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext*) override {
    return IOStatus::NotSupported("PositionedAppend");
  }
  IOStatus Truncate(uint64_t size, const rocksdb::IOOptions& options,
                    rocksdb::IODebugContext* debug) override {
    return disk_->Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      uint64_t& synced = disk_->nodes_.at(node_).synced_bytes;
      synced = std::min(synced, size);
      return target()->Truncate(size, options, debug);
    });
  }
  IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return target()->Close(options, debug);
  }
  IOStatus Sync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return disk_->Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      disk_->nodes_.at(node_).synced_bytes = SizeOf(disk_->keep_ + "/" + std::to_string(node_));
      return IOStatus::OK();
    });
  }
  IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return Sync(options, debug);
  }
  IOStatus RangeSync(uint64_t, uint64_t, const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return disk_->Run([] { return IOStatus::OK(); });
  }
  bool IsSyncThreadSafe() const override { return true; }

 private:
  PowerLossFileSystem* const disk_;
  const ino_t node_;
};

class PowerLossDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  PowerLossDirectory(PowerLossFileSystem* disk, std::string path, std::unique_ptr<rocksdb::FSDirectory> dir)
      : FSDirectoryWrapper(std::move(dir)), disk_(disk), path_(std::move(path)) {}

  IOStatus Fsync(const rocksdb::IOOptions&, rocksdb::IODebugContext*) override {
    return disk_->Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      disk_->SyncDirectory(path_);
      return IOStatus::OK();
    });
  }
  IOStatus FsyncWithDirOptions(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  PowerLossFileSystem* const disk_;
  const std::string path_;
};

PowerLossFileSystem::PowerLossFileSystem(const std::string& root)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), root_(Normal(root)), keep_(root_ + ".kept") {
  fs::create_directory(keep_);
  MutexLock lock(mu_);
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    if (entry.is_directory()) SyncDirectory(entry.path());
  }
  SyncDirectory(root_);
}

PowerLossFileSystem::~PowerLossFileSystem() {
  std::error_code ignored;
  fs::remove_all(keep_, ignored);
}

std::shared_ptr<rocksdb::Env> PowerLossFileSystem::NewEnv(const std::shared_ptr<PowerLossFileSystem>& disk) {
  return std::make_shared<QuickEnv>(disk);
}

void PowerLossFileSystem::CutPowerAfter(uint64_t operations) {
  MutexLock lock(mu_);
  last_step_ = steps_ + operations;
}

void PowerLossFileSystem::SwitchOn() {
  MutexLock lock(mu_);
  last_step_ = UINT64_MAX;
}

bool PowerLossFileSystem::power_is_off() const {
  MutexLock lock(mu_);
  return steps_ >= last_step_;
}

uint64_t PowerLossFileSystem::num_operations() const {
  MutexLock lock(mu_);
  return steps_;
}

uint64_t PowerLossFileSystem::num_lost_bytes() const {
  MutexLock lock(mu_);
  return lost_bytes_;
}

uint64_t PowerLossFileSystem::num_lost_names() const {
  MutexLock lock(mu_);
  return lost_names_;
}

bool PowerLossFileSystem::Below(const std::string& path) const {
  const std::string normal = Normal(path);
  return normal == root_ || normal.starts_with(root_ + "/");
}

IOStatus PowerLossFileSystem::TakeStep() {
  if (steps_ >= last_step_) return IOStatus::IOError("the power is off");
  ++steps_;
  return IOStatus::OK();
}

template <typename Change>
IOStatus PowerLossFileSystem::Run(const Change& change) {
  MutexLock lock(mu_);
  IOStatus status = TakeStep();
  return status.ok() ? change() : status;
}

ino_t PowerLossFileSystem::Know(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return 0;
  const bool is_directory = S_ISDIR(info.st_mode);
  const auto [it, added] = nodes_.try_emplace(info.st_ino, Node{.is_directory = is_directory});
  if (added && !is_directory) {
    it->second.synced_bytes = static_cast<uint64_t>(info.st_size);
    EXPECT_EQ(link(path.c_str(), (keep_ + "/" + std::to_string(info.st_ino)).c_str()), 0) << strerror(errno);
  }
  return info.st_ino;
}

PowerLossFileSystem::Names PowerLossFileSystem::NamesIn(const std::string& path) {
  Names names;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(path, gone)) {
    // 0: deleted by another thread since it was listed.
    if (const ino_t node = Know(entry.path()); node != 0) names[entry.path().filename()] = node;
  }
  return names;
}

void PowerLossFileSystem::SyncDirectory(const std::string& path) {
  const ino_t node = Know(path);
  if (node == 0) return;
  Names names = NamesIn(path);  // may add nodes
  nodes_.at(node).synced_names = std::move(names);
  nodes_.at(node).changes.clear();
}

void PowerLossFileSystem::AddChange(const std::vector<std::string>& paths) {
  std::vector<std::pair<std::string, ino_t>> change;
  for (const std::string& path : paths) change.emplace_back(fs::path(path).filename(), Know(path));
  // All in one directory.
  nodes_.at(Know(fs::path(paths.front()).parent_path())).changes.push_back(std::move(change));
}

void PowerLossFileSystem::Reboot(Loss loss, uint64_t seed) {
  MutexLock lock(mu_);
  std::mt19937_64 random(seed);
  Restore(root_, Know(root_), loss, &random);
  // What is there now is on the disk.
  nodes_.clear();
  fs::remove_all(keep_);
  fs::create_directory(keep_);
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    if (entry.is_directory()) SyncDirectory(entry.path());
  }
  SyncDirectory(root_);
  last_step_ = UINT64_MAX;
}

void PowerLossFileSystem::Restore(const std::string& path, ino_t directory, Loss loss,
                                  std::mt19937_64* random) {
  const Names now = NamesIn(path);
  const Node& node_of_directory = nodes_.at(directory);
  Names left = node_of_directory.synced_names;
  if (loss == Loss::kTorn) {
    const auto& changes = node_of_directory.changes;
    const size_t num_kept = (*random)() % (changes.size() + 1);
    for (size_t i = 0; i < num_kept; ++i) {
      for (const auto& [name, node] : changes[i]) left[name] = node;
    }
  }
  std::set<std::string> all;
  for (const auto& [name, node] : now) all.insert(name);
  for (const auto& [name, node] : left) all.insert(name);
  const auto node_of = [](const Names& names, const std::string& name) {
    const auto it = names.find(name);
    return it == names.end() ? ino_t{0} : it->second;
  };
  for (const std::string& name : all) {
    const ino_t node = node_of(left, name), after = node_of(now, name);
    const std::string full = path + "/" + name;
    if (node != after) {
      ++lost_names_;
      if (after != 0) fs::remove_all(full);
      if (node != 0 && nodes_.at(node).is_directory) {
        fs::create_directory(full);
      } else if (node != 0) {
        EXPECT_EQ(link((keep_ + "/" + std::to_string(node)).c_str(), full.c_str()), 0) << full;
      }
    }
    if (node == 0) continue;
    if (nodes_.at(node).is_directory) {
      Restore(full, node, loss, random);
    } else {
      LoseTail(full, &nodes_.at(node), loss, random);
    }
  }
}

void PowerLossFileSystem::LoseTail(const std::string& path, Node* node, Loss loss, std::mt19937_64* random) {
  const uint64_t size = SizeOf(path);
  if (size <= node->synced_bytes) return;
  uint64_t kept = node->synced_bytes;
  if (loss == Loss::kTorn) kept += (*random)() % (size - kept + 1);
  lost_bytes_ += size - kept;
  fs::resize_file(path, kept);
  // The length reached the disk, the bytes did not. Not so for a MANIFEST: RocksDB takes one that ends within
  // a record, but refuses zeros there; today's file systems lengthen a file no sooner than its bytes are
  // written.
  const bool zeros = (*random)() % 3 == 0;
  if (loss == Loss::kTorn && zeros && path.find("/MANIFEST-") == std::string::npos)
    fs::resize_file(path, size);
  node->synced_bytes = size;  // done, whatever other names it has
}

// --- changes ---

IOStatus PowerLossFileSystem::NewWritableFile(const std::string& path, const FileOptions& options,
                                              std::unique_ptr<rocksdb::FSWritableFile>* file,
                                              IODebugContext* debug) {
  if (!Below(path)) return target()->NewWritableFile(path, options, file, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // The bytes of a file of this name are kept: not truncated, but replaced.
    if (Know(path) != 0 && unlink(path.c_str()) != 0) return FromErrno(path);
    IOStatus status = target()->NewWritableFile(path, options, file, debug);
    if (status.ok()) {
      *file = std::make_unique<PowerLossFile>(this, Know(path), std::move(*file));
      AddChange({path});
    }
    return status;
  });
}

IOStatus PowerLossFileSystem::ReopenWritableFile(const std::string& path, const FileOptions& options,
                                                 std::unique_ptr<rocksdb::FSWritableFile>* file,
                                                 IODebugContext* debug) {
  if (!Below(path)) return target()->ReopenWritableFile(path, options, file, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    IOStatus status = target()->ReopenWritableFile(path, options, file, debug);
    if (status.ok()) *file = std::make_unique<PowerLossFile>(this, Know(path), std::move(*file));
    return status;
  });
}

IOStatus PowerLossFileSystem::ReuseWritableFile(const std::string&, const std::string&, const FileOptions&,
                                                std::unique_ptr<rocksdb::FSWritableFile>*, IODebugContext*) {
  return IOStatus::NotSupported("ReuseWritableFile");
}

IOStatus PowerLossFileSystem::NewRandomRWFile(const std::string&, const FileOptions&,
                                              std::unique_ptr<rocksdb::FSRandomRWFile>*, IODebugContext*) {
  return IOStatus::NotSupported("NewRandomRWFile");
}

IOStatus PowerLossFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                           std::unique_ptr<rocksdb::FSDirectory>* directory,
                                           IODebugContext* debug) {
  IOStatus status = target()->NewDirectory(path, options, directory, debug);
  const std::string plain = Normal(path);
  if (status.ok() && Below(plain)) {
    *directory = std::make_unique<PowerLossDirectory>(this, plain, std::move(*directory));
  }
  return status;
}

IOStatus PowerLossFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                         IODebugContext* debug) {
  if (!Below(path)) return target()->DeleteFile(path, options, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Know(path);
    IOStatus status = target()->DeleteFile(path, options, debug);
    if (status.ok()) AddChange({path});
    return status;
  });
}

IOStatus PowerLossFileSystem::CreateDir(const std::string& path, const IOOptions& options,
                                        IODebugContext* debug) {
  if (!Below(path)) return target()->CreateDir(path, options, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    IOStatus status = target()->CreateDir(path, options, debug);
    if (status.ok()) {
      nodes_[Know(path)] = Node{.is_directory = true};  // whatever had this inode before
      AddChange({path});
    }
    return status;
  });
}

IOStatus PowerLossFileSystem::CreateDirIfMissing(const std::string& path, const IOOptions& options,
                                                 IODebugContext* debug) {
  return fs::is_directory(path) ? IOStatus::OK() : CreateDir(path, options, debug);
}

IOStatus PowerLossFileSystem::DeleteDir(const std::string&, const IOOptions&, IODebugContext*) {
  return IOStatus::NotSupported("DeleteDir");
}

IOStatus PowerLossFileSystem::RenameFile(const std::string& from, const std::string& to,
                                         const IOOptions& options, IODebugContext* debug) {
  if (!Below(from)) return target()->RenameFile(from, to, options, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Know(from);
    Know(to);
    IOStatus status = target()->RenameFile(from, to, options, debug);
    if (status.ok()) AddChange({from, to});
    return status;
  });
}

IOStatus PowerLossFileSystem::LinkFile(const std::string& from, const std::string& to,
                                       const IOOptions& options, IODebugContext* debug) {
  if (!Below(to)) return target()->LinkFile(from, to, options, debug);
  return Run([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Know(from);
    IOStatus status = target()->LinkFile(from, to, options, debug);
    if (status.ok()) AddChange({to});
    return status;
  });
}

IOStatus PowerLossFileSystem::Truncate(const std::string&, size_t, const IOOptions&, IODebugContext*) {
  return IOStatus::NotSupported("Truncate");
}

}  // namespace swiftlet::storage_testing

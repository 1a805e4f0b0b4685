#include "server/security/file_watch.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"

namespace swiftlet {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot read: ", std::strerror(errno)));
  }
  std::string text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), file)) {
    text.append(buffer, n);
    if (text.size() > kMaxFileBytes) break;
  }
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (error != 0) return absl::UnavailableError(absl::StrCat(path, ": cannot read: ", std::strerror(error)));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has more than ", kMaxFileBytes, " bytes"));
  }
  return text;
}

absl::StatusOr<std::vector<std::string>> ReadFiles(const std::vector<std::string>& paths) {
  std::vector<std::string> contents;
  for (const std::string& path : paths) {
    SWIFTLET_ASSIGN_OR_RETURN(contents.emplace_back(), ReadFile(path));
  }
  return contents;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileWatch>> FileWatch::Start(std::vector<WatchedFiles> files,
                                                            absl::Duration interval, OnReload on_reload) {
  std::vector<Watched> watched;
  for (WatchedFiles& each : files) {
    SWIFTLET_ASSIGN_OR_RETURN(std::vector<std::string> contents, ReadFiles(each.paths));
    SWIFTLET_RETURN_IF_ERROR(each.apply(contents));
    watched.push_back({.files = std::move(each), .seen = std::move(contents)});
  }
  return std::unique_ptr<FileWatch>(new FileWatch(std::move(watched), interval, std::move(on_reload)));
}

FileWatch::FileWatch(std::vector<Watched> watched, absl::Duration interval, OnReload on_reload)
    : watched_(std::move(watched)),
      interval_(interval),
      on_reload_(std::move(on_reload)),
      thread_([this] { Run(); }) {}

FileWatch::~FileWatch() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  thread_.join();
}

void FileWatch::Hurry() {
  {
    MutexLock lock(mu_);
    hurry_ = true;
  }
  wake_.NotifyAll();
}

void FileWatch::Run() {
  for (;;) {
    {
      const absl::Time next = absl::Now() + interval_;
      MutexLock lock(mu_);
      while (!stopping_ && !hurry_ && absl::Now() < next) wake_.WaitFor(mu_, next - absl::Now());
      if (stopping_) return;
      hurry_ = false;
    }
    for (Watched& each : watched_) {
      absl::StatusOr<std::vector<std::string>> now = ReadFiles(each.files.paths);
      if (now == each.seen) continue;
      each.seen = std::move(now);
      on_reload_(each.files.name, each.seen.ok() ? each.files.apply(*each.seen) : each.seen.status());
    }
  }
}

}  // namespace swiftlet

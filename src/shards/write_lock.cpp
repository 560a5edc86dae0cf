#include "shards/write_lock.h"

#include <fcntl.h>
#include <spdlog/fmt/chrono.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include "core/check.h"
#include "core/log.h"

namespace pixelbert::shards {
namespace {

namespace fs = std::filesystem;

std::string this_process() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return fmt::format("process {} on {} since {:%Y-%m-%d %H:%M:%S}", ::getpid(), host.data(),
                     fmt::localtime(std::time(nullptr)));
}

// False when another process removed the file between our opening and locking it.
bool is_still(int fd, const fs::path& path) {
  struct stat ours{}, there{};
  return ::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
         ours.st_dev == there.st_dev;
}

// Nothing when there is no such file and it is not to be made.
FileDescriptor locked(const fs::path& path, int flags) {
  for (;;) {
    FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0666));
    if (!fd && errno == ENOENT) return fd;
    PB_CHECK(fd, "cannot open {}: {}", path.string(), std::strerror(errno));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      PB_CHECK(errno != EWOULDBLOCK,
               "{} is being filled by another 'pixelbert shard', {}: wait until it is done, or give another --out",
               path.parent_path().string(), read_file(path));
      log::warn("{} cannot be locked ({}): do not start the same command twice", path.string(), std::strerror(errno));
    }
    if (is_still(fd.get(), path)) return fd;
  }
}

}  // namespace

WriteLock::WriteLock(const fs::path& folder, const std::string& name,
                     const std::function<bool(const std::string&)>& excludes)
    : path_(folder / name), fd_(locked(path_, O_CREAT)) {
  PB_CHECK(fd_, "cannot open {}: {}", path_.string(), std::strerror(errno));
  const std::string owner = this_process();
  const bool written = ::ftruncate(fd_.get(), 0) == 0 &&
                       ::pwrite(fd_.get(), owner.data(), owner.size(), 0) == static_cast<ssize_t>(owner.size());
  if (!written) log::warn("cannot write {}: {}", path_.string(), std::strerror(errno));  // the lock holds all the same

  std::vector<fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string other = entry.path().filename().string();
    if (other != name && excludes(other)) others.push_back(entry.path());
  }
  for (const fs::path& other : others) {
    if (locked(other, 0)) fs::remove(other);  // left by a process that died
  }
}

WriteLock::~WriteLock() {
  std::error_code ignored;
  if (fd_) std::filesystem::remove(path_, ignored);
}

}  // namespace pixelbert::shards

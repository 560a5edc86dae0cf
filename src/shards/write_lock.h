// Who fills a shard folder: told to another process that wants to, on this host or on one that shares the folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/files.h"

namespace pixelbert::shards {

class WriteLock {
 public:
  // Holds the lock file `name` of the folder. Error that says who holds it, or one of the others that `excludes` names.
  // The system frees the lock of a process that dies. Only a warning where the file system has no locks.
  WriteLock(const std::filesystem::path& folder, const std::string& name,
            const std::function<bool(const std::string&)>& excludes);
  ~WriteLock();  // removes the file
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
};

}  // namespace pixelbert::shards

// A lock that admits one job at a time to a folder. It distinguishes a living job from a crashed one, on this host and
// on others, even if the file system has no locks or does not share them between hosts.
//
// The holder keeps a kernel lock on the lock file, which ends with its process. It writes its identity into the file
// and renews the file's time every few seconds. A newcomer is refused
//   - at once by the kernel lock, or by a holder on this host whose process lives;
//   - within a period if the holder is on another host and keeps renewing.
// The lock of a crashed job is taken over: at once if it ran on this host, after three periods without a renewal if it
// ran on another; if a file server still keeps the lock of a lost host, as soon as the server releases it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <thread>

#include "core/files.h"

namespace pixelbert {

class FolderLock {
 public:
  static constexpr std::chrono::milliseconds kPeriod{5000};
  static constexpr std::chrono::milliseconds kServerPatience{120000};  // NFS releases a lost host's locks after 90 s

  // `path` is the lock file, in an existing folder. Throws Error naming host, pid and start of the job that holds the
  // lock, and StopRequested if a request to stop comes while it waits. Only one rank of a job may take the lock.
  explicit FolderLock(std::filesystem::path path, std::chrono::milliseconds period = kPeriod,
                      std::chrono::milliseconds server_patience = kServerPatience);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();  // removes the file

  // Call before writing into the folder. Throws Error if another job has taken over, which can happen while this one is
  // suspended. Only reads the clock, unless the last renewal is long ago. (The renewing thread, if it finds this out,
  // ends the process.)
  void check();

 private:
  void acquire();
  void take(const std::string& left_by, bool alone);
  void renew();
  void keep(const std::stop_token& stop);

  std::filesystem::path path_;
  std::chrono::milliseconds period_;
  std::chrono::milliseconds server_patience_;
  std::string own_;                        // the file's content while this process holds it
  FileDescriptor fd_;                      // has the kernel lock
  std::atomic<std::int64_t> renewed_ = 0;  // ns since the host's start
  std::jthread keeper_;
};

}  // namespace pixelbert

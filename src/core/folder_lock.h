// One job at a time in a folder. A lock file tells a living job from one that has crashed, on this host and on others,
// also where the file system has no locks, or has them for each host alone.
//
// The holder keeps a lock of the kernel on the file, which ends with its process, writes into it who it is, and renews
// the file's time every few seconds. A newcomer is refused
//   - at once by the kernel's lock, or by a holder on this host whose process lives;
//   - within a period when the holder is on another host and goes on renewing.
// What a crash has left on this host is taken over at once, of another host after three periods without a renewal;
// where a file server still keeps the lock of a host that is lost, once it lets go.
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
  static constexpr std::chrono::milliseconds kServerPatience{120000};  // NFS gives a lost host's locks away after 90 s

  // `path` is the lock file, in a folder that exists. Error that names host, pid and start of the job that has it;
  // StopRequested when that comes while it waits. One process at a time means: of several ranks, one takes it.
  explicit FolderLock(std::filesystem::path path, std::chrono::milliseconds period = kPeriod,
                      std::chrono::milliseconds server_patience = kServerPatience);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();  // removes the file

  // Before something is written into the folder: Error when another job has taken over, as it may from one that was
  // suspended. Costs a look at the clock, unless the last renewal is long ago. (A renewal that finds this out ends the
  // process.)
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
  FileDescriptor fd_;                      // has the kernel's lock
  std::atomic<std::int64_t> renewed_ = 0;  // ns since the host's start
  std::jthread keeper_;
};

}  // namespace pixelbert

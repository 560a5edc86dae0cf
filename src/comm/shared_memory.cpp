#include "comm/shared_memory.h"

#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include "core/host.h"

namespace pixelbert::comm {
namespace {

namespace fs = std::filesystem;

// Inodes of the first namespaces (include/linux/proc_ns.h).
constexpr ino_t kFirstPids = 0xEFFFFFFC, kFirstIpc = 0xEFFFFFFF;

ino_t inode_of(const char* path) {
  struct stat file{};
  return ::stat(path, &file) == 0 ? file.st_ino : 0;
}

// False in a container with the host's /dev/shm (--ipc=host) but its own pids.
bool sees_all_who_share() {
  return inode_of("/proc/self/ns/pid") == kFirstPids || inode_of("/proc/self/ns/ipc") != kFirstIpc;
}

std::string short_host_name() {
  const std::string host = host_name();
  return host.substr(0, host.find('.'));
}

// The file as /proc/PID/maps writes it.
std::string as_mapped(const struct stat& file) {
  return fmt::format(" {:02x}:{:02x} {} ", major(file.st_dev), minor(file.st_dev), file.st_ino);
}

void remove_mapped(std::map<std::string, fs::path>& segments) {
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "maps");  // unreadable if it is another user's, who cannot map these files
    const std::string maps{std::istreambuf_iterator<char>(file), {}};
    std::erase_if(segments, [&](const auto& segment) { return maps.find(segment.first) != std::string::npos; });
  }
}

}  // namespace

void remove_stale_segments(const fs::path& folder, std::chrono::seconds age) try {
  const std::string host = short_host_name();
  std::map<std::string, fs::path> segments;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool of_mpi = name.starts_with("vader_segment." + host + ".") || name.starts_with("osc_sm." + host + ".");
    struct stat file{};
    if (!of_mpi || ::lstat(entry.path().c_str(), &file) != 0) continue;
    const bool ours = S_ISREG(file.st_mode) && file.st_uid == ::geteuid();
    if (ours && std::time(nullptr) - file.st_mtime >= age.count()) segments.emplace(as_mapped(file), entry.path());
  }
  if (segments.empty() || !sees_all_who_share()) return;
  remove_mapped(segments);
  for (const auto& [mapped, path] : segments) ::unlink(path.c_str());
} catch (const std::exception&) {  // a process ended meanwhile
}

std::string lack_of_shared_memory(int ranks, std::int64_t bytes_per_rank) {
  const char* given = std::getenv("OMPI_MCA_osc_sm_backing_directory");
  const std::string folder = given ? given : "/dev/shm";
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return "";  // MPI will say why
  constexpr double kMiB = 1 << 20;
  const double needed = static_cast<double>(ranks) * static_cast<double>(bytes_per_rank) / kMiB;
  const double free = static_cast<double>(space.available) / kMiB, size = static_cast<double>(space.capacity) / kMiB;
  if (free >= needed) return "";
  return fmt::format(
      "{} on host {} is too small: expected {:.1f} MiB free for what {} ranks share, found {:.1f} of {:.1f} MiB: "
      "remove files there, give the container more (docker run --shm-size=1g), or name another folder in "
      "OMPI_MCA_osc_sm_backing_directory and OMPI_MCA_btl_vader_backing_directory",
      folder, short_host_name(), needed, ranks, free, size);
}

}  // namespace pixelbert::comm

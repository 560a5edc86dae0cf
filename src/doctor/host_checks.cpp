#include "doctor/host_checks.h"

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "core/single_thread.h"
#include "data/sample_reader.h"
#include "shards/shard_manifest.h"

namespace pixelbert::doctor {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kMB = 1e6, kGB = 1e9;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Returns the system's reason for refusing a lock; empty when it was granted.
std::string refused(int status) {
  return status == 0 ? "" : std::strerror(errno);
}

}  // namespace

Finding check_shared_memory(int ranks_on_host) {
  // MPI needs about 4 MiB for each rank, sums of gradients 2, NCCL about 10.
  const double needed = 16.0 * (1 << 20) * ranks_on_host;
  const fs::space_info space = fs::space("/dev/shm");
  const auto free = static_cast<double>(space.available);
  const std::string found =
      fmt::format("{:.0f} of {:.0f} MB are free", free / kMB, static_cast<double>(space.capacity) / kMB);
  if (free >= needed) return {"/dev/shm", Level::Ok, found, ""};
  return {"/dev/shm", Level::Failure, found,
          fmt::format("{} ranks need about {:.0f} MB: remove files there, or give the container more (--shm-size)",
                      ranks_on_host, needed / kMB)};
}

Finding check_locks(const fs::path& shard_folder) {
  const shards::Manifest manifest = shards::read_manifest(shard_folder);
  PB_CHECK(!manifest.files.empty(), "{} has no shards", shard_folder.string());
  const FileDescriptor fd = open_for_reading(shard_folder / manifest.files[0].name);
  struct flock whole{};
  whole.l_type = F_RDLCK;
  whole.l_whence = SEEK_SET;
  const std::string by_fcntl = refused(::fcntl(fd.get(), F_SETLK, &whole));
  const std::string by_flock = refused(::flock(fd.get(), LOCK_SH | LOCK_NB));
  if (by_fcntl.empty() && by_flock.empty()) return {"file locks", Level::Ok, shard_folder.string(), ""};
  return {"file locks", Level::Failure,
          fmt::format("{}: {} {}", shard_folder.string(), by_flock.empty() ? "fcntl" : "flock",
                      by_flock.empty() ? by_fcntl : by_flock),
          "HDF5 locks what it reads: mount with locks, or set HDF5_USE_FILE_LOCKING=FALSE"};
}

Finding check_read_rate(const fs::path& shard_folder, int rank, int world_size) {
  constexpr double kSeconds = 1.5, kEnough = 30 * kMB;
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const shards::Manifest manifest = shards::read_manifest(shard_folder);
  PB_CHECK(!manifest.files.empty(), "{} has no shards", shard_folder.string());
  std::vector<std::byte> buffer(kPiece);
  double bytes = 0, seconds = 0;
  const auto files = static_cast<int>(manifest.files.size());
  for (int i = 0; i < files && seconds < kSeconds; ++i) {
    const shards::ShardFile& file = manifest.files[static_cast<std::size_t>((i + rank) % files)];
    // Ranks that begin with the same file read different parts of it, or all but one would read the kernel's cache.
    const int sharing = (world_size + files - 1) / files;
    const off_t part = file.bytes / sharing;
    const off_t begin = i == 0 ? part * (rank / files) : 0, end = i == 0 ? begin + part : file.bytes;
    const FileDescriptor fd = open_for_reading(shard_folder / file.name);
    ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);  // read from the disk, not from the kernel's cache
    const auto start = Clock::now();
    for (off_t at = begin; at < end && seconds + seconds_since(start) < kSeconds;) {
      const ssize_t count = ::pread(fd.get(), buffer.data(), buffer.size(), at);
      PB_CHECK(count >= 0, "cannot read {}: {}", (shard_folder / file.name).string(), std::strerror(errno));
      if (count == 0) break;
      bytes += static_cast<double>(count);
      at += count;
    }
    seconds += seconds_since(start);
  }
  const double rate = bytes / std::max(seconds, 1e-9);
  const std::string found = fmt::format("{}: {} MB/s", shard_folder.string(),
                                        rate < 100 * kMB ? fmt::format("{:.0f}", rate / kMB) : "over 100");
  if (rate >= kEnough) return {"reading", Level::Ok, found, ""};
  return {"reading", Level::Warning, found, "copy the shards to the node's own disk (PIXELBERT_STAGE in slurm/)"};
}

Finding check_loader(const fs::path& shard_folder, const images::ImageConfig& image, int rank) {
  constexpr double kSeconds = 1;
  constexpr std::int64_t kPlaces = 257;  // prime: spreads the ranks over the folder
  at::get_num_threads();                 // as single_thread.h asks
  use_single_thread();
  const data::DataSets data = {std::make_shared<const shards::ShardSet>(shard_folder)};
  const shards::ShardSet& set = *data[0];
  const data::SampleReader reader(data);
  std::int64_t images = 0;
  double seconds = 0;
  for (std::int64_t i = 0; i < kPlaces && seconds < kSeconds; ++i) {
    const std::int64_t row = (i + rank) % kPlaces * set.images() / kPlaces;
    if (set.text_counts(row, row + 1)[0] == 0) continue;  // a right image of NLVR2, read with its left one
    data::ImageStack decoded(image);
    data::BadSamples bad;
    const auto start = Clock::now();
    reader.read({.data_set = 0, .image = row, .text = set.first_text_of_image(row)}, 0, decoded, bad);
    seconds += seconds_since(start);
    images += decoded.size();
  }
  PB_CHECK(images > 0, "{} has no image with a text", shard_folder.string());
  const double rate = static_cast<double>(images) / seconds;
  const double digit = std::pow(10, std::floor(std::log10(rate)) - 1);  // two of them, so that ranks agree
  return {"loader", Level::Ok,
          fmt::format("{}: {:g} images/s per thread, with a shorter side of {}", shard_folder.string(),
                      std::round(rate / digit) * digit, image.short_side),
          ""};
}

Finding check_run_folder(const fs::path& run_dir) {
  constexpr double kLittle = 5 * kGB;
  const fs::path folder = nearest_existing(run_dir);  // training makes the rest
  try {
    check_can_write_into(folder);
  } catch (const Error& error) {
    return {"run folder", Level::Failure, error.what(), "give a --run.dir that rank 0 can write to"};
  }
  const auto free = static_cast<double>(fs::space(folder).available);
  const std::string found = fmt::format("{}: {:.1f} GB are free", folder.string(), free / kGB);
  if (free >= kLittle) return {"run folder", Level::Ok, found, ""};
  return {"run folder", Level::Warning, found, "'pixelbert plan' says what the checkpoints need"};
}

double memory_rate() {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const std::vector<std::byte> from(kBytes, std::byte{1});
  std::vector<std::byte> to(kBytes);
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const auto start = Clock::now();
    std::memcpy(to.data(), from.data(), kBytes);
    best = std::min(best, seconds_since(start));
  }
  return to[kBytes / 2] == std::byte{1} ? kBytes / best : 0;  // used, so that the copy is made
}

double link_rate() {
  const char* given = std::getenv("PIXELBERT_TCP_INTERFACE");
  std::string interface = given && !std::strchr(given, '/') ? given : "";
  std::ifstream routes("/proc/net/route");
  for (std::string line; interface.empty() && std::getline(routes, line);) {
    std::istringstream words(line);
    std::string name, destination;
    words >> name >> destination;
    if (destination == "00000000") interface = name;
  }
  double megabits = 0;
  std::ifstream speed(fs::path("/sys/class/net") / interface / "speed");
  return speed >> megabits && megabits > 0 ? megabits * 1e6 / 8 : 0;
}

}  // namespace pixelbert::doctor

#include "checkpoint/range_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace pixelbert::checkpoint {
namespace {

// Direct writes begin and end at multiples of the disk's blocks, in the file and in memory. No disk has larger ones.
// The kernel's pages may be larger; then a direct write and a cached one would meet in a page, so none is direct.
constexpr std::int64_t kBlock = 4096;
constexpr std::int64_t kMemory = std::int64_t{2} << 20;

std::int64_t round_down(std::int64_t value) {
  return value / kBlock * kBlock;
}

std::int64_t round_up(std::int64_t value) {
  return round_down(value + kBlock - 1);
}

FileDescriptor open_for_writing(const std::filesystem::path& path, int flags) {
  return FileDescriptor(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666));
}

}  // namespace

void create_file(const std::filesystem::path& path, std::int64_t bytes) {
  const FileDescriptor fd = open_for_writing(path, O_CREAT | O_EXCL);
  PB_CHECK(fd, "cannot create {}: {}", path.string(), std::strerror(errno));
  PB_CHECK(::ftruncate(fd.get(), bytes) == 0, "cannot make {} {} bytes long: {}", path.string(), bytes,
           std::strerror(errno));
  // Reserved in one piece, or several processes would wait for each other whenever one makes the file grow. Not every
  // file system can; then a full disk is noticed later.
  int failed = 0;
  do {
    failed = ::fallocate(fd.get(), 0, 0, std::max<std::int64_t>(bytes, 1));
  } while (failed != 0 && errno == EINTR);
  PB_CHECK(failed == 0 || errno == EOPNOTSUPP, "cannot reserve {} bytes for {}: {}", bytes, path.string(),
           std::strerror(errno));
}

Digest digest_of_ranges(std::vector<WrittenRange> ranges, std::int64_t file_bytes) {
  std::ranges::sort(ranges, {}, &WrittenRange::begin);
  Digest whole;
  for (const WrittenRange& range : ranges) {
    PB_CHECK(range.begin == whole.bytes, "expected the next range of a file at byte {}, found one at {}", whole.bytes,
             range.begin);
    whole.crc32c = crc32c_concat(whole.crc32c, range.digest.crc32c, range.digest.bytes);
    whole.bytes += range.digest.bytes;
  }
  PB_CHECK(whole.bytes == file_bytes, "expected {} bytes of a file, found ranges of {}", file_bytes, whole.bytes);
  return whole;
}

RangeFile::RangeFile(std::filesystem::path path) : path_(std::move(path)), cached_(open_for_writing(path_, 0)) {
  PB_CHECK(cached_, "cannot write {}: {}", path_.string(), std::strerror(errno));
  if (::sysconf(_SC_PAGESIZE) <= kBlock) direct_ = open_for_writing(path_, O_DIRECT);
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kBlock, kMemory)));
  PB_CHECK(memory_, "no memory of {} bytes to write {}", kMemory, path_.string());
}

void RangeFile::write(std::int64_t begin, std::span<const std::byte> bytes) {
  if (begin != valid_end_ || ranges_.empty()) {
    flush();
    memory_begin_ = round_down(begin);
    valid_begin_ = valid_end_ = begin;
    ranges_.push_back({.begin = begin, .digest = {}});
  }
  Digest& digest = ranges_.back().digest;
  while (!bytes.empty()) {
    const std::int64_t room = memory_begin_ + kMemory - valid_end_;
    // Small enough that the copy finds in the cache what the checksum has just read.
    constexpr std::int64_t kPiece = std::int64_t{1} << 18;
    const auto piece = bytes.first(static_cast<std::size_t>(std::min({room, std::ssize(bytes), kPiece})));
    digest.crc32c = crc32c(piece, digest.crc32c);
    digest.bytes += std::ssize(piece);
    std::memcpy(memory_.get() + (valid_end_ - memory_begin_), piece.data(), piece.size());
    valid_end_ += std::ssize(piece);
    bytes = bytes.subspan(piece.size());
    if (valid_end_ == memory_begin_ + kMemory) flush();
  }
}

std::vector<WrittenRange> RangeFile::finish() {
  flush();
  return std::move(ranges_);
}

// The blocks at both ends may belong in part to other processes, which write there too: only the page cache, which is
// the same for all of them, keeps every byte.
void RangeFile::flush() {
  const std::int64_t first = std::min(round_up(valid_begin_), valid_end_);
  const std::int64_t last = std::max(first, round_down(valid_end_));
  write_out(cached_.get(), valid_begin_, first);
  write_out(direct_ ? direct_.get() : cached_.get(), first, last);
  write_out(cached_.get(), last, valid_end_);
  memory_begin_ = round_down(valid_end_);
  valid_begin_ = valid_end_;
}

void RangeFile::write_out(int fd, std::int64_t begin, std::int64_t end) {
  while (begin < end) {
    const ssize_t written =
        ::pwrite(fd, memory_.get() + (begin - memory_begin_), static_cast<std::size_t>(end - begin), begin);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EINVAL && fd == direct_.get()) {  // other blocks than expected
      direct_ = {};
      fd = cached_.get();
      continue;
    }
    PB_CHECK(written > 0, "cannot write {}: {}", path_.string(), std::strerror(errno));
    begin += written;
    fd = cached_.get();  // a direct write that was cut short may have ended within a block
  }
}

}  // namespace pixelbert::checkpoint

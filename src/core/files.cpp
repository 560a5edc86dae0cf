#include "core/files.h"

#include <fcntl.h>
#include <isa-l/crc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert {
namespace {

// Creates the file `aside`, which will become `path`.
FileDescriptor create(const std::filesystem::path& aside, const std::filesystem::path& path) {
  FileDescriptor fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  PB_CHECK(fd, "cannot create {}: {}", path.string(), std::strerror(errno));
  return fd;
}

// Calls use(piece) for each piece of the file, in order.
void read_pieces(const std::filesystem::path& path, const std::function<void(std::span<const std::byte>)>& use) {
  const FileDescriptor fd = open_for_reading(path);
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    PB_CHECK(n >= 0, "cannot read {}: {}", path.string(), std::strerror(errno));
    if (n == 0) return;
    use(std::span(buffer).first(static_cast<std::size_t>(n)));
    activity::moved();
  }
}

}  // namespace

void FileDescriptorTraits::close(int fd) noexcept {
  ::close(fd);
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  activity::reading(path);
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  PB_CHECK(fd, "cannot open {}: {}", path.string(), std::strerror(errno));
  return fd;
}

void read_exactly(int fd, std::span<std::byte> bytes, std::int64_t offset, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    PB_CHECK(n >= 0, "cannot read {}: {}", what, std::strerror(errno));
    PB_CHECK(n > 0, "{} ends at byte {}, {} bytes too early", what, offset, bytes.size());
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
    activity::moved();
  }
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    PB_CHECK(written > 0, "cannot write {}: {}", path.string(), std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

std::string read_file(const std::filesystem::path& path) {
  return read_file(path, std::numeric_limits<std::size_t>::max());
}

std::string read_file(const std::filesystem::path& path, std::size_t most_bytes) {
  std::string content;
  read_pieces(path, [&](std::span<const std::byte> piece) {
    PB_CHECK(piece.size() <= most_bytes - content.size(), "{} is longer than {} bytes, the limit for such a file",
             path.string(), most_bytes);
    content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return content;
}

std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  std::random_device random;
  return path.parent_path() / fmt::format(".{}.{:08x}{:08x}.tmp", path.filename().string(), random(), random());
}

void write_aside(const std::filesystem::path& path, const std::function<void(const std::filesystem::path&)>& write) {
  const std::filesystem::path aside = temporary_beside(path);
  try {
    write(aside);
    rename_durably(aside, path);
  } catch (...) {
    ::unlink(aside.c_str());
    throw;
  }
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  write_aside(path, [&](const std::filesystem::path& aside) {
    const FileDescriptor fd = create(aside, path);
    write_all(fd.get(), std::as_bytes(std::span(content)), path);
    PB_CHECK(::fsync(fd.get()) == 0, "cannot flush {}: {}", path.string(), std::strerror(errno));
  });
}

namespace {

// Writes a byte, which a full disk or a quota may refuse, and removes it again.
void write_trial(const std::filesystem::path& aside, const std::filesystem::path& shown) {
  const FileDescriptor fd = create(aside, shown);
  const bool written = ::write(fd.get(), "x", 1) == 1 && ::fsync(fd.get()) == 0;
  const int error = errno;
  ::unlink(aside.c_str());
  PB_CHECK(written, "cannot write {}: {}", shown.string(), std::strerror(error));
}

}  // namespace

void check_can_write(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::file_status status = std::filesystem::status(path, none);
  PB_CHECK(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
           "cannot write {}: it is a folder or a device", path.string());
  write_trial(temporary_beside(path), path);
}

void check_can_write_into(const std::filesystem::path& folder) {
  write_trial(temporary_beside(folder / "trial"), folder);
}

std::filesystem::path nearest_existing(const std::filesystem::path& path) {
  std::filesystem::path existing = std::filesystem::absolute(path).lexically_normal();
  while (!std::filesystem::exists(existing)) existing = existing.parent_path();
  return existing;
}

void flush_to_disk(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  PB_CHECK(::fsync(fd.get()) == 0, "cannot flush {}: {}", path.string(), std::strerror(errno));
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  PB_CHECK(!error, "cannot rename {} to {}: {}", from.string(), to.string(), error.message());
  const std::filesystem::path folder = to.parent_path();
  flush_to_disk(folder.empty() ? "." : folder);
}

std::filesystem::path put_aside(const std::filesystem::path& path) {
  std::filesystem::path other = path.string() + ".old";
  for (int i = 2; std::filesystem::exists(std::filesystem::symlink_status(other)); ++i) {
    other = fmt::format("{}.old{}", path.string(), i);
  }
  rename_durably(path, other);
  return other;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t running) {
  // ISA-L leaves out the inversions at both ends and counts in int.
  constexpr std::size_t kPiece = std::size_t{1} << 30;
  std::uint32_t crc = ~running;
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kPiece);
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));  // ISA-L only reads
    crc = crc32_iscsi(data, static_cast<int>(n), crc);
    bytes = bytes.subspan(n);
  }
  return ~crc;
}

namespace {

// Multiplies two polynomials over GF(2) modulo that of CRC-32C. The highest bit is the coefficient of x^0.
std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product = 0;
  for (; a != 0; a <<= 1) {
    if (a >> 31 != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? 0x82f63b78 : 0);  // b times x
  }
  return product;
}

}  // namespace

std::uint32_t crc32c_concat(std::uint32_t first, std::uint32_t second, std::int64_t second_bytes) {
  std::uint32_t shift = std::uint32_t{1} << 31;   // x^0
  std::uint32_t square = std::uint32_t{1} << 23;  // x^8: one byte further
  for (std::int64_t bytes = second_bytes; bytes != 0; bytes >>= 1) {
    if ((bytes & 1) != 0) shift = multiply(shift, square);
    square = multiply(square, square);
  }
  return multiply(shift, first) ^ second;
}

std::uint32_t crc32c_of_file(const std::filesystem::path& path) {
  std::uint32_t crc = 0;
  read_pieces(path, [&](std::span<const std::byte> piece) { crc = crc32c(piece, crc); });
  return crc;
}

}  // namespace pixelbert

// Files that are either whole or absent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "core/unique_handle.h"

namespace pixelbert {

struct FileDescriptorTraits {
  using Value = int;
  static constexpr Value kNull = -1;
  static void close(Value fd) noexcept;
};
using FileDescriptor = UniqueHandle<FileDescriptorTraits>;

// Returns the whole file. Throws Error with the path if it cannot be read or is longer than `most_bytes`.
std::string read_file(const std::filesystem::path& path);
std::string read_file(const std::filesystem::path& path, std::size_t most_bytes);

// Opens for reading. Throws Error with the path and the system's reason if it cannot.
FileDescriptor open_for_reading(const std::filesystem::path& path);

// Fills all of `bytes` from `offset` on. Throws Error beginning with "cannot read `what`", or "`what` ends" if the file
// is too short.
void read_exactly(int fd, std::span<std::byte> bytes, std::int64_t offset, const std::string& what);

// Writes all of `bytes` where the file stands. Throws Error with the path.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// Returns a name in the same folder that no other process uses, for a file that is renamed to `path` once it is whole.
std::filesystem::path temporary_beside(const std::filesystem::path& path);

// Calls write() with a name beside `path`, and renames the file that it writes and flushes there: at any moment `path`
// holds the old content or the new. If write() throws, its file is removed. If two processes write at once, the later
// one wins.
void write_aside(const std::filesystem::path& path, const std::function<void(const std::filesystem::path&)>& write);

// Writes a text so.
void write_file(const std::filesystem::path& path, std::string_view content);

// Throws Error with the reason if write_file() would fail: no such folder, no permission, a read-only or full file
// system. Leaves nothing behind.
void check_can_write(const std::filesystem::path& path);
void check_can_write_into(const std::filesystem::path& folder);  // the same for any new file there

// Returns `path`, or the nearest existing folder above it, in which it would be made.
std::filesystem::path nearest_existing(const std::filesystem::path& path);

// Flushes a file or folder to the disk. A rename is durable once its folder is flushed.
void flush_to_disk(const std::filesystem::path& path);

// Renames within a folder and flushes the folder.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

// Renames `path` to `path`.old, or to .old2 and so on if that name is taken. Returns the new name.
std::filesystem::path put_aside(const std::filesystem::path& path);

// CRC-32C (Castagnoli), the checksum of shards and checkpoints. `running` continues an earlier call.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t running = 0);
std::uint32_t crc32c_concat(std::uint32_t first, std::uint32_t second, std::int64_t second_bytes);  // of first + second
std::uint32_t crc32c_of_file(const std::filesystem::path& path);

}  // namespace pixelbert

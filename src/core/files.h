// Files that are either whole or absent.
#pragma once

#include <cstdint>
#include <filesystem>
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

// All of a file; Error with the path when it cannot be read.
std::string read_file(const std::filesystem::path& path);

// Opens for reading; Error with the path and the system's reason when it cannot.
FileDescriptor open_for_reading(const std::filesystem::path& path);

// Writes `path`.tmp, flushes it to the disk and renames it: at any moment `path` holds the old content or the new.
void write_file(const std::filesystem::path& path, std::string_view content);

// Flushes a file or folder to the disk. A rename is durable once its folder is flushed.
void flush_to_disk(const std::filesystem::path& path);

// Renames within a folder and flushes the folder.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

// CRC-32C (Castagnoli), the checksum of shards and checkpoints. `running` continues an earlier call.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t running = 0);
std::uint32_t crc32c_of_file(const std::filesystem::path& path);

}  // namespace pixelbert

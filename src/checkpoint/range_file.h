// Writes parts of a file whose other parts are written by other processes of this host, past the page cache. What
// goes through it takes a core, which belongs to the model: for 560 MB 0.14 to 2.4 s, by what had to leave the cache;
// past it 0.03 s (benchmarks/results/2026-11-29-epyc-2-cores-speed.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/safetensors.h"
#include "core/files.h"

namespace pixelbert::checkpoint {

// Makes a file of this size, whose content means nothing yet. Throws Error if it exists, and if the disk has no room,
// as far as the file system can tell.
void create_file(const std::filesystem::path& path, std::int64_t bytes);

// A part of a file, and its digest.
struct WrittenRange {
  std::int64_t begin = 0;
  Digest digest;
};

// Returns the digest of a whole file that was written in ranges. Throws Error if one is missing or there twice.
Digest digest_of_ranges(std::vector<WrittenRange> ranges, std::int64_t file_bytes);

class RangeFile {
 public:
  // Opens a file that create_file() has made. Throws Error.
  explicit RangeFile(std::filesystem::path path);

  // Writes at `begin`. What begins where the last call ended belongs to the same range. Throws Error.
  void write(std::int64_t begin, std::span<const std::byte> bytes);

  // Writes what is still in memory and returns the ranges. Somebody must then flush the file to the disk.
  std::vector<WrittenRange> finish();

 private:
  void flush();
  void write_out(int fd, std::int64_t begin, std::int64_t end);

  struct Freed {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  std::filesystem::path path_;
  FileDescriptor cached_, direct_;  // without direct_ the file system has no such writes
  // Content of [valid_begin_, valid_end_) of the file; the memory begins with the content at memory_begin_.
  std::unique_ptr<std::byte, Freed> memory_;
  std::int64_t memory_begin_ = 0, valid_begin_ = 0, valid_end_ = 0;
  std::vector<WrittenRange> ranges_;
};

}  // namespace pixelbert::checkpoint

// Fills a shard folder. Each file is written aside and renamed when whole; the manifest comes last, and a folder
// without a manifest is not a data set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/folder_lock.h"
#include "shards/record.h"
#include "shards/shard_manifest.h"

namespace pixelbert::shards {

// A folder may be filled by several processes at once, part 1 to `count`. Each writes its own files and part manifest
// and leaves the others' alone; the one that finds the set complete writes the manifest.
struct Part {
  int number = 1;
  int count = 1;
};

struct WriterOptions {
  std::filesystem::path folder;
  std::int64_t shard_mib = 256;  // a file ends when its images reach this; also the memory the writer needs
  Part part;
  std::int64_t records = 0;  // of all parts together: parts with other numbers are not joined
};

// Throws Error when the folder already has a manifest.
void check_not_finished(const std::filesystem::path& folder);

class ShardFolderWriter {
 public:
  // `header` has everything but the files. Makes the folder, and removes what an interrupted run of the same part left.
  // Throws Error when the folder already has a manifest, or parts of a set of another size, or another process is
  // filling it.
  ShardFolderWriter(WriterOptions options, Manifest header);

  const std::filesystem::path& folder() const { return options_.folder; }

  // Puts another file beside the shards, named in the manifest: "vocab.txt".
  void write_other_file(const std::string& name, std::string_view content);

  // Throws Error when a file cannot be written (disk full); then nothing of it has its final name.
  void append(Record record);

  // Counts in the manifest an input of the source that was left out.
  void count_skipped(const std::string& reason) { ++manifest_.skipped[reason]; }

  // Writes the last file and this part's manifest. Returns the manifest of the whole folder, or nothing while other
  // parts are missing. Throws Error when the parts were made with different options or from
  // another number of records.
  std::optional<Manifest> finish();

 private:
  void write_file_of_pending();

  WriterOptions options_;
  FolderLock lock_;  // of this part
  Manifest manifest_;
  // The size of a contiguous data set must be known when it is made. Keeping one file's records in memory avoids
  // reading (or drawing) every image twice.
  std::vector<Record> pending_;
  std::int64_t pending_bytes_ = 0;
};

}  // namespace pixelbert::shards

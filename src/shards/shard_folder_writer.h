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
#include "shards/manifest.h"
#include "shards/record.h"

namespace pixelbert::shards {

// A folder may be filled by several processes at once, part 1 to `count`. Each writes files and a part manifest of its
// own, touching nothing of the others; whichever finds the set complete writes the manifest.
struct Part {
  int number = 1;
  int count = 1;
};

struct WriterOptions {
  std::filesystem::path folder;
  std::int64_t shard_mib = 256;  // a file ends when its pictures reach this; also the memory the writer holds
  Part part;
};

class ShardFolderWriter {
 public:
  // `header` has everything but the files. Makes the folder, and clears what an interrupted run of the same part left.
  // Error when the folder has a manifest already, or parts of a set of another size, or another process fills it.
  ShardFolderWriter(WriterOptions options, Manifest header);

  const std::filesystem::path& folder() const { return options_.folder; }

  // Puts another file beside the shards, named in the manifest: "vocab.txt".
  void write_other_file(const std::string& name, std::string_view content);

  // Error when a file cannot be written (disk full); then nothing of it is under its final name.
  void append(Record record);

  // A source's input that was left out; counted in the manifest.
  void count_skipped(const std::string& reason) { ++manifest_.skipped[reason]; }

  // Writes the last file and this part's manifest. The manifest of the whole folder, or nothing while other parts are
  // missing. Error when the parts were made with different options.
  std::optional<Manifest> finish();

 private:
  void write_file_of_pending();

  WriterOptions options_;
  FolderLock lock_;  // of this part
  Manifest manifest_;
  // Bytes of a contiguous data set must be known in number when it is made. Holding one file's records in memory
  // spares reading (or drawing) every picture twice.
  std::vector<Record> pending_;
  std::int64_t pending_bytes_ = 0;
};

}  // namespace pixelbert::shards

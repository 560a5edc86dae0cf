// A folder of shards as two tables: images and the texts that belong to them. Rows are numbered across the files in the
// manifest's order, and the texts of one image are consecutive.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/recently_used.h"
#include "shards/bytes.h"
#include "shards/record.h"
#include "shards/shard_manifest.h"

namespace pixelbert::shards {

class ShardReader;  // one open file: its index in memory, its bytes by pread

// Stored bytes that do not have the checksum in their index row. A loader substitutes another sample and counts it.
struct CorruptRecord : Error {
  using Error::Error;
};

class ShardSet {
 public:
  // Throws Error as read_manifest() does, or when answers.txt is not that of the manifest. Opens files on demand, which
  // throws DamagedIndex, or Error when a file is not that of the manifest.
  explicit ShardSet(std::filesystem::path folder);
  ~ShardSet();

  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t images() const { return first_image_.back(); }
  std::int64_t texts() const { return first_text_.back(); }
  std::filesystem::path vocabulary() const { return folder_ / "vocab.txt"; }  // only scenes has one

  // All of the following may be called from several threads. At most `kOpenFiles` files are kept open, so memory does
  // not grow with the data set. A section (kSectionMicroBatches in data/sample_stream.h) is read from
  // most files of COCO, about 73 of the default size, whose indexes take 0.2 to 1.6 MB each.
  static constexpr std::size_t kOpenFiles = 80;

  // Returns the number of texts of each image in [first, last). Reads only the index.
  std::vector<std::int64_t> text_counts(std::int64_t first_image, std::int64_t last_image) const;

  Bytes image(std::int64_t row) const;       // encoded, as in the source; CorruptRecord
  std::string text(std::int64_t row) const;  // UTF-8; CorruptRecord
  std::int64_t image_of_text(std::int64_t row) const;
  std::int64_t first_text_of_image(std::int64_t row) const;
  PixelSize image_size(std::int64_t row) const;   // of the decoded image: neither it nor the decoder heeds EXIF
  std::int64_t image_id(std::int64_t row) const;  // the source's own id (COCO image id, ...)
  std::int64_t text_id(std::int64_t row) const;   // the source's own id (caption, region id, ...)

  std::int64_t second_image_of_text(std::int64_t row) const;  // NLVR2: row of the right image; -1 for one image
  std::int64_t group(std::int64_t row) const;                 // of a text (record.h); -1 for none
  std::vector<Answer> answers(std::int64_t row) const;        // of a text; empty where the source has none

 private:
  struct Place {
    std::size_t file;
    std::int64_t row;  // within the file
    std::shared_ptr<const ShardReader> reader;
  };
  Place place_of_image(std::int64_t row) const;
  Place place_of_text(std::int64_t row) const;
  std::shared_ptr<const ShardReader> open(std::size_t file) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  Limits limits_;
  std::vector<std::int64_t> first_image_;  // of each file, and the total at the end
  std::vector<std::int64_t> first_text_;
  mutable std::mutex mutex_;
  mutable std::vector<bool> verified_;  // files that were opened before
  mutable RecentlyUsed<std::size_t, ShardReader> open_files_{kOpenFiles};
};

}  // namespace pixelbert::shards

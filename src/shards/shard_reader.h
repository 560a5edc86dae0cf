// One open shard file: its index in memory, its bytes by pread. All functions may be called from several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"
#include "shards/bytes.h"
#include "shards/column.h"
#include "shards/index_check.h"
#include "shards/record.h"
#include "shards/shard_manifest.h"

namespace pixelbert::shards {

class ShardReader {
 public:
  // Throws Error when the file is not the one in the manifest: another size, version or number of rows. Throws
  // DamagedIndex when a column does not have its checksum in the manifest, or cannot be true. `verified`: the same file
  // was found sound before, so columns that are not kept in memory are not read again.
  ShardReader(std::filesystem::path path, const ShardFile& expected, const Limits& limits = {}, bool verified = false);

  std::int64_t images() const { return static_cast<std::int64_t>(image_index_.offset.size()); }
  std::int64_t texts() const { return static_cast<std::int64_t>(text_index_.offset.size()); }

  Bytes image(std::int64_t row) const;                                              // CorruptRecord
  std::string text(std::int64_t row) const;                                         // CorruptRecord
  std::int64_t first_text(std::int64_t image) const { return first_text_[image]; }  // image <= images()
  std::int64_t image_of_text(std::int64_t text) const;
  std::int64_t second_image_of_text(std::int64_t text) const;  // -1 for none
  std::int64_t image_id(std::int64_t row) const;
  PixelSize image_size(std::int64_t row) const { return {height_[row], width_[row]}; }
  std::int64_t text_id(std::int64_t row) const;
  std::int64_t group(std::int64_t text) const;  // -1 for none
  std::vector<Answer> answers(std::int64_t text) const;

 private:
  struct Index {
    std::vector<std::int64_t> offset;
    std::vector<std::uint32_t> length;
    std::vector<std::uint32_t> crc32c;
  };
  struct Columns;
  Columns open_columns(std::int64_t bytes);
  void read_index(const Columns& columns, IndexCheck& check);
  void check_rest(const Columns& columns, const Limits& limits, IndexCheck& check) const;
  void check_answers(const Limits& limits, IndexCheck& check) const;
  template <class Content>
  Content read_record(const Column<std::uint8_t>& column, const Index& index, const char* kind, std::int64_t row) const;

  std::filesystem::path path_;
  FileDescriptor fd_;
  Column<std::uint8_t> image_bytes_, text_bytes_;
  Index image_index_, text_index_;
  std::vector<std::int64_t> first_text_;
  std::vector<std::int32_t> height_, width_;
  Column<std::int64_t> image_id_, text_id_, second_image_, group_, first_answer_;
  Column<std::int32_t> answer_index_;
  Column<float> answer_score_, answer_accuracy_;
};

}  // namespace pixelbert::shards

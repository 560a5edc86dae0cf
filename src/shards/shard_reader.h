// One open shard file: its index in memory, its bytes by pread. All functions may be called from several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/files.h"
#include "shards/bytes.h"
#include "shards/hdf5_handles.h"
#include "shards/manifest.h"
#include "shards/record.h"

namespace pixelbert::shards {

// A one-dimensional data set of numbers.
//
// Its bytes are read by pread, outside the lock that all of HDF5 shares, where they lie in the file as they are in
// memory; HDF5 reads them where another program chunked, compressed or converted them.
template <class T>
class Column {
 public:
  Column() = default;  // a data set that is absent
  Column(hid_t file, const std::filesystem::path& path, const char* name);
  Column(Column&&) noexcept = default;
  Column& operator=(Column&&) noexcept = default;
  ~Column();

  std::int64_t size() const { return size_; }
  bool by_pread() const { return file_offset_ >= 0; }

  void read(int fd, std::int64_t first, std::int64_t count, T* out) const;
  T at(int fd, std::int64_t row) const;
  std::vector<T> all(int fd) const;

 private:
  std::string what_;  // "cannot read images/bytes of shard-00000.h5", for messages
  std::int64_t size_ = 0;
  std::int64_t file_offset_ = -1;
  Dataset dataset_;  // open only where pread cannot do it
};

class ShardReader {
 public:
  // Error when the file is not the one the manifest means: another size, version or number of rows.
  ShardReader(std::filesystem::path path, const ShardFile& expected);

  std::int64_t images() const { return static_cast<std::int64_t>(image_index_.offset.size()); }
  std::int64_t texts() const { return static_cast<std::int64_t>(text_index_.offset.size()); }

  Bytes image(std::int64_t row) const;                                              // CorruptRecord
  std::string text(std::int64_t row) const;                                         // CorruptRecord
  std::int64_t first_text(std::int64_t image) const { return first_text_[image]; }  // image <= images()
  std::int64_t image_of_text(std::int64_t text) const;
  std::int64_t second_image_of_text(std::int64_t text) const;  // -1 for none
  std::int64_t image_id(std::int64_t row) const;
  std::int64_t text_id(std::int64_t row) const;
  std::int64_t group(std::int64_t text) const;  // -1 for none
  std::vector<Answer> answers(std::int64_t text) const;

 private:
  struct Index {
    std::vector<std::int64_t> offset;
    std::vector<std::uint32_t> length;
    std::vector<std::uint32_t> crc32c;
  };
  Index read_index(hid_t file, const std::string& group) const;
  void read_answers(hid_t file);
  template <class Content>
  Content read_record(const Column<std::uint8_t>& column, const Index& index, const char* kind, std::int64_t row) const;

  std::filesystem::path path_;
  FileDescriptor fd_;
  Column<std::uint8_t> image_bytes_, text_bytes_;
  Index image_index_, text_index_;
  std::vector<std::int64_t> first_text_;
  Column<std::int64_t> image_id_, text_id_, second_image_, group_, first_answer_;
  Column<std::int32_t> answer_index_;
  Column<float> answer_score_, answer_accuracy_;
};

}  // namespace pixelbert::shards

// One-dimensional data sets of numbers in an HDF5 file that another program may have made, or a disk damaged: what the
// file says of itself is compared with its size before memory is taken, and nothing outside of it is opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "shards/hdf5_handles.h"

namespace pixelbert::shards {

// An HDF5 file that is open for reading.
struct OpenFile {
  hid_t id = H5I_INVALID_HID;
  std::filesystem::path path;
  std::int64_t bytes = 0;  // of the file
};

// Whether there is such a group, or data set of a group. Under Hdf5Lock, as the next two.
bool has_object(const OpenFile& file, const std::string& name);

// An attribute of the root that is one whole number. Error when it is absent or anything else.
std::int64_t read_attribute(const OpenFile& file, const char* name);

// A data set.
//
// Its bytes are read by pread, outside the lock that all of HDF5 shares, where they lie in the file as they are in
// memory; HDF5 reads them where another program chunked, compressed or converted them.
template <class T>
class Column {
 public:
  Column() = default;  // a data set that is absent

  // Error when it is no row of numbers, or claims more of them than the file can hold. Under Hdf5Lock.
  Column(const OpenFile& file, const char* name);
  Column(Column&&) noexcept = default;
  Column& operator=(Column&&) noexcept = default;
  ~Column();

  const std::string& name() const { return name_; }  // "images/offset"; empty for an absent one
  std::int64_t size() const { return size_; }
  bool by_pread() const { return file_offset_ >= 0; }

  void read(int fd, std::int64_t first, std::int64_t count, T* out) const;
  T at(int fd, std::int64_t row) const;
  std::vector<T> all(int fd) const;

 private:
  std::string name_;
  std::string what_;  // "cannot read images/bytes of shard-00000.h5", for messages
  std::int64_t size_ = 0;
  std::int64_t file_offset_ = -1;
  Dataset dataset_;  // open only where pread cannot do it
};

}  // namespace pixelbert::shards

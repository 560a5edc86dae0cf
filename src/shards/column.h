// Reads one-dimensional data sets of numbers from an HDF5 file that may be damaged or made by another program: compares
// what the file claims with its size before allocating memory, and opens nothing outside it.
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

// Whether there is such a group, or data set of a group. Call it under Hdf5Lock, like the next two.
bool has_object(const OpenFile& file, const std::string& name);

// Returns an attribute of the root. Throws Error unless it is one whole number.
std::int64_t read_attribute(const OpenFile& file, const char* name);

// A data set.
//
// pread reads bytes that are in the file as in memory, outside the lock that all of HDF5 shares; HDF5 reads those that
// another program chunked, compressed or converted.
template <class T>
class Column {
 public:
  Column() = default;  // an absent data set

  // Throws Error when it is no row of numbers, or claims more numbers than the file can hold. Call it under Hdf5Lock.
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
  Dataset dataset_;  // open only when pread cannot read it
};

}  // namespace pixelbert::shards

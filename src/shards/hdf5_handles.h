// HDF5's C handles as values that close themselves, and its errors as Error.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <string>

#include "core/check.h"
#include "core/unique_handle.h"

namespace pixelbert::shards {

template <herr_t (*Close)(hid_t)>
struct Hdf5Traits {
  using Value = hid_t;
  static constexpr Value kNull = H5I_INVALID_HID;
  static void close(Value id) noexcept { Close(id); }
};
using File = UniqueHandle<Hdf5Traits<H5Fclose>>;
using Group = UniqueHandle<Hdf5Traits<H5Gclose>>;
using Dataset = UniqueHandle<Hdf5Traits<H5Dclose>>;
using Dataspace = UniqueHandle<Hdf5Traits<H5Sclose>>;
using Datatype = UniqueHandle<Hdf5Traits<H5Tclose>>;
using Attribute = UniqueHandle<Hdf5Traits<H5Aclose>>;
using PropertyList = UniqueHandle<Hdf5Traits<H5Pclose>>;

// Hold it around every use of the library, also the destruction of handles: not every build of HDF5 is thread-safe, and
// those that are use one lock for everything anyway. While held, HDF5 prints nothing on stderr. Recursive, because a
// constructor that fails under the lock destroys members that take it.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::lock_guard<std::recursive_mutex> guard_;
};

// Returns the library's own reason for its last failure in this thread: "No space left on device", "file signature not
// found".
std::string hdf5_reason();

// Ids and statuses are negative on failure. `what` reads "cannot write data_shards/coco/shard-00000.h5.tmp".
template <class Status>
Status check_hdf5(Status status, const std::string& what, std::source_location at = std::source_location::current()) {
  if (status < 0) fail(what + ": " + hdf5_reason(), at);
  return status;
}

// HDF5's types for a C++ number; little-endian in files.
template <class T>
struct Hdf5Number;
template <>
struct Hdf5Number<std::uint8_t> {
  static hid_t stored() { return H5T_STD_U8LE; }
  static hid_t native() { return H5T_NATIVE_UINT8; }
};
template <>
struct Hdf5Number<std::int32_t> {
  static hid_t stored() { return H5T_STD_I32LE; }
  static hid_t native() { return H5T_NATIVE_INT32; }
};
template <>
struct Hdf5Number<std::uint32_t> {
  static hid_t stored() { return H5T_STD_U32LE; }
  static hid_t native() { return H5T_NATIVE_UINT32; }
};
template <>
struct Hdf5Number<std::int64_t> {
  static hid_t stored() { return H5T_STD_I64LE; }
  static hid_t native() { return H5T_NATIVE_INT64; }
};
template <>
struct Hdf5Number<float> {
  static hid_t stored() { return H5T_IEEE_F32LE; }
  static hid_t native() { return H5T_NATIVE_FLOAT; }
};

}  // namespace pixelbert::shards

#include "shards/column.h"

#include <algorithm>
#include <span>
#include <type_traits>

#include "core/check.h"
#include "core/files.h"

namespace pixelbert::shards {
namespace {

// The best ratio of HDF5's compression: 1032 bytes from one (deflate).
constexpr std::int64_t kMostGain = 1032;
constexpr std::int64_t kSmall = 1 << 20;  // bytes that any file may claim

// A soft or external link may lead anywhere.
void check_links(hid_t file, const std::string& name, const std::string& what) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    const std::string part = name.substr(0, end);
    H5L_info_t link{};
    PB_CHECK(H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT) >= 0, "{}: it is not there", what);
    PB_CHECK(link.type == H5L_TYPE_HARD, "{}: {} is a link to another place, expected it in this file", what, part);
  }
}

// Returns the bytes of a stored number. Refuses arrays, strings, compounds and references: reading them writes another
// number of bytes.
template <class T>
std::int64_t check_type(hid_t type, const std::string& what) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  const bool number = kind == H5T_INTEGER || (std::is_floating_point_v<T> && kind == H5T_FLOAT);
  PB_CHECK(number && size >= 1 && size <= 8, "{}: expected {} of up to 8 bytes, found another type", what,
           std::is_floating_point_v<T> ? "numbers" : "whole numbers");
  return static_cast<std::int64_t>(size);
}

std::int64_t chunk_of(hid_t creation, const std::string& what) {
  hsize_t chunk = 0;
  check_hdf5(H5Pget_chunk(creation, 1, &chunk), what);
  return static_cast<std::int64_t>(chunk);
}

// `rows` of `width` bytes must fit into the file, or be what its compressed bytes can expand to.
void check_size(hid_t dataset, std::int64_t rows, std::int64_t width, std::int64_t file_bytes,
                const std::string& what) {
  if (rows == 0) return;
  const PropertyList creation(check_hdf5(H5Dget_create_plist(dataset), what));
  const H5D_layout_t layout = check_hdf5(H5Pget_layout(creation.get()), what);
  PB_CHECK(layout != H5D_VIRTUAL && H5Pget_external_count(creation.get()) <= 0,
           "{}: its bytes are in another file, expected them in this one", what);
  std::int64_t most = file_bytes;
  if (layout == H5D_CHUNKED) {
    const auto stored = std::min(static_cast<std::int64_t>(H5Dget_storage_size(dataset)), file_bytes);
    PB_CHECK(stored > 0, "{}: it was never written", what);
    most = stored * kMostGain + kSmall;
    rows = std::max(rows, chunk_of(creation.get(), what));
  }
  PB_CHECK(rows <= most / width, "{}: it claims {} rows of {} bytes, but the file has {} bytes", what, rows, width,
           file_bytes);
  if (layout != H5D_CONTIGUOUS) return;
  const haddr_t offset = H5Dget_offset(dataset);
  PB_CHECK(offset != HADDR_UNDEF, "{}: it was never written", what);
  PB_CHECK(offset <= static_cast<haddr_t>(file_bytes - rows * width),
           "{}: it claims bytes {} to {} of a file that has {}", what, offset,
           offset + static_cast<haddr_t>(rows * width), file_bytes);
}

// HDF5 would replace a number that does not fit into the wanted type by the nearest one that does.
H5T_conv_ret_t refuse_out_of_range(H5T_conv_except_t exception, hid_t, hid_t, void*, void*, void*) {
  const bool range = exception == H5T_CONV_EXCEPT_RANGE_HI || exception == H5T_CONV_EXCEPT_RANGE_LOW;
  return range ? H5T_CONV_ABORT : H5T_CONV_UNHANDLED;
}

}  // namespace

bool has_object(const OpenFile& file, const std::string& name) {
  const std::string group = name.substr(0, name.find('/'));
  return H5Lexists(file.id, group.c_str(), H5P_DEFAULT) > 0 && H5Lexists(file.id, name.c_str(), H5P_DEFAULT) > 0;
}

std::int64_t read_attribute(const OpenFile& file, const char* name) {
  const std::string what = fmt::format("{}: attribute {}", file.path.string(), name);
  const Attribute attribute(check_hdf5(H5Aopen(file.id, name, H5P_DEFAULT), what));
  const Dataspace space(check_hdf5(H5Aget_space(attribute.get()), what));
  const Datatype type(check_hdf5(H5Aget_type(attribute.get()), what));
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  PB_CHECK(count == 1, "{}: expected one whole number, found {}", what, count);
  check_type<std::int64_t>(type.get(), what);
  std::int64_t value = 0;
  check_hdf5(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), what);
  return value;
}

template <class T>
Column<T>::Column(const OpenFile& file, const char* name)
    : name_(name), what_(fmt::format("cannot read {} of {}", name, file.path.string())) {
  check_links(file.id, name_, what_);
  dataset_ = Dataset(check_hdf5(H5Dopen2(file.id, name, H5P_DEFAULT), what_));
  const Dataspace space(check_hdf5(H5Dget_space(dataset_.get()), what_));
  PB_CHECK(H5Sget_simple_extent_ndims(space.get()) == 1, "{}: expected one dimension", what_);
  size_ = check_hdf5(H5Sget_simple_extent_npoints(space.get()), what_);
  const Datatype type(check_hdf5(H5Dget_type(dataset_.get()), what_));
  check_size(dataset_.get(), size_, check_type<T>(type.get(), what_), file.bytes, what_);

  const haddr_t offset = H5Dget_offset(dataset_.get());  // undefined unless contiguous and written
  if (offset == HADDR_UNDEF || H5Tequal(type.get(), Hdf5Number<T>::native()) <= 0) return;
  file_offset_ = static_cast<std::int64_t>(offset);
  dataset_ = {};
}

template <class T>
Column<T>::~Column() {
  if (!dataset_) return;
  const Hdf5Lock lock;
  dataset_ = {};
}

template <class T>
void Column<T>::read(int fd, std::int64_t first, std::int64_t count, T* out) const {
  PB_CHECK(first >= 0 && count >= 0 && first <= size_ - count, "{}: it has {} entries, asked for {} from {}", what_,
           size_, count, first);
  if (count == 0) return;
  if (by_pread()) {
    const auto size = static_cast<std::int64_t>(sizeof(T));
    const std::span values(out, static_cast<std::size_t>(count));
    return read_exactly(fd, std::as_writable_bytes(values), file_offset_ + first * size, what_);
  }
  const Hdf5Lock lock;
  const Dataspace space(check_hdf5(H5Dget_space(dataset_.get()), what_));
  const auto start = static_cast<hsize_t>(first), length = static_cast<hsize_t>(count);
  check_hdf5(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &length, nullptr), what_);
  const Dataspace memory(check_hdf5(H5Screate_simple(1, &length, nullptr), what_));
  const PropertyList transfer(check_hdf5(H5Pcreate(H5P_DATASET_XFER), what_));
  check_hdf5(H5Pset_type_conv_cb(transfer.get(), refuse_out_of_range, nullptr), what_);
  check_hdf5(H5Dread(dataset_.get(), Hdf5Number<T>::native(), memory.get(), space.get(), transfer.get(), out), what_);
}

template <class T>
T Column<T>::at(int fd, std::int64_t row) const {
  T value;
  read(fd, row, 1, &value);
  return value;
}

template <class T>
std::vector<T> Column<T>::all(int fd) const {
  std::vector<T> values(static_cast<std::size_t>(size_));
  read(fd, 0, size_, values.data());
  return values;
}

template class Column<std::uint8_t>;
template class Column<std::int32_t>;
template class Column<std::uint32_t>;
template class Column<std::int64_t>;
template class Column<float>;

}  // namespace pixelbert::shards

#include "shards/shard_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "shards/shard_set.h"

namespace pixelbert::shards {
namespace {

void read_at(int fd, void* out, std::size_t bytes, std::int64_t offset, const std::string& what) {
  auto* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd, to, bytes, offset);
    if (n < 0 && errno == EINTR) continue;
    PB_CHECK(n >= 0, "{}: {}", what, std::strerror(errno));
    PB_CHECK(n > 0, "{}: the file ends {} bytes too early", what, bytes);
    to += n;
    offset += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

bool exists(hid_t file, const char* group, const std::string& name) {
  return H5Lexists(file, group, H5P_DEFAULT) > 0 && H5Lexists(file, name.c_str(), H5P_DEFAULT) > 0;
}

void check_version(hid_t file, const std::filesystem::path& path) {
  constexpr const char* kName = "pixelbert_shard_version";
  PB_CHECK(H5Aexists(file, kName) > 0, "{} is no shard: it has no attribute {}", path.string(), kName);
  const Attribute attribute(check_hdf5(H5Aopen(file, kName, H5P_DEFAULT), path.string()));
  std::int64_t version = 0;
  check_hdf5(H5Aread(attribute.get(), H5T_NATIVE_INT64, &version), path.string());
  PB_CHECK(version == kFormatVersion, "{} is format {}, this build reads {}: make the shards again", path.string(),
           version, kFormatVersion);
}

// Of a data set that may be absent.
template <class T>
bool has_rows(const Column<T>& column, std::int64_t rows) {
  return column.size() == 0 || column.size() == rows;
}

}  // namespace

template <class T>
Column<T>::Column(hid_t file, const std::filesystem::path& path, const char* name)
    : what_(fmt::format("cannot read {} of {}", name, path.string())) {
  dataset_ = Dataset(check_hdf5(H5Dopen2(file, name, H5P_DEFAULT), what_));
  const Dataspace space(check_hdf5(H5Dget_space(dataset_.get()), what_));
  PB_CHECK(H5Sget_simple_extent_ndims(space.get()) == 1, "{}: expected one dimension", what_);
  size_ = check_hdf5(H5Sget_simple_extent_npoints(space.get()), what_);

  const Datatype type(check_hdf5(H5Dget_type(dataset_.get()), what_));
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
    return read_at(fd, out, static_cast<std::size_t>(count * size), file_offset_ + first * size, what_);
  }
  const Hdf5Lock lock;
  const Dataspace space(check_hdf5(H5Dget_space(dataset_.get()), what_));
  const auto start = static_cast<hsize_t>(first), length = static_cast<hsize_t>(count);
  check_hdf5(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &length, nullptr), what_);
  const Dataspace memory(check_hdf5(H5Screate_simple(1, &length, nullptr), what_));
  check_hdf5(H5Dread(dataset_.get(), Hdf5Number<T>::native(), memory.get(), space.get(), H5P_DEFAULT, out), what_);
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

ShardReader::ShardReader(std::filesystem::path path, const ShardFile& expected)
    : path_(std::move(path)), fd_(open_for_reading(path_)) {
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path_));
  PB_CHECK(bytes == expected.bytes, "{} has {} bytes, the manifest says {}: copy the file again", path_.string(), bytes,
           expected.bytes);

  const Hdf5Lock lock;
  const File file(check_hdf5(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "cannot open " + path_.string()));
  const hid_t id = file.get();
  check_version(id, path_);

  image_bytes_ = Column<std::uint8_t>(id, path_, "images/bytes");
  image_id_ = Column<std::int64_t>(id, path_, "images/id");
  image_index_ = read_index(id, "images");
  first_text_ = Column<std::int64_t>(id, path_, "images/first_text").all(fd_.get());

  text_bytes_ = Column<std::uint8_t>(id, path_, "texts/bytes");
  text_id_ = Column<std::int64_t>(id, path_, "texts/id");
  text_index_ = read_index(id, "texts");
  if (exists(id, "texts", "texts/second_image")) {
    second_image_ = Column<std::int64_t>(id, path_, "texts/second_image");
  }
  if (exists(id, "texts", "texts/group")) group_ = Column<std::int64_t>(id, path_, "texts/group");
  if (exists(id, "answers", "answers/first")) read_answers(id);

  PB_CHECK(images() == expected.images && texts() == expected.texts,
           "{} has {} images and {} texts, the manifest says {} and {}: make the shards again", path_.string(),
           images(), texts(), expected.images, expected.texts);
  PB_CHECK(first_text_.size() == image_index_.offset.size() + 1 && first_text_.front() == 0 &&
               first_text_.back() == texts() && std::is_sorted(first_text_.begin(), first_text_.end()),
           "{}: images/first_text does not rise from 0 to the number of texts, {}: make the shards again",
           path_.string(), texts());
  PB_CHECK(has_rows(group_, texts()) && has_rows(second_image_, texts()) && has_rows(first_answer_, texts() + 1),
           "{}: of {} texts, texts/group has {} rows, texts/second_image {} and answers/first {} (expected one more): "
           "make the shards again",
           path_.string(), texts(), group_.size(), second_image_.size(), first_answer_.size());
}

ShardReader::Index ShardReader::read_index(hid_t file, const std::string& group) const {
  const auto column = [&](const char* name) { return group + "/" + name; };
  Index index{Column<std::int64_t>(file, path_, column("offset").c_str()).all(fd_.get()),
              Column<std::uint32_t>(file, path_, column("length").c_str()).all(fd_.get()),
              Column<std::uint32_t>(file, path_, column("crc32c").c_str()).all(fd_.get())};
  PB_CHECK(index.length.size() == index.offset.size() && index.crc32c.size() == index.offset.size(),
           "{}: the columns of {} have {}, {} and {} rows: make the shards again", path_.string(), group,
           index.offset.size(), index.length.size(), index.crc32c.size());
  return index;
}

void ShardReader::read_answers(hid_t file) {
  first_answer_ = Column<std::int64_t>(file, path_, "answers/first");
  answer_index_ = Column<std::int32_t>(file, path_, "answers/index");
  answer_score_ = Column<float>(file, path_, "answers/score");
  if (exists(file, "answers", "answers/accuracy")) answer_accuracy_ = Column<float>(file, path_, "answers/accuracy");
  PB_CHECK(answer_score_.size() == answer_index_.size() && has_rows(answer_accuracy_, answer_index_.size()),
           "{}: the columns of answers have {}, {} and {} rows: make the shards again", path_.string(),
           answer_index_.size(), answer_score_.size(), answer_accuracy_.size());
}

template <class Content>
Content ShardReader::read_record(const Column<std::uint8_t>& column, const Index& index, const char* kind,
                                 std::int64_t row) const {
  const std::int64_t offset = index.offset[row], length = index.length[row];
  if (offset < 0 || offset > column.size() - length) {
    throw CorruptRecord(fmt::format("{} {} of {}: its index says bytes {} to {} of {}", kind, row, path_.string(),
                                    offset, offset + length, column.size()));
  }
  Content bytes;
  bytes.resize(static_cast<std::size_t>(length));
  column.read(fd_.get(), offset, length, reinterpret_cast<std::uint8_t*>(bytes.data()));
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  if (crc != index.crc32c[row]) {
    throw CorruptRecord(fmt::format("{} {} of {}: expected checksum {:08x}, found {:08x}: copy the file again", kind,
                                    row, path_.string(), index.crc32c[row], crc));
  }
  return bytes;
}

Bytes ShardReader::image(std::int64_t row) const {
  return read_record<Bytes>(image_bytes_, image_index_, "image", row);
}

std::string ShardReader::text(std::int64_t row) const {
  return read_record<std::string>(text_bytes_, text_index_, "text", row);
}

std::int64_t ShardReader::image_of_text(std::int64_t text) const {
  return std::upper_bound(first_text_.begin(), first_text_.end(), text) - first_text_.begin() - 1;
}

std::int64_t ShardReader::second_image_of_text(std::int64_t text) const {
  return second_image_.size() == 0 ? -1 : second_image_.at(fd_.get(), text);
}

std::int64_t ShardReader::image_id(std::int64_t row) const {
  return image_id_.at(fd_.get(), row);
}

std::int64_t ShardReader::text_id(std::int64_t row) const {
  return text_id_.at(fd_.get(), row);
}

std::int64_t ShardReader::group(std::int64_t text) const {
  return group_.size() == 0 ? -1 : group_.at(fd_.get(), text);
}

std::vector<Answer> ShardReader::answers(std::int64_t text) const {
  if (first_answer_.size() == 0) return {};
  std::int64_t range[2];
  first_answer_.read(fd_.get(), text, 2, range);
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, range[1] - range[0]));
  std::vector<std::int32_t> index(count);
  std::vector<float> score(count), accuracy(count);
  answer_index_.read(fd_.get(), range[0], static_cast<std::int64_t>(count), index.data());
  answer_score_.read(fd_.get(), range[0], static_cast<std::int64_t>(count), score.data());
  if (answer_accuracy_.size() == 0) {
    accuracy = score;
  } else {
    answer_accuracy_.read(fd_.get(), range[0], static_cast<std::int64_t>(count), accuracy.data());
  }
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < count; ++i) answers.push_back({index[i], score[i], accuracy[i]});
  return answers;
}

}  // namespace pixelbert::shards

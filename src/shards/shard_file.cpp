#include "shards/shard_file.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "shards/hdf5_handles.h"

namespace pixelbert::shards {
namespace {

// The columns of the file, one entry per row.
struct Index {
  struct Images {
    std::vector<std::int64_t> offset, id;
    std::vector<std::uint32_t> length, crc32c;
    std::vector<std::int32_t> height, width;
    std::vector<std::int64_t> first_text;  // one more than images: the last entry is the number of texts
    std::int64_t bytes = 0;
  } images;
  struct Texts {
    std::vector<std::int64_t> offset, id, image, second_image, group;
    std::vector<std::uint32_t> length, crc32c;
    std::int64_t bytes = 0;
  } texts;
  struct Answers {
    std::vector<std::int64_t> first;  // one more than texts
    std::vector<std::int32_t> index;
    std::vector<float> score, accuracy;
  } answers;
  bool two_images = false, groups = false, accuracies = false;  // whether a column is needed
};

Index index_of(std::span<const Record> records) {
  Index index;
  auto& [images, texts, answers, two_images, groups, accuracies] = index;
  const auto length = [](std::size_t bytes, const char* kind, std::int64_t id) {
    PB_CHECK(bytes <= std::numeric_limits<std::uint32_t>::max(), "{} {} has {} bytes, a shard holds up to 4 GiB", kind,
             id, bytes);
    return static_cast<std::uint32_t>(bytes);
  };
  for (const Record& record : records) {
    const auto image = static_cast<std::int64_t>(images.id.size());
    const bool has_two = record.images.size() == 2;
    two_images |= has_two;
    for (const StoredImage& stored : record.images) {
      // The texts belong to the first image's row; the second has none of its own.
      const bool is_second = &stored != &record.images.front();
      const std::size_t first_text = texts.id.size() + (is_second ? record.texts.size() : 0);
      images.first_text.push_back(static_cast<std::int64_t>(first_text));
      images.offset.push_back(images.bytes);
      images.length.push_back(length(stored.encoded.size(), "image", stored.id));
      images.crc32c.push_back(crc32c(std::as_bytes(std::span(stored.encoded))));
      images.id.push_back(stored.id);
      images.height.push_back(stored.height);
      images.width.push_back(stored.width);
      images.bytes += static_cast<std::int64_t>(stored.encoded.size());
    }
    for (const Text& text : record.texts) {
      texts.offset.push_back(texts.bytes);
      texts.length.push_back(length(text.text.size(), "text", text.id));
      texts.crc32c.push_back(crc32c(std::as_bytes(std::span(text.text))));
      texts.id.push_back(text.id);
      texts.image.push_back(image);
      texts.second_image.push_back(has_two ? image + 1 : -1);
      texts.group.push_back(text.group);
      groups |= text.group != -1;
      texts.bytes += static_cast<std::int64_t>(text.text.size());
      answers.first.push_back(static_cast<std::int64_t>(answers.index.size()));
      for (const Answer& answer : text.answers) {
        answers.index.push_back(answer.index);
        answers.score.push_back(answer.score);
        answers.accuracy.push_back(answer.accuracy);
        accuracies |= answer.accuracy != answer.score;
      }
    }
  }
  images.first_text.push_back(static_cast<std::int64_t>(texts.id.size()));
  answers.first.push_back(static_cast<std::int64_t>(answers.index.size()));
  return index;
}

class Hdf5Writer {
 public:
  // Objects have no timestamps, so that the same data gives the same file.
  explicit Hdf5Writer(const std::filesystem::path& path) : what_("cannot write " + path.string()) {
    const PropertyList creation(checked(H5Pcreate(H5P_FILE_CREATE)));
    checked(H5Pset_obj_track_times(creation.get(), false));
    file_ = File(checked(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), H5P_DEFAULT)));
  }

  void attribute(const char* name, std::int64_t value) {
    const Dataspace scalar(checked(H5Screate(H5S_SCALAR)));
    const Attribute attribute(
        checked(H5Acreate2(file_.get(), name, H5T_STD_I64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT)));
    checked(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value));
  }

  template <class T>
  void column(const char* name, const std::vector<T>& values) {
    const Dataset dataset = create<T>(name, static_cast<std::int64_t>(values.size()));
    checksums_[name] = crc32c(std::as_bytes(std::span(values)));
    if (values.empty()) return;
    checked(H5Dwrite(dataset.get(), Hdf5Number<T>::native(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
  }

  // One data set of `size` bytes; `each(append)` appends them piece by piece.
  template <class Each>
  void bytes(const char* name, std::int64_t size, Each each) {
    const Dataset dataset = create<std::uint8_t>(name, size);
    const Dataspace space(checked(H5Dget_space(dataset.get())));
    hsize_t offset = 0;
    each([&](const void* data, hsize_t length) {
      if (length == 0) return;
      const Dataspace piece(checked(H5Screate_simple(1, &length, nullptr)));
      checked(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &offset, nullptr, &length, nullptr));
      checked(H5Dwrite(dataset.get(), H5T_NATIVE_UINT8, piece.get(), space.get(), H5P_DEFAULT, data));
      offset += length;
    });
  }

  void group(const char* name) {
    const PropertyList creation(checked(H5Pcreate(H5P_GROUP_CREATE)));
    checked(H5Pset_obj_track_times(creation.get(), false));
    const Group made(checked(H5Gcreate2(file_.get(), name, H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
  }

  // Flushes the library's caches and checks that: the destructor of a handle could not report a failure. Returns the
  // checksums of all columns.
  std::map<std::string, std::uint32_t> close() {
    checked(H5Fflush(file_.get(), H5F_SCOPE_LOCAL));
    file_ = {};
    return std::move(checksums_);
  }

 private:
  template <class Status>
  Status checked(Status status, std::source_location at = std::source_location::current()) const {
    return check_hdf5(status, what_, at);
  }

  // Contiguous and unfiltered, so that readers can take the file offset and pread.
  template <class T>
  Dataset create(const char* name, std::int64_t size) {
    const hsize_t length = static_cast<hsize_t>(size);
    const Dataspace space(checked(H5Screate_simple(1, &length, nullptr)));
    const PropertyList creation(checked(H5Pcreate(H5P_DATASET_CREATE)));
    checked(H5Pset_layout(creation.get(), H5D_CONTIGUOUS));
    checked(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER));
    checked(H5Pset_obj_track_times(creation.get(), false));
    return Dataset(checked(
        H5Dcreate2(file_.get(), name, Hdf5Number<T>::stored(), space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT)));
  }

  std::string what_;
  File file_;
  std::map<std::string, std::uint32_t> checksums_;
};

// Returns the checksum of each column.
std::map<std::string, std::uint32_t> write_hdf5(const std::filesystem::path& path, std::span<const Record> records,
                                                const Index& index) {
  const Hdf5Lock lock;
  Hdf5Writer out(path);
  out.attribute("pixelbert_shard_version", kFormatVersion);
  out.group("images");
  out.bytes("images/bytes", index.images.bytes, [&](auto append) {
    for (const Record& record : records) {
      for (const StoredImage& stored : record.images) append(stored.encoded.data(), stored.encoded.size());
    }
  });
  out.column("images/offset", index.images.offset);
  out.column("images/length", index.images.length);
  out.column("images/crc32c", index.images.crc32c);
  out.column("images/id", index.images.id);
  out.column("images/height", index.images.height);
  out.column("images/width", index.images.width);
  out.column("images/first_text", index.images.first_text);

  std::string text_bytes;  // short pieces: one write is much faster than many
  for (const Record& record : records) {
    for (const Text& text : record.texts) text_bytes += text.text;
  }
  out.group("texts");
  out.bytes("texts/bytes", index.texts.bytes, [&](auto append) { append(text_bytes.data(), text_bytes.size()); });
  out.column("texts/offset", index.texts.offset);
  out.column("texts/length", index.texts.length);
  out.column("texts/crc32c", index.texts.crc32c);
  out.column("texts/id", index.texts.id);
  out.column("texts/image", index.texts.image);
  if (index.two_images) out.column("texts/second_image", index.texts.second_image);
  if (index.groups) out.column("texts/group", index.texts.group);

  if (!index.answers.index.empty()) {
    out.group("answers");
    out.column("answers/first", index.answers.first);
    out.column("answers/index", index.answers.index);
    out.column("answers/score", index.answers.score);
    if (index.accuracies) out.column("answers/accuracy", index.answers.accuracy);
  }
  return out.close();
}

}  // namespace

ShardFile write_shard_file(const std::filesystem::path& path, std::span<const Record> records) {
  const std::filesystem::path aside = path.string() + ".tmp";
  const Index index = index_of(records);
  ShardFile file;
  try {
    file.columns = write_hdf5(aside, records, index);
    flush_to_disk(aside);
    file.bytes = static_cast<std::int64_t>(std::filesystem::file_size(aside));
    file.crc32c = crc32c_of_file(aside);
    rename_durably(aside, path);
  } catch (...) {
    std::error_code ignored;  // the first error is the one to report
    std::filesystem::remove(aside, ignored);
    throw;
  }
  file.name = path.filename().string();
  file.images = static_cast<std::int64_t>(index.images.id.size());
  file.texts = static_cast<std::int64_t>(index.texts.id.size());
  for (std::int64_t first = 0; first < file.images; first += kImagesPerBlock) {
    const std::int64_t last = std::min(first + kImagesPerBlock, file.images);
    file.block_texts.push_back(index.images.first_text[last] - index.images.first_text[first]);
  }
  return file;
}

}  // namespace pixelbert::shards

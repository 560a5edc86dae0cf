#include "shards/shard_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/check.h"
#include "shards/shard_set.h"

namespace pixelbert::shards {
namespace {

void check_version(const OpenFile& file) {
  constexpr const char* kName = "pixelbert_shard_version";
  PB_CHECK(H5Aexists(file.id, kName) > 0, "{} is not a shard: it has no attribute {}", file.path.string(), kName);
  const std::int64_t version = read_attribute(file, kName);
  PB_CHECK(version == kFormatVersion, "{} is format {}, this build reads {}: make the shards again", file.path.string(),
           version, kFormatVersion);
}

std::string range_text(std::int64_t least, std::int64_t end) {
  return end == std::numeric_limits<std::int64_t>::max() ? fmt::format("{} or more", least)
                                                         : fmt::format("{} to {}", least, end - 1);
}

// Records must follow one another within `bytes`.
template <class Index>
void check_places(const Column<std::int64_t>& offset, const Column<std::uint32_t>& length, const Index& index,
                  std::int64_t bytes, IndexCheck& check) {
  if (!check.sound(length.name())) return;
  std::int64_t end = 0;  // of the previous record
  check.rows(offset, index.offset, fmt::format("a record within {} bytes, after the previous one", bytes),
             [&](std::size_t row) {
               const std::int64_t begin = index.offset[row], size = index.length[row];
               if (begin < end || size > bytes || begin > bytes - size) return false;
               end = begin + size;
               return true;
             });
}

// Rows must rise from 0 to `total`.
void check_rising(const Column<std::int64_t>& column, const std::vector<std::int64_t>& first, std::int64_t total,
                  IndexCheck& check) {
  check.rows(column, first, fmt::format("numbers that rise from 0 to {}", total), [&](std::size_t row) {
    const std::int64_t least = row == 0 ? 0 : first[row - 1];
    const std::int64_t most = row == 0 ? 0 : total;
    return first[row] >= least && first[row] <= most && (row + 1 < first.size() || first[row] == total);
  });
}

void check_blocks(const std::string& column, const std::vector<std::int64_t>& first_text,
                  const std::vector<std::int64_t>& block_texts, IndexCheck& check) {
  const auto images = std::ssize(first_text) - 1;
  for (std::size_t block = 0; block < block_texts.size() && check.sound(column); ++block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kImagesPerBlock;
    const std::int64_t last = std::min(first + kImagesPerBlock, images);
    const std::int64_t texts = first_text[last] - first_text[first];
    if (texts == block_texts[block]) continue;
    check.add(column, fmt::format("images {} to {} have {} texts, the manifest says {}", first, last, texts,
                                  block_texts[block]));
  }
}

}  // namespace

// The columns that are read once, when the file is opened; the others are members.
struct ShardReader::Columns {
  struct Records {
    Column<std::int64_t> offset;
    Column<std::uint32_t> length, crc32c;
  } images, texts;
  Column<std::int64_t> first_text, image;
  Column<std::int32_t> height, width;
};

ShardReader::ShardReader(std::filesystem::path path, const ShardFile& expected, const Limits& limits, bool verified)
    : path_(std::move(path)), fd_(open_for_reading(path_)) {
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path_));
  PB_CHECK(bytes == expected.bytes, "{} has {} bytes, the manifest says {}: copy the file again", path_.string(), bytes,
           expected.bytes);
  const Columns columns = open_columns(bytes);
  PB_CHECK(columns.images.offset.size() == expected.images && columns.texts.offset.size() == expected.texts,
           "{} has {} images and {} texts, the manifest says {} and {}: make the shards again", path_.string(),
           columns.images.offset.size(), columns.texts.offset.size(), expected.images, expected.texts);

  IndexCheck check(path_, expected);
  read_index(columns, check);
  if (check.sound(columns.first_text.name())) {
    check_blocks(columns.first_text.name(), first_text_, expected.block_texts, check);
  }
  if (!verified) check_rest(columns, limits, check);
  check.throw_if_any();
}

ShardReader::Columns ShardReader::open_columns(std::int64_t bytes) {
  const Hdf5Lock lock;
  const File opened(check_hdf5(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "cannot open " + path_.string()));
  const OpenFile file{opened.get(), path_, bytes};
  check_version(file);

  Columns columns;
  const auto open = [&]<class T>(Column<T>& column, const char* name) { column = Column<T>(file, name); };
  const auto open_if_there = [&]<class T>(Column<T>& column, const char* name) {
    if (has_object(file, name)) open(column, name);
  };
  open(image_bytes_, "images/bytes");
  open(columns.images.offset, "images/offset");
  open(columns.images.length, "images/length");
  open(columns.images.crc32c, "images/crc32c");
  open(image_id_, "images/id");
  open(columns.height, "images/height");
  open(columns.width, "images/width");
  open(columns.first_text, "images/first_text");
  open(text_bytes_, "texts/bytes");
  open(columns.texts.offset, "texts/offset");
  open(columns.texts.length, "texts/length");
  open(columns.texts.crc32c, "texts/crc32c");
  open(text_id_, "texts/id");
  open(columns.image, "texts/image");
  open_if_there(second_image_, "texts/second_image");
  open_if_there(group_, "texts/group");
  if (has_object(file, "answers")) {
    open(first_answer_, "answers/first");
    open(answer_index_, "answers/index");
    open(answer_score_, "answers/score");
    open_if_there(answer_accuracy_, "answers/accuracy");
  }
  return columns;
}

// Reads the columns that stay in memory.
void ShardReader::read_index(const Columns& columns, IndexCheck& check) {
  const auto read = [&](const Columns::Records& from, Index& index) {
    const std::int64_t rows = from.offset.size();
    index = {check.read(from.offset, fd_.get(), rows), check.read(from.length, fd_.get(), rows),
             check.read(from.crc32c, fd_.get(), rows)};
  };
  read(columns.images, image_index_);
  read(columns.texts, text_index_);
  first_text_ = check.read(columns.first_text, fd_.get(), images() + 1);
  height_ = check.read(columns.height, fd_.get(), images());
  width_ = check.read(columns.width, fd_.get(), images());
  check_places(columns.images.offset, columns.images.length, image_index_, image_bytes_.size(), check);
  check_places(columns.texts.offset, columns.texts.length, text_index_, text_bytes_.size(), check);
  check_rising(columns.first_text, first_text_, texts(), check);
  for (const auto& [column, pixels] : {std::pair(&columns.height, &height_), std::pair(&columns.width, &width_)}) {
    check.rows(*column, *pixels, "1 or more", [&](std::size_t row) { return (*pixels)[row] >= 1; });
  }
}

// Checks the columns of which single rows are read on demand, or none.
void ShardReader::check_rest(const Columns& columns, const Limits& limits, IndexCheck& check) const {
  check.read(image_id_, fd_.get(), images());
  check.read(text_id_, fd_.get(), texts());

  const std::vector<std::int64_t> image = check.read(columns.image, fd_.get(), texts());
  if (check.sound(columns.first_text.name())) {
    check.rows(columns.image, image, "the image that it belongs to",
               [&, owner = std::int64_t{0}](std::size_t row) mutable {
                 while (first_text_[static_cast<std::size_t>(owner) + 1] <= static_cast<std::int64_t>(row)) ++owner;
                 return image[row] == owner;
               });
  }
  const auto check_range = [&](const Column<std::int64_t>& column, std::int64_t end) {
    if (column.name().empty()) return;
    const std::vector<std::int64_t> values = check.read(column, fd_.get(), texts());
    check.rows(column, values, range_text(-1, end),
               [&](std::size_t row) { return values[row] >= -1 && values[row] < end; });
  };
  check_range(second_image_, images());
  check_range(group_, limits.groups);
  if (!first_answer_.name().empty()) check_answers(limits, check);
  for (const char* optional :
       {"texts/second_image", "texts/group", "answers/first", "answers/index", "answers/score", "answers/accuracy"}) {
    check.expect_read(optional);
  }
}

void ShardReader::check_answers(const Limits& limits, IndexCheck& check) const {
  const std::int64_t answers = answer_index_.size();
  check_rising(first_answer_, check.read(first_answer_, fd_.get(), texts() + 1), answers, check);
  const std::vector<std::int32_t> index = check.read(answer_index_, fd_.get(), answers);
  check.rows(answer_index_, index, range_text(0, limits.answers),
             [&](std::size_t row) { return index[row] >= 0 && index[row] < limits.answers; });
  for (const Column<float>* column : {&answer_score_, &answer_accuracy_}) {
    if (column->name().empty()) continue;
    const std::vector<float> share = check.read(*column, fd_.get(), answers);
    check.rows(*column, share, "0 to 1", [&](std::size_t row) { return share[row] >= 0 && share[row] <= 1; });
  }
}

template <class Content>
Content ShardReader::read_record(const Column<std::uint8_t>& column, const Index& index, const char* kind,
                                 std::int64_t row) const {
  const std::int64_t offset = index.offset[row], length = index.length[row];
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

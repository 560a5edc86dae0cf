#include "shards/shard_set.h"

#include <algorithm>
#include <utility>

#include "core/activity.h"
#include "shards/shard_reader.h"

namespace pixelbert::shards {
namespace {

// Returns the file that has `row`. `first` has the first row of each file, and the total.
std::size_t file_of(const std::vector<std::int64_t>& first, std::int64_t row, const char* kind) {
  PB_CHECK(row >= 0 && row < first.back(), "there is no {} {}: the shards have {}", kind, row, first.back());
  return static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), row) - first.begin() - 1);
}

}  // namespace

ShardSet::ShardSet(std::filesystem::path folder)
    : folder_(std::move(folder)),
      manifest_(read_manifest(folder_)),
      limits_(limits_of(folder_, manifest_)),
      verified_(manifest_.files.size()) {
  if (manifest_.task == "vqa") check_other_file(folder_, manifest_, kAnswersName);
  first_image_.push_back(0);
  first_text_.push_back(0);
  for (const ShardFile& file : manifest_.files) {
    first_image_.push_back(first_image_.back() + file.images);
    first_text_.push_back(first_text_.back() + file.texts);
  }
}

ShardSet::~ShardSet() = default;

std::shared_ptr<const ShardReader> ShardSet::open(std::size_t file) const {
  const std::lock_guard guard(mutex_);
  return open_files_.get(file, [&] {
    const ShardFile& expected = manifest_.files[file];
    activity::reading(folder_ / expected.name);
    auto reader = std::make_shared<const ShardReader>(folder_ / expected.name, expected, limits_, verified_[file]);
    verified_[file] = true;
    return reader;
  });
}

ShardSet::Place ShardSet::place_of_image(std::int64_t row) const {
  const std::size_t file = file_of(first_image_, row, "image");
  return {file, row - first_image_[file], open(file)};
}

ShardSet::Place ShardSet::place_of_text(std::int64_t row) const {
  const std::size_t file = file_of(first_text_, row, "text");
  return {file, row - first_text_[file], open(file)};
}

std::vector<std::int64_t> ShardSet::text_counts(std::int64_t first_image, std::int64_t last_image) const {
  std::vector<std::int64_t> counts;
  counts.reserve(static_cast<std::size_t>(last_image - first_image));
  for (std::int64_t row = first_image; row < last_image;) {
    const Place place = place_of_image(row);
    const std::int64_t end = std::min(last_image, first_image_[place.file + 1]);
    for (std::int64_t i = place.row; row < end; ++row, ++i) {
      counts.push_back(place.reader->first_text(i + 1) - place.reader->first_text(i));
    }
  }
  return counts;
}

Bytes ShardSet::image(std::int64_t row) const {
  const Place place = place_of_image(row);
  return place.reader->image(place.row);
}

std::string ShardSet::text(std::int64_t row) const {
  const Place place = place_of_text(row);
  return place.reader->text(place.row);
}

std::int64_t ShardSet::image_of_text(std::int64_t row) const {
  const Place place = place_of_text(row);
  return first_image_[place.file] + place.reader->image_of_text(place.row);
}

std::int64_t ShardSet::first_text_of_image(std::int64_t row) const {
  const Place place = place_of_image(row);
  return first_text_[place.file] + place.reader->first_text(place.row);
}

PixelSize ShardSet::image_size(std::int64_t row) const {
  const Place place = place_of_image(row);
  return place.reader->image_size(place.row);
}

std::int64_t ShardSet::image_id(std::int64_t row) const {
  const Place place = place_of_image(row);
  return place.reader->image_id(place.row);
}

std::int64_t ShardSet::text_id(std::int64_t row) const {
  const Place place = place_of_text(row);
  return place.reader->text_id(place.row);
}

std::int64_t ShardSet::second_image_of_text(std::int64_t row) const {
  const Place place = place_of_text(row);
  const std::int64_t second = place.reader->second_image_of_text(place.row);
  return second < 0 ? -1 : first_image_[place.file] + second;
}

std::int64_t ShardSet::group(std::int64_t row) const {
  const Place place = place_of_text(row);
  return place.reader->group(place.row);
}

std::vector<Answer> ShardSet::answers(std::int64_t row) const {
  const Place place = place_of_text(row);
  return place.reader->answers(place.row);
}

}  // namespace pixelbert::shards

#include "sources/captions.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <unordered_set>
#include <utility>

#include "core/check.h"

namespace pixelbert::sources {
namespace {

// At both ends.
std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

Captions::Image& Captions::image(std::int64_t id) {
  const auto [entry, is_new] = row_of_id_.try_emplace(id, images_.size());
  if (is_new) images_.push_back({id, Image::Unknown, {}, {}});
  return images_[entry->second];
}

void Captions::add_image(std::int64_t id, std::string file_name) {
  add(id, {std::move(file_name)});
}

void Captions::add_pair(std::int64_t id, std::string left_name, std::string right_name) {
  add(id, {std::move(left_name), std::move(right_name)});
}

void Captions::add(std::int64_t id, std::vector<std::string> file_names) {
  Image& known = image(id);
  if (known.state == Image::Kept && known.file_names != file_names) ++header_.skipped["duplicate-image-id"];
  if (known.state != Image::Unknown) return;
  known.state = Image::Kept;
  known.file_names = std::move(file_names);
}

void Captions::exclude_image(std::int64_t id, const std::string& reason) {
  Image& known = image(id);
  if (known.state != Image::Excluded) ++header_.skipped[reason];
  known.state = Image::Excluded;
  known.texts = {};
}

void Captions::add_text(std::int64_t image_id, shards::Text text) {
  text.text = std::string(without_blanks(text.text));
  Image& about = image(image_id);
  if (about.state == Image::Excluded) return;
  if (text.text.empty()) {
    ++header_.skipped["empty-text"];
    return;
  }
  about.texts.push_back(std::move(text));
}

void Captions::count_repaired(std::int64_t invalid_utf8) {
  if (invalid_utf8 > 0) header_.repaired["invalid-utf8"] += invalid_utf8;
}

// There are millions of ids and next to no duplicates: sorted, they cost 8 bytes each for a moment, in a hash table 40.
void Captions::drop_duplicate_texts() {
  std::vector<std::int64_t> ids;
  for (const Image& image : images_) {
    for (const shards::Text& text : image.texts) ids.push_back(text.id);
  }
  std::sort(ids.begin(), ids.end());
  std::unordered_map<std::int64_t, bool> seen;  // of the ids that come more than once
  for (auto id = std::adjacent_find(ids.begin(), ids.end()); id != ids.end();
       id = std::adjacent_find(id + 1, ids.end())) {
    seen.emplace(*id, false);
  }
  if (seen.empty()) return;
  for (Image& image : images_) {
    header_.skipped["duplicate-text-id"] +=
        static_cast<std::int64_t>(std::erase_if(image.texts, [&](const shards::Text& text) {
          const auto found = seen.find(text.id);
          return found != seen.end() && std::exchange(found->second, true);
        }));
  }
}

Corpus Captions::corpus(PictureFolder folder) && {
  row_of_id_ = {};
  drop_duplicate_texts();
  std::erase_if(images_, [&](const Image& image) {
    if (image.state == Image::Unknown && !image.texts.empty()) {
      header_.skipped["unknown-image"] += static_cast<std::int64_t>(image.texts.size());
    }
    if (image.state == Image::Kept && image.texts.empty()) ++header_.skipped["no-text"];
    return image.state != Image::Kept || image.texts.empty();
  });

  Corpus corpus;
  corpus.header = std::move(header_);
  corpus.records = static_cast<std::int64_t>(images_.size());
  const auto images = std::make_shared<std::vector<Image>>(std::move(images_));
  corpus.record = [images, folder = std::move(folder)](std::int64_t i) {
    return read(folder, (*images)[static_cast<std::size_t>(i)]);
  };
  return corpus;
}

shards::Record Captions::read(const PictureFolder& folder, Image& image) {
  shards::Record record;
  record.texts = std::move(image.texts);  // asked for once: memory shrinks as the shards grow
  const bool is_pair = image.file_names.size() == 2;
  for (std::size_t i = 0; i < image.file_names.size(); ++i) {
    const std::int64_t id = is_pair ? 2 * image.id + static_cast<std::int64_t>(i) : image.id;
    record.pictures.push_back(folder.read(id, image.file_names[i]));
  }
  return record;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (const auto part = without_blanks(std::string_view(text).substr(begin, end - begin)); !part.empty()) {
      parts.emplace_back(part);
    }
    begin = end + 1;
  }
  return parts;
}

std::string joined_names(const std::vector<std::string>& files) {
  std::vector<std::string> names;
  for (const std::string& file : files) names.push_back(std::filesystem::path(file).filename());
  return fmt::to_string(fmt::join(names, ","));
}

void require_option(const std::string& source, const char* option, bool given) {
  if (!given) throw UsageError(fmt::format("pixelbert shard {} needs --{}", source, option));
}

}  // namespace pixelbert::sources

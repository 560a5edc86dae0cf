#include "sources/annotated_images.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "core/check.h"
#include "core/text_lines.h"
#include "sources/json_fields.h"
#include "text/wordpiece.h"

namespace pixelbert::sources {
namespace {

// Trims both ends.
std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

AnnotatedImages::Image& AnnotatedImages::image(std::int64_t id) {
  const auto [entry, is_new] = row_of_id_.try_emplace(id, images_.size());
  if (is_new) images_.push_back({id, Image::Unknown, 0, {}, {}});
  return images_[entry->second];
}

void AnnotatedImages::add_image(std::int64_t id, ImageName name) {
  add(id, {std::move(name)});
}

void AnnotatedImages::add_two_images(std::int64_t id, ImageName left, ImageName right) {
  add(id, {std::move(left), std::move(right)});
}

AnnotatedImages::Image& AnnotatedImages::add(std::int64_t id, std::vector<ImageName> names) {
  Image& known = image(id);
  if (known.state == Image::Unknown) {
    known.state = Image::Kept;
    known.file = static_cast<std::int32_t>(files_.size()) - 1;
    known.names = std::move(names);
    return known;
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    PB_CHECK(names[i].is_same_as(known.names[i]),
             "image id {} is {} in {} and {} in {}: an id must belong to one image; give each image an id of its own, "
             "or make a shard folder from each file",
             id, known.names[i].path, files_[known.file], names[i].path, files_.back());
  }
  return known;
}

void AnnotatedImages::exclude_image(std::int64_t id, ImageName name, const std::string& reason) {
  Image& known = add(id, {std::move(name)});
  if (known.state != Image::Excluded) ++header_.skipped[reason];
  known.state = Image::Excluded;
  known.texts = {};
}

void AnnotatedImages::add_text(std::int64_t image_id, shards::Text text) {
  text.text = std::string(without_blanks(text.text));
  Image& about = image(image_id);
  if (about.state == Image::Excluded) return;
  if (!text::has_words(text.text)) {
    ++header_.skipped["empty-text"];
    return;
  }
  about.texts.push_back(std::move(text));
}

void AnnotatedImages::count_repaired(std::int64_t invalid_utf8) {
  if (invalid_utf8 > 0) header_.repaired["invalid-utf8"] += invalid_utf8;
}

void AnnotatedImages::drop_repeated_texts() {
  std::int64_t repeated = 0;
  for (Image& image : images_) {
    auto& texts = image.texts;
    auto kept = texts.begin();  // end of the texts that stay
    for (auto text = texts.begin(); text != texts.end(); ++text) {
      const bool is_known = std::any_of(texts.begin(), kept, [&](const shards::Text& other) {
        return other.id == text->id && other.text == text->text && other.answers == text->answers;
      });
      if (is_known) continue;
      if (kept != text) *kept = std::move(*text);
      ++kept;
    }
    repeated += texts.end() - kept;
    texts.erase(kept, texts.end());
  }
  if (repeated > 0) header_.skipped["duplicate-text-id"] += repeated;
}

// There are millions of ids and no duplicates: sorting them takes 8 bytes each for a moment, a hash table 40.
void AnnotatedImages::check_text_ids() const {
  std::vector<std::int64_t> ids;
  for (const Image& image : images_) {
    for (const shards::Text& text : image.texts) ids.push_back(text.id);
  }
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return;
  std::vector<std::string> said;
  for (const Image& image : images_) {
    for (const shards::Text& text : image.texts) {
      if (text.id == *twice) {
        const std::string answers = text.answers.empty() ? "" : fmt::format(" (answer {})", text.answers[0].index);
        const std::string about = image.names.empty() ? "no image" : image.names[0].path;
        said.push_back(fmt::format("\"{}\" about {}{}", one_line(text.text, 80), one_line(about, 200), answers));
      }
    }
  }
  said.resize(std::min<std::size_t>(said.size(), 3));
  fail(fmt::format("{}: different texts have the same id: {} is {}; results are matched by id", fmt::join(files_, ", "),
                   *twice, fmt::join(said, " and ")));
}

Corpus AnnotatedImages::corpus(ImageFolder folder) && {
  row_of_id_ = {};
  drop_repeated_texts();
  if (header_.task != "pairs") check_text_ids();  // captions' ids are not used later; questions' and statements' are
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
  corpus.record = [images, folder = std::move(folder)](std::int64_t i) { return read(folder, (*images)[i]); };
  return corpus;
}

shards::Record AnnotatedImages::read(const ImageFolder& folder, Image& image) {
  shards::Record record;
  record.texts = std::move(image.texts);  // each record is read once: memory shrinks as the shards grow
  const bool has_two = image.names.size() == 2;
  for (std::size_t i = 0; i < image.names.size(); ++i) {
    const std::int64_t id = has_two ? 2 * image.id + static_cast<std::int64_t>(i) : image.id;
    record.images.push_back(folder.read(id, image.names[i]));
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

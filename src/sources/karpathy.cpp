#include "sources/karpathy.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/log.h"
#include "core/text_lines.h"
#include "sources/annotated_images.h"
#include "sources/json_fields.h"
#include "sources/json_stream.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// Selects the images of the wanted splits, and detects misspelt splits.
class SplitFilter {
 public:
  explicit SplitFilter(std::vector<std::string> wanted) : wanted_(std::move(wanted)) {}

  bool takes(const json& image) {
    const std::string& split = string_at(image, "split");
    ++images_[split];
    return std::find(wanted_.begin(), wanted_.end(), split) != wanted_.end();
  }

  // Call after all images of `file`. Logs a split that the file lacks (Flickr has no restval); throws Error when it
  // lacks all.
  void check(const std::string& file) const {
    std::vector<std::string> found, missing;
    for (const auto& [split, count] : images_) found.push_back(fmt::format("{} ({})", split, count));
    for (const std::string& split : wanted_) {
      if (!images_.contains(split)) missing.push_back(split);
    }
    const std::string has =
        fmt::format("{} has the splits {}", file, one_line(fmt::to_string(fmt::join(found, ", ")), 200));
    PB_CHECK(missing.size() < wanted_.size(), "{}, none of {}", has, fmt::join(wanted_, ", "));
    if (!missing.empty()) log::info("{}, no {}", has, fmt::join(missing, ", "));
  }

 private:
  std::vector<std::string> wanted_;
  std::map<std::string, std::int64_t> images_;  // by split of the file
};

// COCO's own names contain the folder and the id, so they stay unique when all images are in one folder.
ImageName image_name(const json& image, std::int64_t id) {
  const std::string& name = string_at(image, "filename");
  if (!has(image, "filepath")) return {name};
  const std::string& folder = string_at(image, "filepath");
  const bool is_coco = name == fmt::format("COCO_{}_{:012}.jpg", folder, id);
  return {folder + "/" + name, is_coco ? Elsewhere::InTheFolder : Elsewhere::Nowhere};
}

}  // namespace

Corpus read_karpathy(const KarpathyOptions& options) {
  require_option("karpathy", "karpathy FILE", !options.karpathy.empty());
  require_option("karpathy", "images DIR", !options.images.empty());
  require_option("karpathy", "splits LIST", !split_list(options.splits).empty());
  ImageFolder folder(options.images);

  shards::Manifest header;
  header.source = "karpathy";
  header.options = {{"karpathy", std::filesystem::path(options.karpathy).filename()}, {"splits", options.splits}};
  AnnotatedImages images(std::move(header));
  SplitFilter splits(split_list(options.splits));
  images.begin_file(options.karpathy);
  const Visit image = [&](const json& object) {
    if (!splits.takes(object)) return;
    const std::int64_t id = id_at(object, object.contains("cocoid") ? "cocoid" : "imgid");
    images.add_image(id, image_name(object, id));
    for_each_in(object, "sentences", [&](const json& sentence) {
      if (has(sentence, "imgid") && has(object, "imgid")) {
        PB_CHECK(id_at(sentence, "imgid") == id_at(object, "imgid"), "a sentence of image {} refers to image {}",
                 id_at(object, "imgid"), id_at(sentence, "imgid"));
      }
      images.add_text(id, {id_at(sentence, "sentid"), string_at(sentence, "raw"), {}});
    });
  };
  images.count_repaired(for_each_object(options.karpathy, {{"images", image}}));
  splits.check(options.karpathy);
  return std::move(images).corpus(std::move(folder));
}

KarpathyIds read_karpathy_ids(const std::vector<std::string>& files, const std::vector<std::string>& wanted) {
  KarpathyIds ids;
  for (const std::string& file : files) {
    SplitFilter splits(wanted);
    const Visit image = [&](const json& object) {
      if (!splits.takes(object)) return;
      if (object.contains("cocoid")) {
        ids.coco.insert(id_at(object, "cocoid"));
        return;
      }
      const std::string& name = string_at(object, "filename");
      std::int64_t photo = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), photo);
      PB_CHECK(error == std::errc(), "expected a file name that begins with the Flickr photo id, found '{}'", name);
      ids.flickr.insert(photo);
    };
    for_each_object(file, {{"images", image}});
    splits.check(file);
  }
  return ids;
}

}  // namespace pixelbert::sources

#include "sources/karpathy.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/log.h"
#include "sources/captions.h"
#include "sources/json_stream.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// Tells the images of the wanted splits from others, and a misspelt split from an empty one.
class SplitFilter {
 public:
  explicit SplitFilter(std::vector<std::string> wanted) : wanted_(std::move(wanted)) {}

  bool takes(const json& image) {
    const auto& split = image.at("split").get_ref<const std::string&>();
    ++images_[split];
    return std::find(wanted_.begin(), wanted_.end(), split) != wanted_.end();
  }

  // After all images of `file`. A split that the file lacks is worth a word (Flickr has no restval), none a failure.
  void check(const std::string& file) const {
    std::vector<std::string> found, missing;
    for (const auto& [split, count] : images_) found.push_back(fmt::format("{} ({})", split, count));
    for (const std::string& split : wanted_) {
      if (!images_.contains(split)) missing.push_back(split);
    }
    const std::string has = fmt::format("{} has the splits {}", file, fmt::join(found, ", "));
    PB_CHECK(missing.size() < wanted_.size(), "{}, none of {}", has, fmt::join(wanted_, ", "));
    if (!missing.empty()) log::info("{}, no {}", has, fmt::join(missing, ", "));
  }

 private:
  std::vector<std::string> wanted_;
  std::map<std::string, std::int64_t> images_;  // of each split of the file
};

std::string file_name(const json& image) {
  const auto name = image.at("filename").get<std::string>();
  return image.contains("filepath") ? image.at("filepath").get<std::string>() + "/" + name : name;
}

}  // namespace

Corpus read_karpathy(const KarpathyOptions& options) {
  require_option("karpathy", "karpathy FILE", !options.karpathy.empty());
  require_option("karpathy", "images DIR", !options.images.empty());
  require_option("karpathy", "splits LIST", !split_list(options.splits).empty());
  PictureFolder folder(options.images);

  shards::Manifest header;
  header.source = "karpathy";
  header.options = {{"karpathy", std::filesystem::path(options.karpathy).filename()}, {"splits", options.splits}};
  Captions captions(std::move(header));
  SplitFilter splits(split_list(options.splits));
  captions.count_repaired(for_each_object(options.karpathy, [&](std::string_view list, const json& image) {
    if (list != "images" || !splits.takes(image)) return;
    const auto id = image.at(image.contains("cocoid") ? "cocoid" : "imgid").get<std::int64_t>();
    captions.add_image(id, file_name(image));
    for (const json& sentence : image.at("sentences")) {
      captions.add_text(id, {sentence.at("sentid").get<std::int64_t>(), sentence.at("raw").get<std::string>(), {}});
    }
  }));
  splits.check(options.karpathy);
  return std::move(captions).corpus(std::move(folder));
}

KarpathyIds read_karpathy_ids(const std::vector<std::string>& files, const std::vector<std::string>& wanted) {
  KarpathyIds ids;
  for (const std::string& file : files) {
    SplitFilter splits(wanted);
    for_each_object(file, [&](std::string_view list, const json& image) {
      if (list != "images" || !splits.takes(image)) return;
      if (image.contains("cocoid")) {
        ids.coco.insert(image.at("cocoid").get<std::int64_t>());
        return;
      }
      const auto& name = image.at("filename").get_ref<const std::string&>();
      std::int64_t photo = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), photo);
      PB_CHECK(error == std::errc(), "{}: expected a file name that begins with the Flickr photo id, found '{}'", file,
               name);
      ids.flickr.insert(photo);
    });
    splits.check(file);
  }
  return ids;
}

}  // namespace pixelbert::sources

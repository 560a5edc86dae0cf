#include "sources/visual_genome.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "sources/annotated_images.h"
#include "sources/json_fields.h"
#include "sources/json_stream.h"
#include "sources/karpathy.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// The images to leave out, by their ids in other data sets.
struct Exclusion {
  bool all_coco = false;
  KarpathyIds ids = {};

  bool wanted() const { return all_coco || !ids.coco.empty(); }

  bool covers(const json& image) const {
    // null, -1 or absent (in older releases) when the image is not from there
    const auto id = [&](const char* field) { return has(image, field) ? id_at(image, field) : -1; };
    const std::int64_t coco = id("coco_id"), flickr = id("flickr_id");
    return (coco > 0 && (all_coco || ids.coco.contains(coco))) || (flickr > 0 && ids.flickr.contains(flickr));
  }
};

Exclusion exclusion_of(const VisualGenomeOptions& options) {
  const bool all_coco = options.exclude == "all-coco";
  if (all_coco || options.exclude == "none") {
    if (!options.karpathy.empty()) {
      throw UsageError(
          fmt::format("--vg.exclude {} does not read --karpathy: expected karpathy-test or karpathy-val-test, or no "
                      "--karpathy",
                      options.exclude));
    }
    return {.all_coco = all_coco};
  }
  std::vector<std::string> splits = {"test"};
  if (options.exclude == "karpathy-val-test") {
    splits.push_back("val");
  } else if (options.exclude != "karpathy-test") {
    throw UsageError(fmt::format(
        "--vg.exclude: expected none, karpathy-test, karpathy-val-test or all-coco, found '{}'", options.exclude));
  }
  if (options.karpathy.empty()) {
    throw UsageError(fmt::format("--vg.exclude {} needs --karpathy dataset_coco.json", options.exclude));
  }
  Exclusion exclusion{.ids = read_karpathy_ids(options.karpathy, splits)};
  if (exclusion.ids.coco.empty()) {
    throw UsageError(
        fmt::format("--vg.exclude {}: --karpathy {} has no COCO image in these splits; give dataset_coco.json, too",
                    options.exclude, fmt::join(options.karpathy, ", ")));
  }
  return exclusion;
}

// "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg" -> "VG_100K_2/1.jpg". Users may have all images in one
// folder.
ImageName name_from_url(const json& image, std::int64_t id) {
  const std::string own_name = fmt::format("{}.jpg", id);
  const std::string url = has(image, "url") ? string_at(image, "url") : "";
  const std::size_t scheme = url.find("://");
  const std::size_t root = scheme == url.npos ? 0 : std::min(url.find('/', scheme + 3), url.size());  // after the host
  const std::filesystem::path path = url.substr(root);
  if (!path.has_filename()) return {own_name};
  return {path.parent_path().filename() / path.filename(),
          path.filename() == own_name ? Elsewhere::InTheFolder : Elsewhere::Nowhere};
}

// Older releases call all of them "id".
std::int64_t id_of(const json& object, const char* name) {
  return id_at(object, object.contains(name) ? name : "id");
}

}  // namespace

Corpus read_visual_genome(const VisualGenomeOptions& options) {
  require_option("visual-genome", "regions FILE", !options.regions.empty());
  require_option("visual-genome", "image-data FILE", !options.image_data.empty());
  require_option("visual-genome", "images DIR", !options.images.empty());
  ImageFolder folder(options.images);
  const Exclusion exclusion = exclusion_of(options);

  shards::Manifest header;
  header.source = "visual-genome";
  header.options = {{"regions", std::filesystem::path(options.regions).filename()}, {"vg.exclude", options.exclude}};
  if (!options.karpathy.empty()) header.options["karpathy"] = joined_names(options.karpathy);

  AnnotatedImages images(std::move(header));
  bool tells_coco = false;
  const Visit image = [&](const json& object) {
    const std::int64_t id = id_of(object, "image_id");
    tells_coco = tells_coco || object.contains("coco_id");
    if (exclusion.covers(object)) {
      images.exclude_image(id, name_from_url(object, id), "excluded");
    } else {
      images.add_image(id, name_from_url(object, id));
    }
  };
  const Visit regions = [&](const json& object) {
    const std::int64_t image_id = id_of(object, "image_id");
    for_each_in(object, "regions", [&](const json& region) {
      if (has(region, "image_id")) {
        PB_CHECK(id_at(region, "image_id") == image_id, "a region of image {} refers to image {}", image_id,
                 id_at(region, "image_id"));
      }
      images.add_text(image_id, {id_of(region, "region_id"), string_at(region, "phrase"), {}});
    });
  };
  images.begin_file(options.image_data);
  images.count_repaired(for_each_object(options.image_data, {{"", image}}));
  PB_CHECK(
      tells_coco || !exclusion.wanted(),
      "{}: expected the field 'coco_id', by which --vg.exclude {} leaves images out; found it on no image: give an "
      "image_data.json that has it",
      options.image_data, options.exclude);
  images.count_repaired(for_each_object(options.regions, {{"", regions}}));
  return std::move(images).corpus(std::move(folder));
}

}  // namespace pixelbert::sources

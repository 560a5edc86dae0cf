#include "sources/visual_genome.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "sources/captions.h"
#include "sources/json_stream.h"
#include "sources/karpathy.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// Which pictures to leave out, by the ids they have elsewhere.
struct Exclusion {
  bool all_coco = false;
  KarpathyIds ids;

  bool covers(const json& image) const {
    // null, or absent in older releases, for a picture that is not from there
    const auto id = [&](const char* field) { return image.value(field, json()); };
    const json coco = id("coco_id"), flickr = id("flickr_id");
    if (coco.is_number() && (all_coco || ids.coco.contains(coco.get<std::int64_t>()))) return true;
    return flickr.is_number() && ids.flickr.contains(flickr.get<std::int64_t>());
  }
};

Exclusion exclusion_of(const VisualGenomeOptions& options) {
  if (options.exclude == "none") return {};
  if (options.exclude == "all-coco") return {true, {}};
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
  Exclusion exclusion{false, read_karpathy_ids(options.karpathy, splits)};
  if (exclusion.ids.coco.empty()) {
    throw UsageError(
        fmt::format("--vg.exclude {}: --karpathy {} names no COCO picture of these splits; give "
                    "dataset_coco.json, too",
                    options.exclude, fmt::join(options.karpathy, ", ")));
  }
  return exclusion;
}

// "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg" -> "VG_100K_2/1.jpg"
std::string file_name(const json& image, std::int64_t id) {
  const std::filesystem::path url = image.value("url", "");
  if (!url.has_filename()) return fmt::format("{}.jpg", id);
  return url.parent_path().filename() / url.filename();
}

// Older releases say "id" for all of them.
std::int64_t id_of(const json& object, const char* name) {
  return object.at(object.contains(name) ? name : "id").get<std::int64_t>();
}

}  // namespace

Corpus read_visual_genome(const VisualGenomeOptions& options) {
  require_option("visual-genome", "regions FILE", !options.regions.empty());
  require_option("visual-genome", "image-data FILE", !options.image_data.empty());
  require_option("visual-genome", "images DIR", !options.images.empty());
  PictureFolder folder(options.images);
  const Exclusion exclusion = exclusion_of(options);

  shards::Manifest header;
  header.source = "visual-genome";
  header.options = {{"regions", std::filesystem::path(options.regions).filename()}, {"vg.exclude", options.exclude}};
  if (!options.karpathy.empty()) header.options["karpathy"] = joined_names(options.karpathy);

  Captions captions(std::move(header));
  captions.count_repaired(for_each_object(options.image_data, [&](std::string_view, const json& image) {
    const std::int64_t id = id_of(image, "image_id");
    if (exclusion.covers(image)) {
      captions.exclude_image(id, "excluded");
    } else {
      captions.add_image(id, file_name(image, id));
    }
  }));
  captions.count_repaired(for_each_object(options.regions, [&](std::string_view, const json& image) {
    const std::int64_t image_id = id_of(image, "image_id");
    for (const json& region : image.at("regions")) {
      captions.add_text(image_id, {id_of(region, "region_id"), region.at("phrase").get<std::string>(), {}});
    }
  }));
  return std::move(captions).corpus(std::move(folder));
}

}  // namespace pixelbert::sources

#include "sources/coco.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "sources/annotated_images.h"
#include "sources/json_fields.h"
#include "sources/json_stream.h"
#include "sources/karpathy.h"

namespace pixelbert::sources {

Corpus read_coco(const CocoOptions& options) {
  require_option("coco", "captions FILE", !options.captions.empty());
  require_option("coco", "images DIR", !options.images.empty());
  if (options.karpathy.empty() && !options.splits.empty()) {
    throw UsageError("--splits needs --karpathy dataset_coco.json: COCO's own files have no splits");
  }
  ImageFolder folder(options.images);

  shards::Manifest header;
  header.source = "coco";
  header.options["captions"] = joined_names(options.captions);
  std::optional<KarpathyIds> wanted;
  std::unordered_set<std::int64_t> missing;  // of these
  if (!options.karpathy.empty()) {
    const std::string splits = options.splits.empty() ? KarpathyOptions().splits : options.splits;
    wanted = read_karpathy_ids({options.karpathy}, split_list(splits));
    header.options["karpathy"] = std::filesystem::path(options.karpathy).filename();
    header.options["splits"] = splits;
    missing = wanted->coco;
  }

  AnnotatedImages images(std::move(header));
  for (const std::string& file : options.captions) {
    images.begin_file(file);
    const Visit image = [&](const nlohmann::json& object) {
      const std::int64_t id = id_at(object, "id");
      missing.erase(id);
      ImageName name = {string_at(object, "file_name")};
      if (wanted && !wanted->coco.contains(id)) {
        images.exclude_image(id, std::move(name), "not-in-splits");
      } else {
        images.add_image(id, std::move(name));
      }
    };
    const Visit annotation = [&](const nlohmann::json& object) {
      images.add_text(id_at(object, "image_id"), {id_at(object, "id"), string_at(object, "caption"), {}});
    };
    images.count_repaired(for_each_object(file, {{"images", image}, {"annotations", annotation}}));
  }
  Corpus corpus = std::move(images).corpus(std::move(folder));
  if (!missing.empty()) {
    log::warn(
        "{} of {} images of these splits are in no --captions file (those of restval are in captions_val2014.json)",
        missing.size(), wanted->coco.size());
    corpus.header.skipped["not-in-captions"] = std::ssize(missing);
  }
  return corpus;
}

}  // namespace pixelbert::sources

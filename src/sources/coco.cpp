#include "sources/coco.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/check.h"
#include "sources/captions.h"
#include "sources/json_stream.h"
#include "sources/karpathy.h"

namespace pixelbert::sources {

Corpus read_coco(const CocoOptions& options) {
  require_option("coco", "captions FILE", !options.captions.empty());
  require_option("coco", "images DIR", !options.images.empty());
  if (options.karpathy.empty() && !options.splits.empty()) {
    throw UsageError("--splits needs --karpathy dataset_coco.json: COCO's own files have no splits");
  }
  PictureFolder folder(options.images);

  shards::Manifest header;
  header.source = "coco";
  header.options["captions"] = joined_names(options.captions);
  std::optional<KarpathyIds> wanted;
  if (!options.karpathy.empty()) {
    const std::string splits = options.splits.empty() ? KarpathyOptions().splits : options.splits;
    wanted = read_karpathy_ids({options.karpathy}, split_list(splits));
    header.options["karpathy"] = std::filesystem::path(options.karpathy).filename();
    header.options["splits"] = splits;
  }

  Captions captions(std::move(header));
  for (const std::string& file : options.captions) {
    captions.count_repaired(for_each_object(file, [&](std::string_view list, const nlohmann::json& object) {
      if (list == "images") {
        const auto id = object.at("id").get<std::int64_t>();
        if (wanted && !wanted->coco.contains(id)) {
          captions.exclude_image(id, "not-in-splits");
        } else {
          captions.add_image(id, object.at("file_name").get<std::string>());
        }
      } else if (list == "annotations") {
        captions.add_text(object.at("image_id").get<std::int64_t>(),
                          {object.at("id").get<std::int64_t>(), object.at("caption").get<std::string>(), {}});
      }
    }));
  }
  return std::move(captions).corpus(std::move(folder));
}

}  // namespace pixelbert::sources

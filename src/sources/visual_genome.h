// Visual Genome: every region phrase paired with the whole image, as in the paper; region boxes are not used.
#pragma once

#include <string>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::sources {

struct VisualGenomeOptions {
  std::string regions;
  std::string image_data;
  std::string images;
  std::string exclude = "none";
  std::vector<std::string> karpathy;
};

template <class Visitor>
void describe(VisualGenomeOptions& options, Visitor&& field) {
  field("regions", options.regions, "region_descriptions.json");
  field("image-data", options.image_data, "image_data.json");
  field("images", options.images, "folder with VG_100K and VG_100K_2, or with the images themselves");
  field("vg.exclude", options.exclude,
        "leave out images that retrieval is tested on: none (as in the paper), karpathy-test, karpathy-val-test or "
        "all-coco");
  field("karpathy", options.karpathy,
        "dataset_coco.json and optionally dataset_flickr30k.json (repeatable), for --vg.exclude karpathy-...");
}

// Counts images left out as "excluded". Memory: about 130 bytes per phrase, 0.7 GB for all of Visual Genome.
Corpus read_visual_genome(const VisualGenomeOptions& options);

}  // namespace pixelbert::sources

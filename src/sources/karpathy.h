// Karpathy and Fei-Fei's splits of COCO, Flickr8K and Flickr30K: dataset_coco.json and the like, from
// caption_datasets.zip. The file contains the captions and the splits that papers report on.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::sources {

struct KarpathyOptions {
  std::string karpathy;
  std::string images;
  std::string splits = "train,restval";
};

template <class Visitor>
void describe(KarpathyOptions& options, Visitor&& field) {
  field("karpathy", options.karpathy, "dataset_coco.json, dataset_flickr30k.json or dataset_flickr8k.json");
  field("images", options.images, "folder of images; subfolders are searched, too");
  field("splits", options.splits, "splits to take, separated by commas");
}

// Takes all `raw` sentences of each image. An image's id is its COCO id, or else the file's `imgid`.
Corpus read_karpathy(const KarpathyOptions& options);

// The images of some splits, for other sources to keep or leave out.
struct KarpathyIds {
  std::unordered_set<std::int64_t> coco;
  std::unordered_set<std::int64_t> flickr;  // the number that begins a Flickr file's name
};
// Throws Error when a file has no image in these splits.
KarpathyIds read_karpathy_ids(const std::vector<std::string>& files, const std::vector<std::string>& splits);

}  // namespace pixelbert::sources

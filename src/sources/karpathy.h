// Karpathy and Fei-Fei's splits of COCO, Flickr8K and Flickr30K: dataset_coco.json and the like, from
// caption_datasets.zip. Captions come with the file; so do the splits everyone reports on.
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
  field("images", options.images, "folder of the pictures; its sub-folders are looked into");
  field("splits", options.splits, "splits to take, with commas between");
}

// The `raw` sentences, all of each image. An image's id is its COCO id, else the file's `imgid`.
Corpus read_karpathy(const KarpathyOptions& options);

// Which pictures belong to some splits, for other sources to keep or leave out.
struct KarpathyIds {
  std::unordered_set<std::int64_t> coco;
  std::unordered_set<std::int64_t> flickr;  // the number that begins a Flickr file's name
};
// Error when the file has no image in these splits.
KarpathyIds read_karpathy_ids(const std::vector<std::string>& files, const std::vector<std::string>& splits);

}  // namespace pixelbert::sources

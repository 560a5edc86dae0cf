// COCO captions as published: captions_train2014.json, captions_val2017.json, ...
#pragma once

#include <string>
#include <vector>

#include "sources/corpus.h"

namespace pixelbert::sources {

struct CocoOptions {
  std::vector<std::string> captions;
  std::string images;
  std::string karpathy;
  std::string splits;
};

template <class Visitor>
void describe(CocoOptions& options, Visitor&& field) {
  field("captions", options.captions, "captions_*.json; repeatable (Karpathy's restval is in val2014)");
  field("images", options.images, "folder of images; subfolders are searched, too");
  field("karpathy", options.karpathy, "dataset_coco.json: take only images of --splits, joined by COCO id");
  field("splits", options.splits, "Karpathy splits to take, separated by commas; train,restval if empty");
}

Corpus read_coco(const CocoOptions& options);

}  // namespace pixelbert::sources

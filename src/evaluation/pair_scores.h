// Scores every image with every text of a data set, for retrieval.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "images/image_ops.h"
#include "model/autocast.h"
#include "model/pixel_bert.h"
#include "objectives/retrieval.h"
#include "shards/shard_set.h"
#include "text/text_config.h"
#include "text/wordpiece.h"

namespace pixelbert::evaluation {

struct ScoringConfig {
  images::ImageConfig image = {};
  text::TextConfig text = {};
  std::int64_t micro_batch = 1;  // texts that are read with an image at once
  model::Precision precision = model::Precision::Float32;
  bool blank_images = false;
};

struct Scorer {
  const shards::ShardSet& data;
  const text::WordPiece& tokenizer;
  model::PixelBert model{nullptr};
  objectives::RetrievalImpl& objective;
  ScoringConfig config;
  comm::Communicator& control;
  torch::Device device = torch::kCPU;
};

// The rows and columns of a score matrix: the images that have a text, and the first texts of each.
struct Pairs {
  std::vector<std::int64_t> images;         // rows of the data set
  std::vector<std::int64_t> texts;          // rows of the data set
  std::vector<std::int64_t> image_of_text;  // an index into `images`
};

Pairs all_pairs(const shards::ShardSet& data, std::int64_t texts_per_image);

// Calls take(i, scores) for each of this rank's images; `scores`, [texts] float32 on the CPU, are those of images[i]
// with all texts. The CNN reads each image once, and the Transformer the image with chunks of texts of similar length.
// The images are divided among the ranks; a score does not depend on how. Throws Error when an image is bad.
void score_pairs(const Scorer& scorer, const Pairs& pairs,
                 const std::function<void(std::int64_t, const torch::Tensor&)>& take);

}  // namespace pixelbert::evaluation

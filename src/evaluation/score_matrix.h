// The score of every picture with every text of a data set, for retrieval.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "comm/communicator.h"
#include "images/image_ops.h"
#include "model/pixel_bert.h"
#include "objectives/retrieval.h"
#include "shards/shard_set.h"
#include "text/wordpiece.h"

namespace pixelbert::evaluation {

struct ScoringConfig {
  images::ImageConfig image;
  std::int64_t max_text_tokens = 40;
  std::int64_t texts_per_image = 5;  // the first ones, of which COCO's 5K protocol has 25,000
  std::int64_t micro_batch = 64;     // texts that are read beside a picture at once
  bool bf16 = false;
  bool blank_images = false;
};

struct ScoreMatrix {
  torch::Tensor scores;         // [images, texts] float32, on the CPU
  torch::Tensor image_of_text;  // [texts] int64, a row of `scores`
};

// Collective. The CNN reads each picture once, and the Transformer the picture beside chunks of texts of similar
// length; ranks share out the pictures. The same on every rank and at any number of them. Every rank holds the whole
// matrix: 4 bytes a pair, 500 MB for COCO's 5,000 pictures and 25,000 texts. Error when a picture is bad.
ScoreMatrix score_matrix(const shards::ShardSet& data, const text::WordPiece& tokenizer, model::PixelBert& model,
                         objectives::RetrievalImpl& objective, const ScoringConfig& config, torch::Device device,
                         comm::Communicator& control);

}  // namespace pixelbert::evaluation

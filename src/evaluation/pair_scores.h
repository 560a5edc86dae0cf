// Scores every image with every text of a data set, for retrieval.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "evaluation/pass.h"
#include "model/pixel_bert.h"
#include "shards/shard_set.h"

namespace pixelbert::evaluation {

// The rows and columns of a score matrix: the images that have a text, and the first texts of each.
struct Pairs {
  std::vector<std::int64_t> images;         // rows of the data set
  std::vector<std::int64_t> texts;          // rows of the data set
  std::vector<std::int64_t> image_of_text;  // an index into `images`
};

Pairs all_pairs(const shards::ShardSet& data, std::int64_t texts_per_image);

// Calls take(i, scores) for each of this rank's images; `scores`, [texts] float32 on the CPU, are those of images[i]
// with all texts, by score(encoded). The CNN reads each image once, and the Transformer the image with chunks of texts
// of similar length. The images are divided among the ranks; a score does not depend on how. `evaluation` has one data
// set. Throws Error when an image is bad.
void score_pairs(const Evaluation& evaluation, const Pairs& pairs,
                 const std::function<torch::Tensor(const model::Encoded&)>& score,
                 const std::function<void(std::int64_t, const torch::Tensor&)>& take);

}  // namespace pixelbert::evaluation

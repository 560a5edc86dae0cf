#pragma once

#include <cstdint>

#include "data/task.h"
#include "images/image_ops.h"

namespace pixelbert::data {

struct LoaderConfig {
  Task task = Task::Pretrain;
  std::uint64_t seed = 0;
  std::int64_t micro_batch = 0;       // pairs
  std::int64_t max_text_tokens = 40;  // with [CLS] and [SEP]; cuts next to none of COCO's captions
  double mask_probability = 0.15;     // paper, section 3.2
  bool sample_pixels = true;          // fill pixel_keys (pre-training); false: all pixels
  bool mlm = true;                    // pre-training: mask tokens
  bool itm = true;                    // pre-training: give half of the pairs a foreign text
  bool mlm_on_negatives = true;       // foreign texts, which are masked too, count in the MLM loss (as SOHO)
  std::int64_t answers = 0;           // VQA: size of the answer vocabulary
  bool unlabelled = false;            // VQA, NLVR2: texts without an answer are fine, where nothing is learned
  std::int64_t foreign_texts = 20;    // retrieval, per pair (paper)
  bool blank_images = false;          // every picture becomes the mean colour: what text alone gives
  std::int64_t threads = 2;
  std::int64_t queue_batches = 4;  // micro-batches in the making or made and not yet taken, at most
  images::ImageConfig image;
};

}  // namespace pixelbert::data

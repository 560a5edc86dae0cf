// Recall of image-text retrieval from a matrix of scores.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "evaluation/losses.h"

namespace pixelbert::evaluation {

// `scores` [images, texts] float32, `image_of_text` [texts] int64 not decreasing, both on the CPU.
//
// "tr_r1", "tr_r5", "tr_r10": the share of images one of whose texts is among the 1, 5, 10 best of all texts. "ir_...":
// the share of texts whose image is among the best of all images. Of equal scores the earlier one is better. From 2000
// images on also "..._1k", the mean over the sequential folds of 1000 images (COCO 5K: five folds).
Metrics recalls(const torch::Tensor& scores, const torch::Tensor& image_of_text);

}  // namespace pixelbert::evaluation

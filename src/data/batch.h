// One micro-batch, ready for the model.
//
// Shapes: N samples of the stream; B rows of the Transformer, each an image and a text; I images; T tokens of the
// longest text; H and W of the largest image, rounded up (--image.size-multiple); M masked tokens; A answers.
//
// Pre-training and VQA have a row per sample (B = N). NLVR2 has two, its text with the left image and with the right
// one. Retrieval has 1 + negatives: the sample's own text, then its negatives.
#pragma once

#include <c10/core/Stream.h>
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/sample_stream.h"

namespace pixelbert::data {

struct Batch {
  Position at;
  MicroBatch micro_batch;
  std::vector<Pair> pairs;  // [N] as in the tensors: after substitution of bad samples, with a negative's text

  // [I, 3, H, W], channels-last. As made: uint8 RGB, a quarter of the memory. After to(): the backbone's input.
  torch::Tensor images;
  bool blank_images = false;              // every image is the mean colour, whatever `images` holds
  torch::Tensor image_sizes;              // [I, 2] int64 on the CPU: height and width before padding
  torch::Tensor image_of_row;             // [B] int64 on the CPU: neighbouring samples of one image share it
  torch::Tensor tokens;                   // [B, T] int64, [PAD] after the text
  torch::Tensor token_mask;               // [B, T] bool, true where there is a token
  std::vector<std::uint64_t> pixel_keys;  // [B], the key of each row's pixel sample; empty: all pixels

  // Pre-training.
  torch::Tensor mlm_positions;  // [M] int64, into the flattened [B * T], rising
  torch::Tensor mlm_labels;     // [M] int64, the original token
  torch::Tensor itm_labels;     // [B] float32, 1 where the text belongs to the image

  torch::Tensor answer_scores;  // VQA: [N, A] float32, the score of each answer
  torch::Tensor labels;         // NLVR2: [N] int64, 1 where the statement is true

  std::map<std::string, std::int64_t> bad_samples;  // reason -> samples that were replaced

  // Copies to the device of the model, without waiting if pinned() gave this batch, and makes `images` float32:
  // normalised, zero below and right of an image. image_sizes and image_of_row stay on the CPU: pixels are chosen
  // there.
  Batch to(torch::Device device) const { return copied_to(device).normalised(); }

  // The two halves of to(): the copies, and the work on the images, where they are then.
  Batch copied_to(torch::Device device) const;
  Batch normalised() const;

  // Tells the allocator of a GPU that work on another stream than the copies' uses this batch, too.
  void used_on(c10::Stream stream) const;

  // Returns it in memory that a GPU can read by itself; copies what is not there yet.
  Batch pinned() const;
};

// The texts as rows of a Batch: `pad` after each, and a mask of their lengths, because a text may contain "[PAD]".
struct TokenRows {
  torch::Tensor tokens, mask;
};
TokenRows token_rows(const std::vector<std::vector<std::int64_t>>& texts, std::int64_t pad);

}  // namespace pixelbert::data

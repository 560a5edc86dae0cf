// One micro-batch, ready for the model.
//
// Shapes: N samples of the stream; B rows of the Transformer, each a picture and a text; I pictures; T text tokens of
// the longest text; H and W of the largest picture; M masked tokens; A answers.
//
// Pre-training and VQA have a row per sample (B = N). NLVR2 has two, its text beside the left picture and beside the
// right one. Retrieval has 1 + foreign_texts, the sample's own text first.
#pragma once

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
  std::vector<Pair> pairs;  // [N], what is here: after substitution of bad samples, with the foreign text of a negative

  torch::Tensor images;        // [I, 3, H, W] float32, channels-last, normalised; zero below and right of a picture
  torch::Tensor image_sizes;   // [I, 2] int64 on the CPU: height and width before padding
  torch::Tensor image_of_row;  // [B] int64 on the CPU: neighbouring samples of one picture share it
  torch::Tensor tokens;        // [B, T] int64, [PAD] behind the text
  torch::Tensor token_mask;    // [B, T] bool, true where there is a token
  std::vector<std::uint64_t> pixel_keys;  // [B], the key of each row's pixel sample; empty: all pixels

  // Pre-training.
  torch::Tensor mlm_positions;  // [M] int64, into the flattened [B * T], rising
  torch::Tensor mlm_labels;     // [M] int64, the token that stood there
  torch::Tensor itm_labels;     // [B] float32, 1 where the text belongs to the image

  torch::Tensor answer_scores;  // VQA: [N, A] float32, how right each answer is
  torch::Tensor labels;         // NLVR2: [N] int64, 1 where the statement is true

  std::map<std::string, std::int64_t> bad_samples;  // reason -> samples that were replaced

  Batch to(torch::Device device) const;  // image_sizes and image_of_row stay on the CPU: pixels are chosen there
};

}  // namespace pixelbert::data

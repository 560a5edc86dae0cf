// Computes the peak memory of tensors during forward and backward of one micro-batch from shapes. It follows model/
// operation by operation, as LibTorch runs them; a task adds its head. tests/plan compares it with what a real forward
// and backward allocate.
#pragma once

#include <cstdint>
#include <optional>

#include "data/batch.h"
#include "model/pixel_bert_config.h"

namespace pixelbert::plan {

inline constexpr double kFloat = 4;  // bytes

// The sizes of a micro-batch that determine memory and time.
struct BatchShape {
  std::int64_t images = 0, height = 0, width = 0;  // padded
  std::int64_t samples = 0;                        // of the stream
  std::int64_t rows = 0;                           // of the Transformer: each an image and a text
  std::int64_t text_tokens = 0, pixel_tokens = 0;  // of a row, padded
  std::int64_t masked = 0;                         // tokens to predict
};
BatchShape shape_of(const data::Batch& batch, const model::PixelBertConfig& model);

// Returns the images of the one with more pixels, because a batch of tall images and one of wide ones are no batch of
// both; and the larger of each other size.
BatchShape largest(const BatchShape& a, const BatchShape& b);

// How the model runs, as far as memory depends on it.
struct Compute {
  bool cuda = false;
  bool bf16 = false;
};

struct Activations {  // bytes
  double cnn = 0;     // kept for backward
  double encoder = 0;
  double head = 0;
  double casts = 0;    // weights converted for the operators: to bfloat16, or scaled by a frozen BatchNorm
  double passing = 0;  // temporary, at the peak
  double all() const { return cnn + encoder + head + casts + passing; }
};

// The memory of an objective besides the model's, in bytes.
struct HeadMemory {
  double kept = 0;                             // of its widest layer, kept for backward
  double passing = 0;                          // temporary
  double words = 0;                            // MLM, which reads all of the text: its decoder's gradient
  std::optional<std::int64_t> learned_rows{};  // the other rows are only scored, without gradients; nothing: all
};

Activations activations(const model::PixelBertConfig& model, const HeadMemory& head, const BatchShape& shape,
                        const Compute& compute);

}  // namespace pixelbert::plan

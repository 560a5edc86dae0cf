// One example for predict and visualize: turns images and a text into the model's inputs.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "images/image_ops.h"
#include "model/pixel_bert.h"
#include "text/wordpiece.h"

namespace pixelbert::jobs {

// Returns the image as the backbone's input, [1, 3, H, W]. Throws Error naming the file if it is not an image.
torch::Tensor read_image(const std::string& path, const images::ImageConfig& config);

// Returns the tokens that the model reads. Warns if `text` has more.
std::vector<std::int64_t> read_text(const std::string& text, const text::WordPiece& tokenizer, std::int64_t max_tokens);

// Makes one row per image, all with the same text. The images are padded as `config` says, as in training.
model::Inputs make_inputs(const std::vector<torch::Tensor>& images, const std::vector<std::int64_t>& ids,
                          const images::ImageConfig& config, torch::Device device);

// Returns the last layer's vectors of one row, of its text and of its own image without what pads it to the other's
// size: [T + P, hidden] float32 on the CPU.
torch::Tensor own_hidden(model::PixelBert& model, const model::Inputs& inputs, const model::Encoded& encoded,
                         std::int64_t row);

// Returns the attention of each word to each pixel of the first image: [layers, heads, T, P] float32 on the CPU.
torch::Tensor attention_to_pixels(model::PixelBert& model, const model::Inputs& inputs);

}  // namespace pixelbert::jobs

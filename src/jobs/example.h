// One example at the prompt: pictures and a text become the model's inputs.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "images/image_ops.h"
#include "model/pixel_bert.h"

namespace pixelbert::jobs {

// As the backbone sees it: [1, 3, H, W]. Error naming the file when it is no picture.
torch::Tensor read_picture(const std::string& path, const images::ImageConfig& config);

// One row per picture, all with the same text.
model::Inputs make_inputs(const std::vector<torch::Tensor>& pictures, const std::vector<std::int64_t>& ids,
                          torch::Device device);

// How much each word looks at each pixel of the first picture: [layers, heads, T, P] float32 on the CPU.
torch::Tensor attention_to_pixels(model::PixelBert& model, const model::Inputs& inputs);

}  // namespace pixelbert::jobs

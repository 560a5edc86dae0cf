// The layers of BERT: plain structs of parameters, registered below a parent module at a dotted path, because
// transformers' names nest deeper than our modules do ("attention.self.query").
//
// Initial values are BERT's: weights normal(0, 0.02), biases 0, LayerNorm 1 and 0.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <string>

namespace pixelbert::model {

// Returns the module at a dotted path below `parent`. Makes missing levels, which hold only names.
torch::nn::Module& named_group(torch::nn::Module& parent, const std::string& path);

torch::Tensor normal_parameter(torch::IntArrayRef shape);

struct Linear {
  Linear(torch::nn::Module& parent, const std::string& path, std::int64_t in, std::int64_t out);
  torch::Tensor operator()(const torch::Tensor& x) const;

  torch::Tensor weight;  // [out, in]
  torch::Tensor bias;    // [out]
};

struct LayerNorm {
  LayerNorm(torch::nn::Module& parent, const std::string& path, std::int64_t size);
  torch::Tensor operator()(const torch::Tensor& x) const;

  torch::Tensor weight;  // [size]
  torch::Tensor bias;    // [size]
};

// In training, sets a share of the elements to zero and scales the others up, with PyTorch's default generator. On the
// CPU the share is rounded to 1/65536, which makes it three times as fast as at::dropout.
struct Dropout {
  torch::Tensor operator()(const torch::Tensor& x, bool training) const;

  // The two factors of an element, on the CPU: bool, false for those that are set to zero; and what the others are
  // scaled by.
  torch::Tensor draw(torch::IntArrayRef shape) const;
  double scale() const;

  double probability;
};

// Puts convolution weights into channels-last order, which is fastest on the CPU and on tensor cores; the images must
// have it too. Call before the optimizer and the reducer take the parameters.
void use_channels_last(torch::nn::Module& module);

}  // namespace pixelbert::model

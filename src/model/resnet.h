// The CNN backbone: torchvision's ResNet without its classifier, under torchvision's parameter names. It is "v1.5": the
// stride is in the 3x3 convolution of a bottleneck.
//
// The feature map of a padded image equals that of the image alone except near the padded border, where deeper
// convolutions see the bias of padding instead of zeros, as with torchvision.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/pixel_bert_config.h"
#include "model/pixel_grid.h"

namespace pixelbert::model {

struct ConvShape {
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t groups = 1;
};

// Two convolutions (18, 34 layers) or three (bottleneck), and a shortcut convolution where the shape changes.
struct BlockShape {
  std::vector<ConvShape> convs;
  std::optional<ConvShape> shortcut;
};

struct ResNetShape {
  ConvShape stem;
  std::array<std::vector<BlockShape>, 4> layers;
  std::int64_t channels = 0;  // of the output
};

// Names such as "resnet50" and "resnext152-32x4d": torchvision's, and blocks [3, 8, 36, 3] with ResNeXt's groups.
std::vector<std::string> backbone_names();
ResNetShape resnet_shape(const std::string& name);  // throws UsageError listing the names for any other

// Returns the floating-point operations of the convolutions of the first `stages` stages (stem, layer1 to layer4) for
// one image: two per multiply-add.
double resnet_flops(const ResNetShape& shape, Grid pixels, std::int64_t stages = 5);

// Returns the size of the feature map after one convolution.
Grid conv_grid(const ConvShape& conv, Grid in);

class ConvImpl : public torch::nn::Module {
 public:
  explicit ConvImpl(const ConvShape& shape);
  const ConvShape& shape() const { return shape_; }

  torch::Tensor weight;  // [out, in / groups, kernel, kernel]

 private:
  ConvShape shape_;
};
TORCH_MODULE(Conv);

// BatchNorm2d's tensors. In training, Local normalises by the micro-batch unless that has a single value per channel
// (one image, one cell); everything else uses running statistics.
class BatchNormImpl : public torch::nn::Module {
 public:
  BatchNormImpl(std::int64_t channels, NormMode mode);
  NormMode mode() const { return mode_; }

  torch::Tensor weight, bias;               // [channels]
  torch::Tensor running_mean, running_var;  // [channels]
  torch::Tensor num_batches_tracked;        // [] int64: updates so far, as in torchvision's state
  torch::Tensor batch_mean, batch_var;      // [channels] of the latest forward in training; views of the ResNet's

 private:
  NormMode mode_;
};
TORCH_MODULE(BatchNorm);

struct ConvNorm {
  torch::Tensor operator()(const torch::Tensor& x) const;

  Conv conv{nullptr};
  BatchNorm norm{nullptr};
};

class ResidualBlockImpl : public torch::nn::Module {
 public:
  ResidualBlockImpl(const BlockShape& shape, NormMode mode);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::vector<ConvNorm> body_;
  std::optional<ConvNorm> shortcut_;
};
TORCH_MODULE(ResidualBlock);

class ResNetImpl : public torch::nn::Module {
 public:
  // The first `frozen_stages` of the five stages (stem, layer1 to layer4) are not trained: no gradient, running
  // statistics, no graph. In Frozen mode no BatchNorm is trained anywhere.
  ResNetImpl(const std::string& name, NormMode mode, std::int64_t frozen_stages);

  torch::Tensor forward(const torch::Tensor& images);  // [I, 3, H, W] -> [I, channels(), ceil(H/32), ceil(W/32)]
  std::int64_t channels() const { return channels_; }

  // See PixelBertImpl.
  torch::Tensor take_batch_statistics();
  void update_running_statistics(const torch::Tensor& summed, const torch::Tensor& finite);

 private:
  torch::Tensor run_stage(std::size_t stage, const torch::Tensor& x);
  void prepare_statistics();

  std::int64_t channels_;
  std::int64_t frozen_stages_;
  ConvNorm stem_;
  std::array<std::vector<ResidualBlock>, 4> layers_;

  std::vector<BatchNorm> local_;     // those that normalise by the micro-batch
  std::vector<std::int64_t> sizes_;  // of the statistics: the means of local_, then the variances
  torch::Tensor latest_;             // [sum of sizes_], written by every forward in training
  torch::Tensor sums_;               // [sum of sizes_ + 1]; the last is the number of forwards
};
TORCH_MODULE(ResNet);

}  // namespace pixelbert::model

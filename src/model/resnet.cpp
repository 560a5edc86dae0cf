#include "model/resnet.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "model/layers.h"

namespace pixelbert::model {
namespace {

constexpr double kEpsilon = 1e-5;  // BatchNorm2d's defaults
constexpr double kMomentum = 0.1;

struct Family {
  const char* name;
  std::array<std::int64_t, 4> blocks;
  bool bottleneck = true;
  std::int64_t groups = 1;
  std::int64_t width_per_group = 64;
};

constexpr std::array kFamilies = {
    Family{"resnet18", {2, 2, 2, 2}, false},
    Family{"resnet34", {3, 4, 6, 3}, false},
    Family{"resnet50", {3, 4, 6, 3}},
    Family{"resnet101", {3, 4, 23, 3}},
    Family{"resnet152", {3, 8, 36, 3}},
    Family{"resnext50-32x4d", {3, 4, 6, 3}, true, 32, 4},
    Family{"resnext101-32x8d", {3, 4, 23, 3}, true, 32, 8},
    Family{"resnext152-32x4d", {3, 8, 36, 3}, true, 32, 4},
    Family{"resnext152-32x8d", {3, 8, 36, 3}, true, 32, 8},
};

BlockShape block_shape(const Family& family, std::int64_t in, std::int64_t planes, std::int64_t stride) {
  BlockShape block;
  std::int64_t out = planes;
  if (family.bottleneck) {
    out = 4 * planes;
    const std::int64_t width = planes * family.width_per_group / 64 * family.groups;
    block.convs = {{in, width}, {width, width, 3, stride, family.groups}, {width, out}};
  } else {
    block.convs = {{in, planes, 3, stride}, {planes, planes, 3}};
  }
  if (stride != 1 || in != out) block.shortcut = ConvShape{in, out, 1, stride};
  return block;
}

ConvNorm register_conv_norm(torch::nn::Module& parent, const std::string& conv, const std::string& norm,
                            const ConvShape& shape, NormMode mode) {
  return {parent.register_module(conv, Conv(shape)), parent.register_module(norm, BatchNorm(shape.out, mode))};
}

}  // namespace

std::vector<std::string> backbone_names() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.name);
  return names;
}

ResNetShape resnet_shape(const std::string& name) {
  for (const Family& family : kFamilies) {
    if (family.name != name) continue;
    ResNetShape shape{.stem = {3, 64, 7, 2}, .layers = {}, .channels = 64};
    for (std::size_t layer = 0; layer < 4; ++layer) {
      for (std::int64_t i = 0; i < family.blocks[layer]; ++i) {
        const std::int64_t stride = layer > 0 && i == 0 ? 2 : 1;
        shape.layers[layer].push_back(block_shape(family, shape.channels, std::int64_t{64} << layer, stride));
        shape.channels = shape.layers[layer].back().convs.back().out;
      }
    }
    return shape;
  }
  throw UsageError(
      fmt::format("there is no backbone '{}', expected one of {}", name, fmt::join(backbone_names(), ", ")));
}

Grid conv_grid(const ConvShape& conv, Grid in) {
  // Padding is kernel / 2 and kernels are odd, so a convolution only divides by its stride, rounding up.
  return {(in.height + conv.stride - 1) / conv.stride, (in.width + conv.stride - 1) / conv.stride};
}

double resnet_flops(const ResNetShape& shape, Grid pixels, std::int64_t stages) {
  if (stages == 0) return 0;
  double flops = 0;
  const auto run = [&flops](const ConvShape& conv, Grid in) {
    const Grid out = conv_grid(conv, in);
    const auto weights = static_cast<double>(conv.out * (conv.in / conv.groups) * conv.kernel * conv.kernel);
    flops += 2 * weights * static_cast<double>(out.cells());
    return out;
  };
  Grid grid = run(shape.stem, pixels);
  grid = {(grid.height + 1) / 2, (grid.width + 1) / 2};  // max-pooling
  for (std::int64_t layer = 0; layer + 1 < stages; ++layer) {
    for (const BlockShape& block : shape.layers[static_cast<std::size_t>(layer)]) {
      if (block.shortcut) run(*block.shortcut, grid);
      for (const ConvShape& conv : block.convs) grid = run(conv, grid);
    }
  }
  return flops;
}

ConvImpl::ConvImpl(const ConvShape& shape) : shape_(shape) {
  // Kaiming normal over the outputs, as torchvision.
  const double deviation = std::sqrt(2.0 / static_cast<double>(shape.out * shape.kernel * shape.kernel));
  weight = register_parameter(
      "weight", at::empty({shape.out, shape.in / shape.groups, shape.kernel, shape.kernel}).normal_(0, deviation));
}

BatchNormImpl::BatchNormImpl(std::int64_t channels, NormMode mode) : mode_(mode) {
  weight = register_parameter("weight", at::ones({channels}));
  bias = register_parameter("bias", at::zeros({channels}));
  running_mean = register_buffer("running_mean", at::zeros({channels}));
  running_var = register_buffer("running_var", at::ones({channels}));
  num_batches_tracked = register_buffer("num_batches_tracked", at::zeros({}, at::kLong));
  weight.set_requires_grad(mode == NormMode::Local);
  bias.set_requires_grad(mode == NormMode::Local);
}

torch::Tensor ConvNorm::operator()(const torch::Tensor& x) const {
  const ConvShape& shape = conv->shape();
  const auto convolve = [&](const torch::Tensor& weight, const torch::Tensor& bias) {
    return at::conv2d(x, weight, bias, shape.stride, shape.kernel / 2, 1, shape.groups);
  };
  if (norm->mode() == NormMode::Frozen || !norm->is_training()) {
    // An affine map after a convolution is a convolution: saves a pass over the feature map, forward and backward.
    const torch::Tensor scale = norm->weight * at::rsqrt(norm->running_var + kEpsilon);
    return convolve(conv->weight * scale.view({-1, 1, 1, 1}), norm->bias - norm->running_mean * scale);
  }
  const torch::Tensor y = convolve(conv->weight, {});
  if (y.numel() == y.size(1)) {  // one small image, at the end of an epoch: one value has no variance
    norm->batch_mean.variable_data().copy_(norm->running_mean);
    norm->batch_var.variable_data().copy_(norm->running_var);
    return at::batch_norm(y, norm->weight, norm->bias, norm->running_mean, norm->running_var, /*training=*/false,
                          /*momentum=*/0, kEpsilon, /*cudnn_enabled=*/true);
  }
  // With momentum 1 the "running" statistics become the micro-batch's mean and unbiased variance.
  return at::batch_norm(y, norm->weight, norm->bias, norm->batch_mean, norm->batch_var, /*training=*/true,
                        /*momentum=*/1.0, kEpsilon, /*cudnn_enabled=*/true);
}

ResidualBlockImpl::ResidualBlockImpl(const BlockShape& shape, NormMode mode) {
  for (const ConvShape& conv : shape.convs) {
    const std::string number = std::to_string(body_.size() + 1);
    body_.push_back(register_conv_norm(*this, "conv" + number, "bn" + number, conv, mode));
  }
  if (shape.shortcut) {
    shortcut_ = register_conv_norm(named_group(*this, "downsample"), "0", "1", *shape.shortcut, mode);
  }
}

torch::Tensor ResidualBlockImpl::forward(const torch::Tensor& x) {
  torch::Tensor y = x;
  for (std::size_t i = 0; i + 1 < body_.size(); ++i) y = body_[i](y).relu_();
  y = body_.back()(y);
  return y.add_(shortcut_ ? (*shortcut_)(x) : x).relu_();
}

ResNetImpl::ResNetImpl(const std::string& name, NormMode mode, std::int64_t frozen_stages)
    : frozen_stages_(frozen_stages) {
  const ResNetShape shape = resnet_shape(name);
  channels_ = shape.channels;
  const auto mode_of = [&](std::int64_t stage) { return stage < frozen_stages ? NormMode::Frozen : mode; };

  stem_ = register_conv_norm(*this, "conv1", "bn1", shape.stem, mode_of(0));
  if (frozen_stages > 0) stem_.conv->weight.set_requires_grad(false);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const auto stage = static_cast<std::int64_t>(i) + 1;
    torch::nn::Module& layer = named_group(*this, "layer" + std::to_string(stage));
    for (const BlockShape& block : shape.layers[i]) {
      const std::string number = std::to_string(layers_[i].size());
      layers_[i].push_back(layer.register_module(number, ResidualBlock(block, mode_of(stage))));
    }
    if (stage >= frozen_stages) continue;
    for (torch::Tensor& parameter : layer.parameters()) parameter.set_requires_grad(false);
  }

  for (const std::shared_ptr<torch::nn::Module>& module : modules(/*include_self=*/false)) {
    const auto norm = std::dynamic_pointer_cast<BatchNormImpl>(module);
    if (norm && norm->mode() == NormMode::Local) local_.emplace_back(norm);
  }
  for (int statistic = 0; statistic < 2; ++statistic) {
    for (const BatchNorm& norm : local_) sizes_.push_back(norm->weight.numel());
  }
}

torch::Tensor ResNetImpl::run_stage(std::size_t stage, const torch::Tensor& x) {
  if (stage == 0) return at::max_pool2d(stem_(x).relu_(), /*kernel=*/3, /*stride=*/2, /*padding=*/1);
  torch::Tensor y = x;
  for (ResidualBlock& block : layers_[stage - 1]) y = block->forward(y);
  return y;
}

torch::Tensor ResNetImpl::forward(const torch::Tensor& images) {
  const bool gather = is_training() && !local_.empty();
  if (gather) prepare_statistics();

  torch::Tensor x = images;
  for (std::size_t stage = 0; stage <= layers_.size(); ++stage) {
    const at::AutoGradMode grad(at::GradMode::is_enabled() && static_cast<std::int64_t>(stage) >= frozen_stages_);
    x = run_stage(stage, x);
  }
  if (gather) {
    sums_.narrow(0, 0, latest_.numel()).add_(latest_);
    sums_.select(0, latest_.numel()).add_(1);
  }
  return x;
}

void ResNetImpl::prepare_statistics() {
  const at::TensorOptions options = local_[0]->running_mean.options();
  if (latest_.defined() && latest_.device() == options.device() && latest_.dtype() == options.dtype()) {
    // A NaN of an earlier forward must not survive as 0 * NaN. Not through latest_ itself: autograd has saved views of
    // it that it never reads in training, but whose version it checks.
    latest_.variable_data().zero_();
    return;
  }
  const std::int64_t total = std::accumulate(sizes_.begin(), sizes_.end(), std::int64_t{0});
  latest_ = at::zeros({total}, options);
  sums_ = at::zeros({total + 1}, options);
  const std::vector<torch::Tensor> views = latest_.split_with_sizes(sizes_);
  for (std::size_t i = 0; i < local_.size(); ++i) {
    local_[i]->batch_mean = views[i];
    local_[i]->batch_var = views[local_.size() + i];
  }
}

torch::Tensor ResNetImpl::take_batch_statistics() {
  if (local_.empty()) return at::empty({0});
  if (!sums_.defined()) prepare_statistics();
  return std::exchange(sums_, at::zeros_like(sums_));
}

void ResNetImpl::update_running_statistics(const torch::Tensor& summed, const torch::Tensor& finite) {
  if (local_.empty()) return;
  const at::NoGradGuard no_grad;
  const std::int64_t total = summed.numel() - 1;
  const torch::Tensor means = summed.narrow(0, 0, total) / summed.select(0, total);
  std::vector<torch::Tensor> statistics, updates;
  for (const BatchNorm& norm : local_) statistics.push_back(norm->running_mean);
  for (const BatchNorm& norm : local_) statistics.push_back(norm->running_var);
  for (const BatchNorm& norm : local_) updates.push_back(norm->num_batches_tracked);
  // Every rank makes this update. Each operator rounds once, so that they get the same bits whatever their processors:
  // not lerp, which is a fused multiply-add on some. And not `if (finite)`, for which the host of a GPU would wait.
  const torch::Tensor running = at::cat(statistics);
  const torch::Tensor moved = running * (1 - kMomentum) + means * kMomentum;
  at::_foreach_copy_(statistics, at::where(finite, moved, running).split_with_sizes(sizes_));
  at::_foreach_add_(updates, finite.to(at::kLong));
}

}  // namespace pixelbert::model

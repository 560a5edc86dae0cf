#include "model/layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <c10/util/accumulate.h>

#include <cmath>
#include <limits>

namespace pixelbert::model {
namespace {

std::int64_t dropped_of_65536(double probability) {
  return std::llround(probability * 65536);
}

}  // namespace

torch::nn::Module& named_group(torch::nn::Module& parent, const std::string& path) {
  const std::size_t dot = path.find('.');
  const std::string name = path.substr(0, dot);
  const auto children = parent.named_children();
  const auto* known = children.find(name);
  torch::nn::Module& child = known ? **known : *parent.register_module(name, std::make_shared<torch::nn::Module>(name));
  return dot == std::string::npos ? child : named_group(child, path.substr(dot + 1));
}

torch::Tensor normal_parameter(torch::IntArrayRef shape) {
  return at::empty(shape).normal_(0, 0.02);
}

Linear::Linear(torch::nn::Module& parent, const std::string& path, std::int64_t in, std::int64_t out) {
  torch::nn::Module& group = named_group(parent, path);
  weight = group.register_parameter("weight", normal_parameter({out, in}));
  bias = group.register_parameter("bias", at::zeros({out}));
}

torch::Tensor Linear::operator()(const torch::Tensor& x) const {
  return at::linear(x, weight, bias);
}

LayerNorm::LayerNorm(torch::nn::Module& parent, const std::string& path, std::int64_t size) {
  torch::nn::Module& group = named_group(parent, path);
  weight = group.register_parameter("weight", at::ones({size}));
  bias = group.register_parameter("bias", at::zeros({size}));
}

torch::Tensor LayerNorm::operator()(const torch::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, 1e-12);  // BERT's epsilon
}

torch::Tensor Dropout::operator()(const torch::Tensor& x, bool training) const {
  if (!training || probability == 0) return x;
  if (!x.is_cpu()) return at::dropout(x, probability, training);
  return (x * draw(x.sizes())).mul_(scale());  // backward keeps a byte per element
}

torch::Tensor Dropout::draw(torch::IntArrayRef shape) const {
  // at::dropout draws a 64-bit number per element, serially. Here one serves four elements, as 16-bit integers.
  const std::int64_t count = c10::multiply_integers(shape);
  return at::empty({(count + 3) / 4}, at::kLong)
      .random_(std::numeric_limits<std::int64_t>::min(), {}, at::detail::getDefaultCPUGenerator())
      .view(at::kShort)
      .narrow(0, 0, count)
      .view(shape)
      .ge(std::numeric_limits<std::int16_t>::min() + dropped_of_65536(probability));
}

double Dropout::scale() const {
  return 65536.0 / static_cast<double>(65536 - dropped_of_65536(probability));
}

void use_channels_last(torch::nn::Module& module) {
  for (torch::Tensor& parameter : module.parameters()) {
    if (parameter.dim() == 4) parameter.set_data(parameter.contiguous(at::MemoryFormat::ChannelsLast));
  }
}

}  // namespace pixelbert::model

// BatchNorm of a micro-batch, a residual and ReLU as one operation, which passes over memory half as often as
// LibTorch's.
#pragma once

#include <torch/types.h>

#include <optional>

namespace pixelbert::model {

// Returns relu(batch_norm(x) + residual), [N, C, H, W] as `x` and in its type, normalised by x's own statistics over N,
// H and W (at least two values). Writes the mean and the unbiased variance to `batch_mean` and `batch_var`. `weight`,
// `bias`, `batch_mean` and `batch_var` are [C], `residual` has x's sizes. NaN stays NaN. The bits do not depend on the
// number of threads. There is no second derivative.
//
// Returns nothing, for LibTorch's operators to run, unless x is float32 or bfloat16 in channels-last memory of the CPU,
// and the four are float32.
std::optional<torch::Tensor> norm_relu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                       const std::optional<torch::Tensor>& residual, const torch::Tensor& batch_mean,
                                       const torch::Tensor& batch_var, double epsilon);

}  // namespace pixelbert::model

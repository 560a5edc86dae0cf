// BatchNorm, a residual and ReLU on a GPU: the functions of the CUDA plug-in that model/norm_relu calls.
#pragma once

#include <cstdint>

namespace pixelbert {

// Rows [rows, channels] of channels-last memory of the current device, float32 or bfloat16, each aligned to 16 bytes.
struct NormReluShape {
  bool bf16 = false;
  std::int64_t rows = 0, channels = 0;
};

struct NormReluForward {
  NormReluShape shape;
  const void* x = nullptr;
  const void* residual = nullptr;  // or none
  const float* weight = nullptr;   // [channels], as bias, batch_mean and batch_var
  const float* bias = nullptr;
  float epsilon = 0;
  void* y = nullptr;
  float* constants = nullptr;  // [4, channels] for backward: mean, 1 / deviation, scale, shift
  float* batch_mean = nullptr;
  float* batch_var = nullptr;  // unbiased
  float* workspace = nullptr;
};

struct NormReluBackward {
  NormReluShape shape;
  const void* dy = nullptr;
  const void* x = nullptr;
  const void* y = nullptr;  // with a residual
  const float* constants = nullptr;
  void* g = nullptr;  // the residual's gradient, with a residual
  void* dx = nullptr;  // or none
  float* to_weight = nullptr;
  float* to_bias = nullptr;
  float* workspace = nullptr;
};

}  // namespace pixelbert

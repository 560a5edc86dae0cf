// The loops of norm_relu over rows [count, channels] of channels-last memory. Each channel is summed over rows in an
// order that depends only on the two numbers, so the bits are the same at any vector width.
#pragma once

#include <cstdint>

namespace pixelbert::model {

using Bf16Bits = std::uint16_t;  // of a c10::BFloat16

// The arrays of a row's length that the loops read.
struct NormScales {
  const float* scale;  // weight / deviation
  const float* shift;  // bias - mean * scale
};

// The gradient of an input is g * scale + offset + (x - mean) * slope.
struct NormSlopes {
  const float* scale;
  const float* offset;
  const float* slope;
  const float* mean;
};

// Writes each channel's mean and sum of squared differences from it. They read `x` twice: it should fit into a cache.
void norm_moments(const float* x, std::int64_t count, std::int64_t channels, float* mean, float* squares);
void norm_moments(const Bf16Bits* x, std::int64_t count, std::int64_t channels, float* mean, float* squares);

// Blocks of `rows` rows, the last one with what is left of `count`, together: the mean and the sum of squared
// differences from it. `means` and `squares` are [blocks, channels].
void norm_merge_moments(const float* means, const float* squares, std::int64_t rows, std::int64_t count,
                        std::int64_t channels, double* mean, double* sum);
// Adds [blocks, channels] to [channels].
void norm_add_blocks(const float* blocks, std::int64_t count, std::int64_t channels, double* sum);

// y = max(0, x * scale + shift + residual), NaN where that is NaN. `residual` may be null.
void norm_relu_apply(const float* x, const float* residual, std::int64_t count, std::int64_t channels,
                     const NormScales& scales, float* y);
void norm_relu_apply(const Bf16Bits* x, const Bf16Bits* residual, std::int64_t count, std::int64_t channels,
                     const NormScales& scales, Bf16Bits* y);

// With g = dy where the result is not 0: writes the sums of g and of g * (x - mean) of each channel. Without `y` the
// result is computed again from x, which has no residual then. With it, g is written too.
void norm_relu_sums(const float* dy, const float* x, const float* y, std::int64_t count, std::int64_t channels,
                    const float* mean, const NormScales& scales, float* g, float* sum, float* product);
void norm_relu_sums(const Bf16Bits* dy, const Bf16Bits* x, const Bf16Bits* y, std::int64_t count, std::int64_t channels,
                    const float* mean, const NormScales& scales, Bf16Bits* g, float* sum, float* product);

// Writes the input's gradient. `g` is dy and `scales` tells where the result is 0, or, without it, what the function
// above wrote.
void norm_relu_input_gradient(const float* g, const float* x, std::int64_t count, std::int64_t channels,
                              const NormSlopes& slopes, const NormScales* scales, float* dx);
void norm_relu_input_gradient(const Bf16Bits* g, const Bf16Bits* x, std::int64_t count, std::int64_t channels,
                              const NormSlopes& slopes, const NormScales* scales, Bf16Bits* dx);

}  // namespace pixelbert::model

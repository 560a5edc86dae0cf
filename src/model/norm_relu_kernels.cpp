#include "model/norm_relu_kernels.h"

#include <algorithm>
#include <bit>

// One version of each loop for each width of vectors, chosen when the program starts. The choice happens too early for
// the thread sanitizer, whose calls it would make.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define PB_EACH_WIDTH __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PB_EACH_WIDTH
#endif
// The loops become part of each version.
#define PB_PART __attribute__((always_inline)) inline

namespace pixelbert::model {
namespace {

PB_PART float widen(float value) {
  return value;
}

PB_PART float widen(Bf16Bits value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

PB_PART void narrow(float value, float& result) {
  result = value;
}

// To the nearest, and to an even one of two, as c10::BFloat16.
PB_PART void narrow(float value, Bf16Bits& result) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  result = static_cast<Bf16Bits>(value != value ? 0x7fc0U : rounded);
}

// NaN stays NaN, as in at::relu.
PB_PART float rectified(float value) {
  return value < 0 ? 0 : value;
}

// As threshold_backward: the gradient passes where the result is NaN.
PB_PART float where_positive(float value, float gradient) {
  return value <= 0 ? 0 : gradient;
}

template <class T>
PB_PART void moments(const T* __restrict x, std::int64_t count, std::int64_t channels, float* __restrict mean,
                     float* __restrict squares) {
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0;
  // Four rows at a time: fewer accesses to the sums, and fewer roundings.
  const std::int64_t fours = count / 4 * 4;
  for (std::int64_t row = 0; row < fours; row += 4) {
    const T *x0 = x + row * channels, *x1 = x0 + channels, *x2 = x1 + channels, *x3 = x2 + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      mean[c] += (widen(x0[c]) + widen(x1[c])) + (widen(x2[c]) + widen(x3[c]));
    }
  }
  for (std::int64_t row = fours; row < count; ++row) {
    for (std::int64_t c = 0; c < channels; ++c) mean[c] += widen(x[row * channels + c]);
  }
  for (std::int64_t c = 0; c < channels; ++c) mean[c] /= static_cast<float>(count);

  for (std::int64_t row = 0; row < fours; row += 4) {
    const T *x0 = x + row * channels, *x1 = x0 + channels, *x2 = x1 + channels, *x3 = x2 + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float d0 = widen(x0[c]) - mean[c], d1 = widen(x1[c]) - mean[c];
      const float d2 = widen(x2[c]) - mean[c], d3 = widen(x3[c]) - mean[c];
      squares[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
    }
  }
  for (std::int64_t row = fours; row < count; ++row) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const float d = widen(x[row * channels + c]) - mean[c];
      squares[c] += d * d;
    }
  }
}

template <class T>
PB_PART void apply(const T* __restrict x, const T* __restrict residual, std::int64_t count, std::int64_t channels,
                   const NormScales& scales, T* __restrict y) {
  const float* __restrict scale = scales.scale, * __restrict shift = scales.shift;
  if (residual) {
    for (std::int64_t row = 0; row < count; ++row, x += channels, residual += channels, y += channels) {
      for (std::int64_t c = 0; c < channels; ++c) {
        narrow(rectified((widen(x[c]) * scale[c] + shift[c]) + widen(residual[c])), y[c]);
      }
    }
  } else {
    for (std::int64_t row = 0; row < count; ++row, x += channels, y += channels) {
      for (std::int64_t c = 0; c < channels; ++c) narrow(rectified(widen(x[c]) * scale[c] + shift[c]), y[c]);
    }
  }
}

// Of one row's element. kWrite: the result is known, and g is kept.
template <bool kWrite, class T>
PB_PART float masked(T dy, T x, const T* y, std::int64_t at, float scale, float shift, T* g) {
  if constexpr (kWrite) {
    const float gradient = where_positive(widen(y[at]), widen(dy));
    narrow(gradient, g[at]);
    return gradient;
  } else {
    return where_positive(widen(x) * scale + shift, widen(dy));
  }
}

template <bool kWrite, class T>
PB_PART void sums(const T* __restrict dy, const T* __restrict x, const T* __restrict y, std::int64_t count,
                  std::int64_t channels, const float* __restrict mean, const NormScales& scales, T* __restrict g,
                  float* __restrict sum, float* __restrict product) {
  const float* __restrict scale = scales.scale, * __restrict shift = scales.shift;
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = product[c] = 0;
  const std::int64_t fours = count / 4 * 4;
  for (std::int64_t row = 0; row < fours; row += 4) {
    const std::int64_t i0 = row * channels, i1 = i0 + channels, i2 = i1 + channels, i3 = i2 + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float g0 = masked<kWrite>(dy[i0 + c], x[i0 + c], y, i0 + c, scale[c], shift[c], g);
      const float g1 = masked<kWrite>(dy[i1 + c], x[i1 + c], y, i1 + c, scale[c], shift[c], g);
      const float g2 = masked<kWrite>(dy[i2 + c], x[i2 + c], y, i2 + c, scale[c], shift[c], g);
      const float g3 = masked<kWrite>(dy[i3 + c], x[i3 + c], y, i3 + c, scale[c], shift[c], g);
      sum[c] += (g0 + g1) + (g2 + g3);
      product[c] += (g0 * (widen(x[i0 + c]) - mean[c]) + g1 * (widen(x[i1 + c]) - mean[c])) +
                    (g2 * (widen(x[i2 + c]) - mean[c]) + g3 * (widen(x[i3 + c]) - mean[c]));
    }
  }
  for (std::int64_t row = fours; row < count; ++row) {
    const std::int64_t i = row * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float gradient = masked<kWrite>(dy[i + c], x[i + c], y, i + c, scale[c], shift[c], g);
      sum[c] += gradient;
      product[c] += gradient * (widen(x[i + c]) - mean[c]);
    }
  }
}

template <class T>
PB_PART void input_gradient(const T* __restrict g, const T* __restrict x, std::int64_t count, std::int64_t channels,
                            const NormSlopes& slopes, const NormScales* scales, T* __restrict dx) {
  const float* __restrict scale = slopes.scale, * __restrict offset = slopes.offset;
  const float* __restrict slope = slopes.slope, * __restrict mean = slopes.mean;
  if (scales) {
    const float* __restrict shift = scales->shift;
    for (std::int64_t row = 0; row < count; ++row, g += channels, x += channels, dx += channels) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const float value = widen(x[c]), gradient = where_positive(value * scale[c] + shift[c], widen(g[c]));
        narrow((gradient * scale[c] + offset[c]) + (value - mean[c]) * slope[c], dx[c]);
      }
    }
  } else {
    for (std::int64_t row = 0; row < count; ++row, g += channels, x += channels, dx += channels) {
      for (std::int64_t c = 0; c < channels; ++c) {
        narrow((widen(g[c]) * scale[c] + offset[c]) + (widen(x[c]) - mean[c]) * slope[c], dx[c]);
      }
    }
  }
}

}  // namespace

PB_EACH_WIDTH void norm_moments(const float* x, std::int64_t count, std::int64_t channels, float* mean,
                                float* squares) {
  moments(x, count, channels, mean, squares);
}

PB_EACH_WIDTH void norm_moments(const Bf16Bits* x, std::int64_t count, std::int64_t channels, float* mean,
                                float* squares) {
  moments(x, count, channels, mean, squares);
}

PB_EACH_WIDTH void norm_merge_moments(const float* __restrict means, const float* __restrict squares, std::int64_t rows,
                                      std::int64_t count, std::int64_t channels, double* __restrict mean,
                                      double* __restrict sum) {
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = sum[c] = 0;
  for (std::int64_t row = 0, i = 0; row < count; row += rows, i += channels) {
    const auto weight = static_cast<double>(std::min(rows, count - row));
    for (std::int64_t c = 0; c < channels; ++c) mean[c] += weight * static_cast<double>(means[i + c]);
  }
  for (std::int64_t c = 0; c < channels; ++c) mean[c] /= static_cast<double>(count);
  for (std::int64_t row = 0, i = 0; row < count; row += rows, i += channels) {
    const auto weight = static_cast<double>(std::min(rows, count - row));
    for (std::int64_t c = 0; c < channels; ++c) {
      const double d = static_cast<double>(means[i + c]) - mean[c];
      sum[c] += static_cast<double>(squares[i + c]) + weight * (d * d);
    }
  }
}

PB_EACH_WIDTH void norm_add_blocks(const float* __restrict blocks, std::int64_t count, std::int64_t channels,
                                   double* __restrict sum) {
  for (std::int64_t c = 0; c < channels; ++c) sum[c] = 0;
  for (std::int64_t block = 0; block < count; ++block, blocks += channels) {
    for (std::int64_t c = 0; c < channels; ++c) sum[c] += static_cast<double>(blocks[c]);
  }
}

PB_EACH_WIDTH void norm_relu_apply(const float* x, const float* residual, std::int64_t count, std::int64_t channels,
                                   const NormScales& scales, float* y) {
  apply(x, residual, count, channels, scales, y);
}

PB_EACH_WIDTH void norm_relu_apply(const Bf16Bits* x, const Bf16Bits* residual, std::int64_t count,
                                   std::int64_t channels, const NormScales& scales, Bf16Bits* y) {
  apply(x, residual, count, channels, scales, y);
}

PB_EACH_WIDTH void norm_relu_sums(const float* dy, const float* x, const float* y, std::int64_t count,
                                  std::int64_t channels, const float* mean, const NormScales& scales, float* g,
                                  float* sum, float* product) {
  if (y) return sums<true>(dy, x, y, count, channels, mean, scales, g, sum, product);
  sums<false>(dy, x, y, count, channels, mean, scales, g, sum, product);
}

PB_EACH_WIDTH void norm_relu_sums(const Bf16Bits* dy, const Bf16Bits* x, const Bf16Bits* y, std::int64_t count,
                                  std::int64_t channels, const float* mean, const NormScales& scales, Bf16Bits* g,
                                  float* sum, float* product) {
  if (y) return sums<true>(dy, x, y, count, channels, mean, scales, g, sum, product);
  sums<false>(dy, x, y, count, channels, mean, scales, g, sum, product);
}

PB_EACH_WIDTH void norm_relu_input_gradient(const float* g, const float* x, std::int64_t count, std::int64_t channels,
                                            const NormSlopes& slopes, const NormScales* scales, float* dx) {
  input_gradient(g, x, count, channels, slopes, scales, dx);
}

PB_EACH_WIDTH void norm_relu_input_gradient(const Bf16Bits* g, const Bf16Bits* x, std::int64_t count,
                                            std::int64_t channels, const NormSlopes& slopes, const NormScales* scales,
                                            Bf16Bits* dx) {
  input_gradient(g, x, count, channels, slopes, scales, dx);
}

}  // namespace pixelbert::model

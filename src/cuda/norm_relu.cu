// Compiled by nvcc, and by the C++ compiler for the simulated device.
#include <cstdint>
#include <cstring>

#include "norm_relu_device.h"

#ifdef __CUDACC__
#define PB_DEVICE __device__ __forceinline__
#else
#define PB_DEVICE inline
#endif

namespace pixelbert::cuda {
namespace {

using Bf16Bits = std::uint16_t;

PB_DEVICE float widen(float value) {
  return value;
}

PB_DEVICE float widen(Bf16Bits value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

PB_DEVICE void narrow(float value, float& result) {
  result = value;
}

PB_DEVICE void narrow(float value, Bf16Bits& result) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  result = static_cast<Bf16Bits>(value != value ? 0x7fc0U : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// What a thread reads at once.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T values[kSize];
};

template <class T>
PB_DEVICE Pack<T> load(const T* at) {
  return *reinterpret_cast<const Pack<T>*>(at);
}

template <class T>
PB_DEVICE void store(T* at, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(at) = pack;
}

struct Thread {
  int index;           // in its block
  int block_x, block_y;
};

constexpr int kThreads = 256;
constexpr int kMergeThreads = 1024, kMergeChannels = 32, kMergeSlices = kMergeThreads / kMergeChannels;

// A block of threads has `lanes` packs of a row, and every `slices`th of its rows.
struct Tiling {
  std::int64_t rows, channels;
  int lanes, slices;
  int blocks_x, blocks_y;
  std::int64_t block_rows;
};

struct Slice {
  std::int64_t first, last;  // rows
  int channel, slice;
};

template <class T>
PB_DEVICE Slice slice_of(const Tiling& tiling, const Thread& thread) {
  const int slice = thread.index / tiling.lanes, lane = thread.index % tiling.lanes;
  const std::int64_t begin = thread.block_y * tiling.block_rows, end = begin + tiling.block_rows;
  return {begin + slice, end < tiling.rows ? end : tiling.rows, (thread.block_x * tiling.lanes + lane) * Pack<T>::kSize,
          slice};
}

// Each kernel is two phases of its threads, with a barrier between them.

template <class T>
struct Moments {
  static constexpr int kBlock = kThreads;
  struct Shared {
    float mean[kThreads * Pack<T>::kSize], squares[kThreads * Pack<T>::kSize];  // [slices, lanes * size]
  };

  Tiling tiling;
  const T* x;
  float* means;  // [blocks_y, channels]
  float* squares;

  PB_DEVICE void first(const Thread& thread, Shared& shared) const {
    constexpr int kSize = Pack<T>::kSize;
    const Slice slice = slice_of<T>(tiling, thread);
    float near[kSize], sum[kSize], square[kSize];
    for (int i = 0; i < kSize; ++i) near[i] = sum[i] = square[i] = 0;
    float count = 0;
    if (slice.first < slice.last) {
      const Pack<T> pack = load(x + slice.first * tiling.channels + slice.channel);
      for (int i = 0; i < kSize; ++i) near[i] = widen(pack.values[i]);
    }
    // Differences from a value of the channel, because squares of what is far from 0 would lose bits.
#pragma unroll 4
    for (std::int64_t row = slice.first; row < slice.last; row += tiling.slices) {
      const Pack<T> pack = load(x + row * tiling.channels + slice.channel);
      count += 1;
      for (int i = 0; i < kSize; ++i) {
        const float d = widen(pack.values[i]) - near[i];
        sum[i] += d;
        square[i] += d * d;
      }
    }
    const float inverse = count > 0 ? 1 / count : 0;
    for (int i = 0; i < kSize; ++i) {
      const float mean = sum[i] * inverse;
      shared.mean[thread.index * kSize + i] = near[i] + mean;
      shared.squares[thread.index * kSize + i] = square[i] - sum[i] * mean;
    }
  }

  PB_DEVICE void second(const Thread& thread, const Shared& shared) const {
    const int width = tiling.lanes * Pack<T>::kSize;
    const std::int64_t begin = thread.block_y * tiling.block_rows;
    const std::int64_t left = tiling.rows - begin, count = left < tiling.block_rows ? left : tiling.block_rows;
    for (int c = thread.index; c < width; c += kThreads) {
      float sum = 0, square = 0;
      for (int slice = 0; slice < tiling.slices; ++slice) {
        sum += rows_of(slice, count) * shared.mean[slice * width + c];
      }
      const float mean = sum / static_cast<float>(count);
      for (int slice = 0; slice < tiling.slices; ++slice) {
        const float d = shared.mean[slice * width + c] - mean;
        square += shared.squares[slice * width + c] + rows_of(slice, count) * (d * d);
      }
      const std::int64_t at = static_cast<std::int64_t>(thread.block_y) * tiling.channels + thread.block_x * width + c;
      means[at] = mean;
      squares[at] = square;
    }
  }

  PB_DEVICE float rows_of(int slice, std::int64_t count) const {
    return static_cast<float>((count - slice + tiling.slices - 1) / tiling.slices);
  }
};

struct MergeMoments {
  static constexpr int kBlock = kMergeThreads;
  struct Shared {
    double sum[kMergeThreads], square[kMergeThreads];
  };

  Tiling tiling;
  const float *means, *squares;
  const float *weight, *bias;
  float epsilon;
  float* constants;
  float *batch_mean, *batch_var;

  PB_DEVICE void first(const Thread& thread, Shared& shared) const {
    const int channel = thread.block_x * kMergeChannels + thread.index % kMergeChannels;
    double sum = 0, square = 0;
#pragma unroll 4
    for (int block = thread.index / kMergeChannels; block < tiling.blocks_y; block += kMergeSlices) {
      const std::int64_t left = tiling.rows - block * tiling.block_rows, at = block * tiling.channels + channel;
      const double count = static_cast<double>(left < tiling.block_rows ? left : tiling.block_rows), mean = means[at];
      sum += count * mean;
      square += squares[at] + count * (mean * mean);
    }
    shared.sum[thread.index] = sum;
    shared.square[thread.index] = square;
  }

  PB_DEVICE void second(const Thread& thread, const Shared& shared) const {
    if (thread.index >= kMergeChannels) return;
    double sum = 0, square = 0;
    for (int slice = 0; slice < kMergeSlices; ++slice) {
      sum += shared.sum[slice * kMergeChannels + thread.index];
      square += shared.square[slice * kMergeChannels + thread.index];
    }
    const auto count = static_cast<double>(tiling.rows);
    const double mean = sum / count, rest = square - sum * mean;
    const double squares_sum = rest < 0 ? 0 : rest;  // NaN stays
    const int channel = thread.block_x * kMergeChannels + thread.index;
    const auto inverse = static_cast<float>(1 / sqrt(squares_sum / count + static_cast<double>(epsilon)));
    const float scale = weight[channel] * inverse;
    batch_mean[channel] = constants[channel] = static_cast<float>(mean);
    batch_var[channel] = static_cast<float>(squares_sum / (count - 1));
    constants[tiling.channels + channel] = inverse;
    constants[2 * tiling.channels + channel] = scale;
    constants[3 * tiling.channels + channel] = bias[channel] - static_cast<float>(mean) * scale;
  }

  static PB_DEVICE double sqrt(double value) { return ::sqrt(value); }
};

struct Nothing {};

// A pack of a row of constants.
template <class T>
struct Numbers {
  PB_DEVICE explicit Numbers(const float* at) {
    for (int i = 0; i < Pack<T>::kSize; i += 4) {
      const Pack<float> pack = load(at + i);
      for (int j = 0; j < 4; ++j) values[i + j] = pack.values[j];
    }
  }
  PB_DEVICE float operator[](int i) const { return values[i]; }
  float values[Pack<T>::kSize];
};

template <class T>
struct Apply {
  static constexpr int kBlock = kThreads;
  using Shared = Nothing;

  Tiling tiling;
  const T *x, *residual;
  const float* constants;
  T* y;

  PB_DEVICE void first(const Thread& thread, Shared&) const {
    const Slice slice = slice_of<T>(tiling, thread);
    const Numbers<T> scale(constants + 2 * tiling.channels + slice.channel);
    const Numbers<T> shift(constants + 3 * tiling.channels + slice.channel);
#pragma unroll 4
    for (std::int64_t row = slice.first; row < slice.last; row += tiling.slices) {
      const std::int64_t at = row * tiling.channels + slice.channel;
      const Pack<T> in = load(x + at);
      Pack<T> added{}, out;
      if (residual) added = load(residual + at);
      for (int i = 0; i < Pack<T>::kSize; ++i) {
        float value = widen(in.values[i]) * scale[i] + shift[i];
        if (residual) value += widen(added.values[i]);
        narrow(value < 0 ? 0 : value, out.values[i]);
      }
      store(y + at, out);
    }
  }

  PB_DEVICE void second(const Thread&, const Shared&) const {}
};

template <class T>
struct Sums {
  static constexpr int kBlock = kThreads;
  struct Shared {
    float sum[kThreads * Pack<T>::kSize], product[kThreads * Pack<T>::kSize];
  };

  Tiling tiling;
  const T *dy, *x, *y;
  const float* constants;
  T* g;
  float *sums, *products;  // [blocks_y, channels]

  PB_DEVICE void first(const Thread& thread, Shared& shared) const {
    constexpr int kSize = Pack<T>::kSize;
    const Slice slice = slice_of<T>(tiling, thread);
    const Numbers<T> mean(constants + slice.channel);
    const Numbers<T> scale(constants + 2 * tiling.channels + slice.channel);
    const Numbers<T> shift(constants + 3 * tiling.channels + slice.channel);
    float sum[kSize], product[kSize];
    for (int i = 0; i < kSize; ++i) sum[i] = product[i] = 0;
#pragma unroll 2
    for (std::int64_t row = slice.first; row < slice.last; row += tiling.slices) {
      const std::int64_t at = row * tiling.channels + slice.channel;
      const Pack<T> gradients = load(dy + at), in = load(x + at);
      Pack<T> result{}, out;
      if (y) result = load(y + at);
      for (int i = 0; i < kSize; ++i) {
        const float value = widen(in.values[i]);
        const float positive = y ? widen(result.values[i]) : value * scale[i] + shift[i];
        const float gradient = positive <= 0 ? 0 : widen(gradients.values[i]);
        sum[i] += gradient;
        product[i] += gradient * (value - mean[i]);
        narrow(gradient, out.values[i]);
      }
      if (y) store(g + at, out);
    }
    for (int i = 0; i < kSize; ++i) {
      shared.sum[thread.index * kSize + i] = sum[i];
      shared.product[thread.index * kSize + i] = product[i];
    }
  }

  PB_DEVICE void second(const Thread& thread, const Shared& shared) const {
    const int width = tiling.lanes * Pack<T>::kSize;
    for (int c = thread.index; c < width; c += kThreads) {
      float sum = 0, product = 0;
      for (int slice = 0; slice < tiling.slices; ++slice) {
        sum += shared.sum[slice * width + c];
        product += shared.product[slice * width + c];
      }
      const std::int64_t at = static_cast<std::int64_t>(thread.block_y) * tiling.channels + thread.block_x * width + c;
      sums[at] = sum;
      products[at] = product;
    }
  }
};

struct MergeSums {
  static constexpr int kBlock = kMergeThreads;
  struct Shared {
    double sum[kMergeThreads], product[kMergeThreads];
  };

  Tiling tiling;
  const float *sums, *products, *constants;
  float *to_weight, *to_bias;
  float* slopes;  // [2, channels]: see InputGradient

  PB_DEVICE void first(const Thread& thread, Shared& shared) const {
    const int channel = thread.block_x * kMergeChannels + thread.index % kMergeChannels;
    double sum = 0, product = 0;
#pragma unroll 4
    for (int block = thread.index / kMergeChannels; block < tiling.blocks_y; block += kMergeSlices) {
      sum += sums[block * tiling.channels + channel];
      product += products[block * tiling.channels + channel];
    }
    shared.sum[thread.index] = sum;
    shared.product[thread.index] = product;
  }

  PB_DEVICE void second(const Thread& thread, const Shared& shared) const {
    if (thread.index >= kMergeChannels) return;
    double sum = 0, product = 0;
    for (int slice = 0; slice < kMergeSlices; ++slice) {
      sum += shared.sum[slice * kMergeChannels + thread.index];
      product += shared.product[slice * kMergeChannels + thread.index];
    }
    const int channel = thread.block_x * kMergeChannels + thread.index;
    const auto count = static_cast<double>(tiling.rows);
    const double inverse = constants[tiling.channels + channel], scale = constants[2 * tiling.channels + channel];
    to_weight[channel] = static_cast<float>(product * inverse);
    to_bias[channel] = static_cast<float>(sum);
    slopes[channel] = static_cast<float>(-scale * sum / count);
    slopes[tiling.channels + channel] = static_cast<float>(-scale * inverse * inverse * product / count);
  }
};

// dx = g * scale + offset + (x - mean) * slope.
template <class T>
struct InputGradient {
  static constexpr int kBlock = kThreads;
  using Shared = Nothing;

  Tiling tiling;
  const T *g, *x;
  bool is_masked;  // g is 0 where the result was
  const float *constants, *slopes;
  T* dx;

  PB_DEVICE void first(const Thread& thread, Shared&) const {
    const Slice slice = slice_of<T>(tiling, thread);
    const Numbers<T> mean(constants + slice.channel);
    const Numbers<T> scale(constants + 2 * tiling.channels + slice.channel);
    const Numbers<T> shift(constants + 3 * tiling.channels + slice.channel);
    const Numbers<T> offset(slopes + slice.channel), slope(slopes + tiling.channels + slice.channel);
#pragma unroll 2
    for (std::int64_t row = slice.first; row < slice.last; row += tiling.slices) {
      const std::int64_t at = row * tiling.channels + slice.channel;
      const Pack<T> gradients = load(g + at), in = load(x + at);
      Pack<T> out;
      for (int i = 0; i < Pack<T>::kSize; ++i) {
        const float value = widen(in.values[i]);
        const bool zero = !is_masked && value * scale[i] + shift[i] <= 0;
        const float gradient = zero ? 0 : widen(gradients.values[i]);
        narrow((gradient * scale[i] + offset[i]) + (value - mean[i]) * slope[i], out.values[i]);
      }
      store(dx + at, out);
    }
  }

  PB_DEVICE void second(const Thread&, const Shared&) const {}
};

#ifdef __CUDACC__
template <class Kernel>
__global__ void __launch_bounds__(Kernel::kBlock) run(const Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  const Thread thread{static_cast<int>(threadIdx.x), static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y)};
  kernel.first(thread, shared);
  if constexpr (sizeof(shared) > 1) {
    __syncthreads();
    kernel.second(thread, shared);
  }
}

template <class Kernel>
void launch(int blocks_x, int blocks_y, cudaStream_t stream, const Kernel& kernel) {
  run<<<dim3(blocks_x, blocks_y), Kernel::kBlock, 0, stream>>>(kernel);
}
using Stream = cudaStream_t;
#else
using Stream = void*;
template <class Kernel>
void launch(int blocks_x, int blocks_y, Stream, const Kernel& kernel) {
  static typename Kernel::Shared shared;
  for (int y = 0; y < blocks_y; ++y) {
    for (int x = 0; x < blocks_x; ++x) {
      for (int i = 0; i < Kernel::kBlock; ++i) kernel.first({i, x, y}, shared);
      for (int i = 0; i < Kernel::kBlock; ++i) kernel.second({i, x, y}, shared);
    }
  }
}
#endif

// `most_blocks`: of partial sums; each has at least `least` rows of a thread.
template <class T>
Tiling tiling_of(const NormReluShape& shape, int least, std::int64_t most_blocks) {
  const auto packs = static_cast<int>(shape.channels / Pack<T>::kSize);
  Tiling tiling{};
  tiling.rows = shape.rows;
  tiling.channels = shape.channels;
  tiling.lanes = packs < 32 ? packs : 32;
  tiling.slices = kThreads / tiling.lanes;
  tiling.blocks_x = packs / tiling.lanes;
  const std::int64_t wanted = most_blocks / tiling.blocks_x > 1 ? most_blocks / tiling.blocks_x : 1;
  const std::int64_t equal = (shape.rows + wanted - 1) / wanted, rows = std::int64_t{least} * tiling.slices;
  tiling.block_rows = equal > rows ? equal : rows;
  tiling.blocks_y = static_cast<int>((shape.rows + tiling.block_rows - 1) / tiling.block_rows);
  return tiling;
}

constexpr std::int64_t kPartialBlocks = 1024, kManyBlocks = 32768;

template <class T>
Tiling partial_tiling(const NormReluShape& shape) {
  return tiling_of<T>(shape, 2, kPartialBlocks);
}

template <class T>
Tiling element_tiling(const NormReluShape& shape) {
  return tiling_of<T>(shape, 4, kManyBlocks);
}

template <class T>
void forward(const NormReluForward& call, Stream stream) {
  const Tiling partial = partial_tiling<T>(call.shape), each = element_tiling<T>(call.shape);
  const auto* x = static_cast<const T*>(call.x);
  float *means = call.workspace, *squares = means + partial.blocks_y * partial.channels;
  launch(partial.blocks_x, partial.blocks_y, stream, Moments<T>{partial, x, means, squares});
  launch(static_cast<int>(partial.channels / kMergeChannels), 1, stream,
         MergeMoments{partial, means, squares, call.weight, call.bias, call.epsilon, call.constants, call.batch_mean,
                      call.batch_var});
  launch(each.blocks_x, each.blocks_y, stream,
         Apply<T>{each, x, static_cast<const T*>(call.residual), call.constants, static_cast<T*>(call.y)});
}

template <class T>
void backward(const NormReluBackward& call, Stream stream) {
  const Tiling partial = partial_tiling<T>(call.shape), each = element_tiling<T>(call.shape);
  const auto *dy = static_cast<const T*>(call.dy), *x = static_cast<const T*>(call.x),
             *y = static_cast<const T*>(call.y);
  auto* g = static_cast<T*>(call.g);
  float *sums = call.workspace, *products = sums + partial.blocks_y * partial.channels;
  float* slopes = products + partial.blocks_y * partial.channels;
  launch(partial.blocks_x, partial.blocks_y, stream, Sums<T>{partial, dy, x, y, call.constants, g, sums, products});
  launch(static_cast<int>(partial.channels / kMergeChannels), 1, stream,
         MergeSums{partial, sums, products, call.constants, call.to_weight, call.to_bias, slopes});
  if (!call.dx) return;
  launch(each.blocks_x, each.blocks_y, stream,
         InputGradient<T>{each, y ? g : dy, x, y != nullptr, call.constants, slopes, static_cast<T*>(call.dx)});
}

}  // namespace

// Blocks of threads need whole packs and a whole number of lanes.
bool norm_relu_fits(const NormReluShape& shape) {
  const std::int64_t packs = shape.channels / (shape.bf16 ? 8 : 4);
  const bool power = packs > 0 && (packs & (packs - 1)) == 0;
  return shape.channels % 32 == 0 && (packs % 32 == 0 || (packs < 32 && power));
}

std::int64_t norm_relu_workspace(const NormReluShape& shape) {
  const Tiling tiling = shape.bf16 ? partial_tiling<Bf16Bits>(shape) : partial_tiling<float>(shape);
  return 2 * (tiling.blocks_y + 1) * tiling.channels;
}

void norm_relu_forward(const NormReluForward& call, Stream stream) {
  call.shape.bf16 ? forward<Bf16Bits>(call, stream) : forward<float>(call, stream);
}

void norm_relu_backward(const NormReluBackward& call, Stream stream) {
  call.shape.bf16 ? backward<Bf16Bits>(call, stream) : backward<float>(call, stream);
}

}  // namespace pixelbert::cuda

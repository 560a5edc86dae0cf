#include "model/norm_relu.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"
#include "model/norm_relu_kernels.h"

namespace pixelbert::model {
namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// The rows of channels-last memory, in blocks that do not depend on the number of threads.
class RowBlocks {
 public:
  explicit RowBlocks(const torch::Tensor& x)
      : channels(x.size(1)), rows(x.numel() / channels), block(std::clamp<std::int64_t>(kValues / channels, 32, 512)) {}

  std::int64_t count() const { return (rows + block - 1) / block; }

  // Calls run(block, offset of its first value, its rows), for several at once.
  template <class Run>
  void for_each(const Run& run) const {
    at::parallel_for(0, count(), /*grain_size=*/1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) run(b, b * block * channels, std::min(block, rows - b * block));
    });
  }

  std::int64_t channels, rows, block;

 private:
  // 128 KiB of float32, in the second-level cache. Fewer rows make more partial sums, more rows lose more bits.
  static constexpr std::int64_t kValues = 32768;
};

// [blocks, channels]
std::unique_ptr<float[]> partial_sums(const RowBlocks& blocks) {
  return std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(blocks.count() * blocks.channels));
}

// Calls run(T{}) with the type in which the kernels see the values.
template <class Run>
void with_type(const torch::Tensor& x, const Run& run) {
  x.scalar_type() == at::kFloat ? run(float{}) : run(Bf16Bits{});
}

template <class T>
const T* read(const torch::Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <class T>
T* write(const torch::Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// What backward needs of each channel: the rows of a tensor [4, channels].
struct Constants {
  explicit Constants(const torch::Tensor& all)
      : mean(all.mutable_data_ptr<float>()),
        inverse(mean + all.size(1)),
        scale(inverse + all.size(1)),
        shift(scale + all.size(1)) {}

  NormScales scales() const { return {.scale = scale, .shift = shift}; }

  float* mean;
  float* inverse;  // of the standard deviation
  float* scale;
  float* shift;
};

torch::Tensor measure(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                      const torch::Tensor& batch_mean, const torch::Tensor& batch_var, double epsilon) {
  const RowBlocks blocks(x);
  const std::unique_ptr<float[]> means = partial_sums(blocks), squares = partial_sums(blocks);
  with_type(x, [&]<class T>(T) {
    blocks.for_each([&](std::int64_t block, std::int64_t offset, std::int64_t rows) {
      const std::int64_t at = block * blocks.channels;
      norm_moments(read<T>(x) + offset, rows, blocks.channels, means.get() + at, squares.get() + at);
    });
  });
  std::vector<double> mean(static_cast<std::size_t>(blocks.channels)), sum(mean.size());
  norm_merge_moments(means.get(), squares.get(), blocks.block, blocks.rows, blocks.channels, mean.data(), sum.data());

  const torch::Tensor all = at::empty({4, blocks.channels}, weight.options());
  const Constants constants(all);
  const auto *w = read<float>(weight), *b = read<float>(bias);
  auto *of_batch = write<float>(batch_mean), *variance = write<float>(batch_var);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    of_batch[c] = constants.mean[c] = static_cast<float>(mean[c]);
    variance[c] = static_cast<float>(sum[c] / static_cast<double>(blocks.rows - 1));
    constants.inverse[c] = static_cast<float>(1 / std::sqrt(sum[c] / static_cast<double>(blocks.rows) + epsilon));
    constants.scale[c] = w[c] * constants.inverse[c];
    constants.shift[c] = b[c] - constants.mean[c] * constants.scale[c];
  }
  return all;
}

struct NormRelu : torch::autograd::Function<NormRelu> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               const torch::Tensor& weight, const torch::Tensor& bias,
                               const std::optional<torch::Tensor>& residual, const torch::Tensor& batch_mean,
                               const torch::Tensor& batch_var, double epsilon) {
    const torch::Tensor all = measure(x, weight, bias, batch_mean, batch_var, epsilon);
    const RowBlocks blocks(x);
    const torch::Tensor y = at::empty_like(x);
    with_type(x, [&]<class T>(T) {
      blocks.for_each([&](std::int64_t, std::int64_t offset, std::int64_t rows) {
        norm_relu_apply(read<T>(x) + offset, residual ? read<T>(*residual) + offset : nullptr, rows, blocks.channels,
                        Constants(all).scales(), write<T>(y) + offset);
      });
    });
    // Without a residual the result can be had from x again.
    context->save_for_backward({x, all, residual ? y : torch::Tensor()});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], &all = saved[1], &y = saved[2];
    const torch::Tensor dy = gradients[0].contiguous(kChannelsLast);
    const torch::Tensor g = y.defined() ? at::empty_like(x) : dy;
    const RowBlocks blocks(x);
    const Constants constants(all);
    const NormScales scales = constants.scales();

    const std::unique_ptr<float[]> sums = partial_sums(blocks), products = partial_sums(blocks);
    with_type(x, [&]<class T>(T) {
      blocks.for_each([&](std::int64_t block, std::int64_t offset, std::int64_t rows) {
        const std::int64_t at = block * blocks.channels;
        norm_relu_sums(read<T>(dy) + offset, read<T>(x) + offset, y.defined() ? read<T>(y) + offset : nullptr, rows,
                       blocks.channels, constants.mean, scales, y.defined() ? write<T>(g) + offset : nullptr,
                       sums.get() + at, products.get() + at);
      });
    });
    std::vector<double> sum(static_cast<std::size_t>(blocks.channels)), product(sum.size());
    norm_add_blocks(sums.get(), blocks.count(), blocks.channels, sum.data());
    norm_add_blocks(products.get(), blocks.count(), blocks.channels, product.data());

    const torch::Tensor to_weight = at::empty({blocks.channels}, all.options()), to_bias = at::empty_like(to_weight);
    std::vector<float> offset_of(sum.size()), slope_of(sum.size());
    for (std::size_t c = 0; c < sum.size(); ++c) {
      const double inverse = constants.inverse[c], scale = constants.scale[c];
      const auto count = static_cast<double>(blocks.rows);
      write<float>(to_weight)[c] = static_cast<float>(product[c] * inverse);
      write<float>(to_bias)[c] = static_cast<float>(sum[c]);
      offset_of[c] = static_cast<float>(-scale * sum[c] / count);
      slope_of[c] = static_cast<float>(-scale * inverse * inverse * product[c] / count);
    }

    torch::Tensor to_x;
    if (context->needs_input_grad(0)) {
      to_x = at::empty_like(x);
      const NormSlopes slopes{
          .scale = constants.scale, .offset = offset_of.data(), .slope = slope_of.data(), .mean = constants.mean};
      with_type(x, [&]<class T>(T) {
        blocks.for_each([&](std::int64_t, std::int64_t offset, std::int64_t rows) {
          norm_relu_input_gradient(read<T>(g) + offset, read<T>(x) + offset, rows, blocks.channels, slopes,
                                   y.defined() ? nullptr : &scales, write<T>(to_x) + offset);
        });
      });
    }
    return {to_x, to_weight, to_bias, y.defined() ? g : torch::Tensor(), {}, {}, {}};
  }
};

bool is_fused(const torch::Tensor& x, const std::vector<torch::Tensor>& of_channels) {
  if (!x.is_cpu() || (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16)) return false;
  return x.is_contiguous(kChannelsLast) && std::ranges::all_of(of_channels, [](const torch::Tensor& values) {
           return values.scalar_type() == at::kFloat && values.is_contiguous();
         });
}

}  // namespace

std::optional<torch::Tensor> norm_relu(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                                       const std::optional<torch::Tensor>& residual, const torch::Tensor& batch_mean,
                                       const torch::Tensor& batch_var, double epsilon) {
  if (!is_fused(x, {weight, bias, batch_mean, batch_var})) return {};
  PB_CHECK(x.numel() >= 2 * x.size(1), "expected two values per channel or more, found {}", x.numel() / x.size(1));
  std::optional<torch::Tensor> added = residual;
  if (added) {
    PB_CHECK(added->sizes() == x.sizes(), "expected a residual of {} values, found one of {}", x.numel(),
             added->numel());
    added = added->to(x.scalar_type()).contiguous(kChannelsLast);
  }
  return NormRelu::apply(x, weight, bias, added, batch_mean, batch_var, epsilon);
}

}  // namespace pixelbert::model

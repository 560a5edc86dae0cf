#include "model/peak.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/sin.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "model/wait_for_device.h"

namespace pixelbert::model {
namespace {

constexpr std::size_t kMeasurements = 9;

// Two square matrices of a size, and their product.
class Product {
 public:
  Product(torch::Device device, Precision precision, std::int64_t size) : device_(device), size_(size) {
    // Products of zeros or ones take less power on a GPU, and so less time.
    const torch::Tensor wave = at::arange(size, at::TensorOptions(device).dtype(at::kFloat)).sin();
    matrix_ = at::outer(wave, wave).to(precision == Precision::Bf16 ? at::kBFloat16 : at::kFloat);
    product_ = at::empty_like(matrix_);
    seconds(1);  // prepares kernels and memory
  }

  double flops() const { return 2 * std::pow(static_cast<double>(size_), 3); }

  // Returns the time of one of `times` products in a row.
  double seconds(std::int64_t times) {
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < times; ++i) at::mm_out(product_, matrix_, matrix_);
    wait_for_device(device_);
    const std::chrono::duration<double> all = std::chrono::steady_clock::now() - start;
    return all.count() / static_cast<double>(times);
  }

 private:
  torch::Device device_;
  std::int64_t size_;
  torch::Tensor matrix_, product_;
};

}  // namespace

double measure_peak(torch::Device device, Precision precision, double seconds) {
  constexpr std::int64_t kSmallest = 256, kLargest = 8192, kMultiple = 256;
  const torch::NoGradGuard no_grad;
  // Twenty products fill the time. A small product says too little about a fast device, so look again.
  std::int64_t size = kSmallest;
  double each = 0;
  for (int look = 0; look < 3; ++look) {
    each = Product(device, precision, size).seconds(1);
    if (look == 2) break;
    const auto wanted = static_cast<std::int64_t>(static_cast<double>(size) * std::cbrt(seconds / 20 / each));
    size = std::clamp(wanted / kMultiple * kMultiple, kSmallest, kLargest);
  }
  Product product(device, precision, size);
  const auto times = std::max<std::int64_t>(1, std::llround(seconds / kMeasurements / each));
  std::array<double, kMeasurements> measured;
  for (double& one : measured) one = product.seconds(times);
  std::ranges::nth_element(measured, measured.begin() + kMeasurements / 2);
  return product.flops() / measured[kMeasurements / 2];
}

std::string readable_peak(double least, double most) {
  const bool large = most >= 1e12;
  const double unit = large ? 1e12 : 1e9;
  const std::string low = fmt::format("{:.1f}", least / unit), high = fmt::format("{:.1f}", most / unit);
  return fmt::format("{}{} {}FLOP/s", low, low == high ? "" : " to " + high, large ? 'T' : 'G');
}

}  // namespace pixelbert::model

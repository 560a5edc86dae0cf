#include "doctor/device_checks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "model/peak.h"
#include "model/wait_for_device.h"

namespace pixelbert::doctor {
namespace {

// Returns "float32 71.2 to 75.0 GFLOP/s", and the median.
std::pair<std::string, double> range_of(const char* name, const std::vector<Peak>& peaks, double Peak::* rate) {
  std::vector<double> rates;
  for (const Peak& peak : peaks) rates.push_back(peak.*rate);
  std::ranges::sort(rates);
  return {fmt::format("{} {}", name, model::readable_peak(rates.front(), rates.back())), rates[rates.size() / 2]};
}

}  // namespace

std::vector<Peak> measure_peaks(comm::Communicator& control, torch::Device device) {
  constexpr int kRounds = 5;
  constexpr double kSeconds = 0.1;
  constexpr model::Precision kPrecisions[] = {model::Precision::Float32, model::Precision::Bf16};
  torch::Tensor rounds = at::zeros({kRounds, 2}, at::kDouble);
  for (int round = 0; round < kRounds; ++round) {  // in turn: another program slows down both
    for (int i = 0; i < 2; ++i) {
      control.barrier();
      rounds[round][i] = model::measure_peak(device, kPrecisions[i], kSeconds);
    }
  }
  torch::Tensor all = at::zeros({control.world_size(), 2}, at::kDouble);
  all[control.rank()] = std::get<0>(rounds.median(/*dim=*/0));
  control.all_reduce(all, comm::ReduceOp::Sum)->wait();
  std::vector<Peak> peaks;
  for (int rank = 0; rank < control.world_size(); ++rank) {
    peaks.push_back({all[rank][0].item<double>(), all[rank][1].item<double>()});
  }
  return peaks;
}

std::vector<Finding> check_peaks(const std::vector<Peak>& peaks, int rank) {
  constexpr double kFar = 0.7;
  const auto [float32, median_float32] = range_of("float32", peaks, &Peak::float32);
  const auto [bf16, median_bf16] = range_of("bf16", peaks, &Peak::bf16);
  const Peak& own = peaks[rank];
  std::vector<Finding> findings = {{"peak", Level::Ok, fmt::format("{}, {} on a rank", float32, bf16), ""}};
  if (own.float32 < kFar * median_float32 || own.bf16 < kFar * median_bf16) {
    findings.push_back({"peak", Level::Warning,
                        fmt::format("only float32 {}, bf16 {}", model::readable_peak(own.float32, own.float32),
                                    model::readable_peak(own.bf16, own.bf16)),
                        "see what else uses its cores, and the clock of its host; every rank waits for the slowest"});
  }
  if (own.bf16 < own.float32) {
    findings.push_back({"bf16", Level::Warning, "bf16 is slower than float32 on this processor",
                        "train with --train.precision float32"});
  }
  return findings;
}

Finding check_copies(comm::Communicator& control, torch::Device device) {
  constexpr std::int64_t kBytes = std::int64_t{64} << 20;
  constexpr int kRounds = 9;
  const torch::Tensor from = at::zeros({kBytes}, at::kByte).pin_memory();
  const torch::Tensor to = at::empty({kBytes}, at::TensorOptions(device).dtype(at::kByte));
  std::vector<double> seconds;
  control.barrier();  // GPUs share the way to the memory
  for (int round = 0; round <= kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    to.copy_(from, /*non_blocking=*/true);
    model::wait_for_device(device);
    const std::chrono::duration<double> one = std::chrono::steady_clock::now() - start;
    if (round > 0) seconds.push_back(one.count());  // the first one maps the memory
  }
  std::ranges::nth_element(seconds, seconds.begin() + kRounds / 2);
  torch::Tensor rate = at::full({1}, kBytes / seconds[kRounds / 2], at::kDouble);
  control.all_reduce(rate, comm::ReduceOp::Min)->wait();
  const auto least = rate.item<double>();
  return {"copies", Level::Ok,
          fmt::format("at least {:.1f} GB/s from pinned memory to a GPU, on all ranks at once", 1e-9 * least), ""};
}

}  // namespace pixelbert::doctor

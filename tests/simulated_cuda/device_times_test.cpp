// DeviceTimes on a simulated GPU, whose kernels take a known time.
#include "train/device_times.h"

#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/simulated_cuda/runtime.h"

namespace pixelbert::train {
namespace {

using activity::Phase;

const at::Device kDevice(at::kCUDA, 0);
std::atomic<int> ended = 0;

void kernel_of(int milliseconds) {
  simulated_launch(c10::cuda::getCurrentCUDAStream(), [milliseconds] {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    ++ended;
  });
}

TEST(DeviceTimes, AreTheKernels) {
  DeviceTimes times(kDevice);
  for (int step = 0; step < 2; ++step) {
    times.begin_step();
    times.mark(Phase::Forward);
    kernel_of(20);
    times.mark(Phase::Backward);
    kernel_of(40);
    times.mark(Phase::Other);
    c10::cuda::getCurrentCUDAStream().synchronize();
    const auto spans = times.spans();
    ASSERT_EQ(spans.size(), 2U);
    EXPECT_EQ(spans[0].phase, Phase::Forward);
    EXPECT_GE(spans[0].seconds, 0.019);
    EXPECT_EQ(spans[1].phase, Phase::Backward);
    EXPECT_GE(spans[1].seconds, 0.039);
  }
}

TEST(DeviceTimes, WaitsForTheEndOfTheLastSpanOfAPhase) {
  DeviceTimes times(kDevice);
  ended = 0;
  for (const Phase phase : {Phase::Backward, Phase::Forward, Phase::Backward, Phase::Optimizer}) {
    times.mark(phase);
    kernel_of(phase == Phase::Optimizer ? 300 : 20);
  }
  times.mark(Phase::Other);
  times.wait_for_end_of(Phase::Backward);
  EXPECT_EQ(ended, 3);
  times.wait_for_end_of(Phase::Optimizer);
  EXPECT_EQ(ended, 4);
}

TEST(DeviceTimes, WaitsForNothingWithoutThePhase) {
  DeviceTimes times(kDevice);
  ended = 0;
  times.mark(Phase::ReduceWait);  // a rank without a micro-batch
  kernel_of(300);
  times.mark(Phase::Other);
  times.wait_for_end_of(Phase::Backward);
  EXPECT_EQ(ended, 0);
  c10::cuda::getCurrentCUDAStream().synchronize();
}

TEST(DeviceTimes, AreNoneOnACpu) {
  DeviceTimes times(at::kCPU);
  times.mark(Phase::Forward);
  times.mark(Phase::Backward);
  times.wait_for_end_of(Phase::Forward);
  EXPECT_TRUE(times.spans().empty());
}

}  // namespace
}  // namespace pixelbert::train

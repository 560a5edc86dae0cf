// DeviceCopies on a simulated GPU: streams that do not wait for each other are seen.
#include "train/device_copies.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "data/image_stack.h"
#include "tests/images/encode.h"
#include "tests/simulated_cuda/runtime.h"

namespace pixelbert::train {
namespace {

using namespace std::chrono_literals;

const at::Device kGpu(at::kCUDA, 0);
constexpr std::int64_t kSide = 64;

void slow_kernel(const c10::cuda::CUDAStream& stream) {
  simulated_launch(stream, [] { std::this_thread::sleep_for(20ms); });
}

// Micro-batches of a step, of images whose pixels are all `10 * (i + 1)`.
std::vector<data::Batch> pinned_batches(std::int64_t count, std::int64_t step = 0) {
  std::vector<data::Batch> batches;
  for (std::int64_t i = 0; i < count; ++i) {
    data::Batch batch;
    batch.at = {0, step};
    batch.micro_batch.index = i;
    batch.images = at::full({2, 3, kSide, kSide}, 10 * (i + 1), at::kByte).contiguous(at::MemoryFormat::ChannelsLast);
    batch.image_sizes = at::full({2, 2}, kSide, at::kLong);
    batch.tokens = at::full({2, 7}, i, at::kLong);
    batches.push_back(batch.pinned());
  }
  return batches;
}

void expect_batch(const data::Batch& batch, const data::Batch& made) {
  EXPECT_TRUE(batch.images.is_cuda());
  EXPECT_TRUE(batch.images.cpu().allclose(made.to(at::kCPU).images, 1e-4, 1e-5)) << "batch " << made.tokens[0][0];
  EXPECT_TRUE(batch.tokens.cpu().equal(made.tokens));
}

TEST(DeviceCopies, TheModelWaitsForTheCopy) {
  const std::vector<data::Batch> batches = pinned_batches(3);
  DeviceCopies copies(kGpu);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    for (int stream = 0; stream < 32; ++stream) slow_kernel(c10::cuda::getStreamFromPool());  // all of the pool
    expect_batch(copies.take(batches, i), batches[i]);
  }
}

TEST(DeviceCopies, ACopyDoesNotOverwriteWhatTheModelHasNotRead) {
  const std::vector<data::Batch> batches = pinned_batches(4);
  DeviceCopies copies(kGpu);
  std::vector<data::Batch> taken;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    slow_kernel(c10::cuda::getCurrentCUDAStream());  // the model is behind, and its pixels are released here
    taken.push_back(copies.take(batches, i));
  }
  for (std::size_t i = 0; i < batches.size(); ++i) expect_batch(taken[i], batches[i]);
}

TEST(DeviceCopies, BeginsAnewWithTheFirstOfAList) {
  DeviceCopies copies(kGpu);
  const std::vector<data::Batch> first = pinned_batches(3), second = pinned_batches(2, 1);
  expect_batch(copies.take(first, 0), first[0]);  // then a step that is given up
  for (std::size_t i = 0; i < second.size(); ++i) expect_batch(copies.take(second, i), second[i]);
}

TEST(DeviceCopies, TheNextStepBeginsWithWhatIsThere) {
  DeviceCopies copies(kGpu);
  const std::vector<data::Batch> first = pinned_batches(1), second = pinned_batches(2, 1), twin = pinned_batches(2, 1);
  expect_batch(copies.take(first, 0), first[0]);
  copies.start(second[0]);
  twin[0].tokens.fill_(-1);  // so that another copy would be seen
  expect_batch(copies.take(twin, 0), second[0]);
  expect_batch(copies.take(twin, 1), twin[1]);
}

TEST(DeviceCopies, TheNextMicroBatchIsCopiedWhileOneIsComputed) {
  DeviceCopies copies(kGpu);
  const std::vector<data::Batch> first = pinned_batches(2), twin = pinned_batches(2);
  expect_batch(copies.take(first, 0), first[0]);
  twin[1].tokens.fill_(-1);  // so that a later copy would be seen
  expect_batch(copies.take(twin, 1), first[1]);
}

TEST(DeviceCopies, ACopyDoesNotWaitForTheModel) {
  DeviceCopies copies(kGpu);
  const std::vector<data::Batch> step = pinned_batches(1), made = pinned_batches(1);
  std::atomic<bool> end = false;  // of the model
  simulated_launch(c10::cuda::getCurrentCUDAStream(), [&] {
    while (!end) std::this_thread::sleep_for(1ms);
  });
  copies.start(step[0]);
  std::this_thread::sleep_for(500ms);
  step[0].tokens.fill_(-1);  // a copy behind the model would see it
  end = true;
  expect_batch(copies.take(step, 0), made[0]);
}

TEST(DeviceCopies, ARepeatedStepHasItsOwnBatches) {
  DeviceCopies copies(kGpu);
  const std::vector<data::Batch> step = pinned_batches(2), next = pinned_batches(2, 1);
  copies.start(next[0]);
  for (std::size_t i = 0; i < step.size(); ++i) expect_batch(copies.take(step, i), step[i]);
  for (std::size_t i = 0; i < next.size(); ++i) expect_batch(copies.take(next, i), next[i]);
}

TEST(ImageStack, IsPinnedForAGpuAlsoWhenItHadToGrow) {
  for (const bool room : {true, false}) {
    data::ImageStack stack({.short_side = 24, .long_side = 40}, room ? 2 : 0, {24, 32}, kGpu);
    for (std::int64_t i = 0; i < 2; ++i) stack.push({0, i}, test::png(test::gradient(24, 32, 3), 24, 32));
    data::Batch batch;
    batch.images = stack.take().first;
    EXPECT_TRUE(batch.images.is_pinned());
    EXPECT_EQ(batch.pinned().images.data_ptr(), batch.images.data_ptr());
  }
}

TEST(DeviceCopies, CopiesNothingOnACpu) {
  const std::vector<data::Batch> batches = pinned_batches(2);
  DeviceCopies copies(at::kCPU);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const data::Batch batch = copies.take(batches, i);
    EXPECT_TRUE(batch.images.is_cpu());
    EXPECT_EQ(batch.tokens.data_ptr(), batches[i].tokens.data_ptr());
  }
}

}  // namespace
}  // namespace pixelbert::train

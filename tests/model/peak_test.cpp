#include "model/peak.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace pixelbert::model {
namespace {

TEST(Peak, IsARateThatAProcessorCanHaveAndDrawsNoRandomNumbers) {
  at::manual_seed(7);
  const torch::Tensor expected = at::rand({4});
  for (const Precision precision : {Precision::Float32, Precision::Bf16}) {
    at::manual_seed(7);
    const double rate = measure_peak(at::kCPU, precision, 0.01);
    EXPECT_TRUE(at::rand({4}).equal(expected));
    EXPECT_GT(rate, 1e6);
    EXPECT_LT(rate, 1e15);
  }
}

TEST(Peak, IsReadable) {
  EXPECT_EQ(readable_peak(71.24e9, 75e9), "71.2 to 75.0 GFLOP/s");
  EXPECT_EQ(readable_peak(71.24e9, 71.2e9), "71.2 GFLOP/s");
  EXPECT_EQ(readable_peak(790.04e12, 790e12), "790.0 TFLOP/s");
  EXPECT_EQ(readable_peak(0.9e12, 1.1e12), "0.9 to 1.1 TFLOP/s");
}

}  // namespace
}  // namespace pixelbert::model

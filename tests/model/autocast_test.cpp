#include "model/autocast.h"

#include <gtest/gtest.h>

namespace pixelbert::model {
namespace {

TEST(Available, IsFloat32OnlyOnACpuWithoutAvx512) {
  EXPECT_EQ(available(Precision::Float32, torch::kCPU), Precision::Float32);
  EXPECT_EQ(available(Precision::Bf16, torch::kCUDA), Precision::Bf16);
  EXPECT_EQ(available(Precision::Bf16, torch::kCPU) == Precision::Bf16, __builtin_cpu_supports("avx512bw") != 0);
}

}  // namespace
}  // namespace pixelbert::model

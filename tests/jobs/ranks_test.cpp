#include "jobs/ranks.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace pixelbert::jobs {
namespace {

TEST(ChooseKernels, TakesNoAttentionOfCudnnAndNoTf32) {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(true);  // as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 does
  choose_kernels({});
  EXPECT_FALSE(context.userEnabledCuDNNSDP());
  EXPECT_TRUE(context.userEnabledMemEfficientSDP());
  EXPECT_FALSE(context.allowTF32CuDNN());
  EXPECT_FALSE(context.allowTF32CuBLAS());
  EXPECT_FALSE(context.deterministicAlgorithms());
}

TEST(ChooseKernels, ThrowsWhereAnOperatorHasNoDeterministicAlgorithm) {
  ::unsetenv("CUBLAS_WORKSPACE_CONFIG");
  choose_kernels({.deterministic_algorithms = true});
  at::Context& context = at::globalContext();
  EXPECT_TRUE(context.deterministicCuDNN());
  EXPECT_TRUE(context.deterministicAlgorithms());
  EXPECT_FALSE(context.deterministicAlgorithmsWarnOnly());
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
  context.setDeterministicAlgorithms(false, false);
  context.setDeterministicCuDNN(false);
}

}  // namespace
}  // namespace pixelbert::jobs

#include "comm/solo_communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace pixelbert::comm {
namespace {

TEST(SoloCommunicator, IsRankZeroOfOne) {
  const SoloCommunicator alone;
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.world_size(), 1);
}

TEST(SoloCommunicator, LeavesEveryTensorAsItIs) {
  SoloCommunicator alone;
  const at::Tensor tensor = at::arange(5, at::kFloat);
  for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max}) alone.all_reduce(tensor, op)->wait();
  alone.broadcast(tensor, 0);
  alone.barrier();
  EXPECT_TRUE(at::equal(tensor, at::arange(5, at::kFloat)));
}

}  // namespace
}  // namespace pixelbert::comm

#include "data/picture_memory.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "core/rng.h"

namespace pixelbert::data {
namespace {

TEST(PictureMemory, GivesChannelsLastTensorsOfTheAskedShape) {
  PictureMemory memory;
  for (const auto& [count, height, width] : {std::tuple{1, 1, 1}, {3, 17, 5}, {1, 40, 2}, {2, 1, 9}}) {
    const torch::Tensor pictures = memory.take(count, height, width);
    EXPECT_EQ(pictures.sizes(), (std::vector<std::int64_t>{count, 3, height, width}));
    EXPECT_EQ(pictures.scalar_type(), torch::kFloat);
    EXPECT_TRUE(pictures.is_contiguous(torch::MemoryFormat::ChannelsLast));
  }
}

TEST(PictureMemory, TensorsInUseNeverShareMemory) {
  PictureMemory memory;
  Random random(1);
  std::vector<torch::Tensor> in_use;
  for (int round = 0; round < 500; ++round) {
    const auto side = static_cast<std::int64_t>(1 + random.below(20));
    in_use.push_back(memory.take(2, side, 3).fill_(round));
    if (random.below(3) > 0) in_use.erase(in_use.begin() + static_cast<std::ptrdiff_t>(random.below(in_use.size())));
    for (const torch::Tensor& tensor : in_use) {
      ASSERT_EQ(tensor.min().item<float>(), tensor.max().item<float>());
    }
  }
}

TEST(PictureMemory, UsesNoMoreBlocksThanTensorsWereInUseOnceTheyAreLargeEnough) {
  PictureMemory memory;
  {
    const torch::Tensor a = memory.take(1, 64, 64), b = memory.take(1, 64, 64);
  }
  std::set<void*> blocks;
  Random random(2);
  torch::Tensor previous;
  for (int round = 0; round < 200; ++round) {
    const auto side = [&] { return static_cast<std::int64_t>(1 + random.below(64)); };
    const torch::Tensor now = memory.take(1, side(), side());
    blocks.insert(now.data_ptr());
    previous = now;
  }
  EXPECT_LE(blocks.size(), 2u);
}

TEST(PictureMemory, ALargerBlockReplacesOneThatIsTooSmall) {
  PictureMemory memory;
  (void)memory.take(1, 8, 8);
  const void* large = memory.take(1, 64, 64).data_ptr();
  EXPECT_EQ(memory.take(1, 8, 8).data_ptr(), large);  // the small block is gone
}

TEST(PictureMemory, ATensorMayOutliveIt) {
  torch::Tensor kept;
  {
    PictureMemory memory;
    kept = memory.take(1, 8, 8).fill_(7);
  }
  EXPECT_EQ(kept.sum().item<float>(), 7 * 3 * 8 * 8);
}

}  // namespace
}  // namespace pixelbert::data

#include "train/save_plan.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace pixelbert::train {
namespace {

// Cuts the elements of a tensor among some of the ranks, in any order.
std::vector<Holding> cut(std::int64_t elements, int ranks, std::mt19937& random) {
  std::vector<int> order;
  for (int rank = 0; rank < ranks; ++rank) order.push_back(rank);
  std::ranges::shuffle(order, random);
  std::vector<Holding> holdings;
  std::int64_t begin = 0;
  for (const int rank : order) {
    const std::int64_t end =
        rank == order.back() ? elements : begin + static_cast<std::int64_t>(random() % (elements - begin + 1));
    if (end > begin) holdings.push_back({.rank = rank, .elements = {.begin = begin, .end = end}});
    begin = end;
  }
  return holdings;
}

TEST(SavePlan, WritesEveryByteOnceWhateverIsHeldWhere) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 6);
    std::vector<int> writers = {0};
    for (int rank = 1; rank < ranks; ++rank) {
      if (random() % 2 == 0) writers.push_back(rank);
    }
    HeldTensors tensors;
    for (int i = 0; i < 8; ++i) {
      const auto size = [&] { return 1 + static_cast<std::int64_t>(random() % 12); };
      at::Tensor values = at::arange(size() * 1).view({-1});
      if (i % 4 == 1) values = at::arange(size() * 30).view({-1, 30});
      if (i % 4 == 2)
        values = at::arange(size() * 4 * 9).view({-1, 4, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast);
      if (i % 4 == 3) values = at::arange(size() * 5).view({-1, 5}).t();  // the first dimension is not the outer one
      HeldTensor& tensor = tensors["tensor " + std::to_string(i)];
      tensor = {.like = values, .own = values, .holdings = {}};
      if (random() % 3 != 0) tensor.holdings = cut(values.numel(), ranks, random);
    }
    const SavePlan plan = plan_save(tensors, writers, 64 + static_cast<std::int64_t>(random() % 512));
    std::string file = plan.layout.head;
    for (const Block& block : plan.blocks) {
      ASSERT_EQ(block.begin, std::ssize(file));
      EXPECT_TRUE(std::ranges::find(writers, block.writer) != writers.end());
      const Holding* const first = [&]() -> const Holding* {
        for (const Holding& holding : block.tensor->holdings) {
          if (block.elements.begin >= holding.elements.begin && block.elements.begin < holding.elements.end) {
            return &holding;
          }
        }
        return nullptr;
      }();
      if (first && std::ranges::find(writers, first->rank) != writers.end()) {
        EXPECT_EQ(block.writer, first->rank);
      }
      const at::Tensor memory = block.tensor->own.as_strided({block.tensor->own.numel()}, {1});
      const at::Tensor values = in_file_order(block, memory.slice(0, block.elements.begin, block.elements.end));
      file.append(static_cast<const char*>(values.const_data_ptr()), values.nbytes());
    }
    ASSERT_EQ(plan.layout.bytes, std::ssize(file));
    for (const checkpoint::TensorInfo& info : plan.layout.tensors) {
      const at::Tensor expected = tensors.at(info.name).own.contiguous();
      ASSERT_EQ(file.compare(static_cast<std::size_t>(info.begin), expected.nbytes(),
                             std::string(static_cast<const char*>(expected.const_data_ptr()), expected.nbytes())),
                0)
          << info.name;
    }
  }
}

TEST(SavePlan, DividesWhatEveryRankHasEvenly) {
  HeldTensors tensors;
  for (int i = 0; i < 5; ++i) {
    const at::Tensor values = at::zeros({100'000 * (i + 1)});
    tensors[std::to_string(i)] = {.like = values, .own = values, .holdings = {}};
  }
  const SavePlan plan = plan_save(tensors, {0, 2, 5}, 4096);
  std::map<int, std::int64_t> elements;
  for (const Block& block : plan.blocks) elements[block.writer] += block.elements.size();
  ASSERT_EQ(elements.size(), 3u);
  for (const auto& [writer, written] : elements) EXPECT_NEAR(static_cast<double>(written), 500'000, 2000) << writer;
}

}  // namespace
}  // namespace pixelbert::train

#include "data/picture_memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace pixelbert::data {

struct PictureMemory::Free {
  std::mutex mutex;
  std::vector<torch::Tensor> blocks;  // flat, smallest first
};

PictureMemory::PictureMemory() : free_(std::make_shared<Free>()) {}

torch::Tensor PictureMemory::take(std::int64_t count, std::int64_t height, std::int64_t width) {
  const std::int64_t needed = count * 3 * height * width;
  const auto smaller = [](const torch::Tensor& block, std::int64_t size) { return block.numel() < size; };
  torch::Tensor block;
  {
    const std::lock_guard guard(free_->mutex);
    auto& blocks = free_->blocks;
    if (const auto fits = std::lower_bound(blocks.begin(), blocks.end(), needed, smaller); fits != blocks.end()) {
      block = std::move(*fits);
      blocks.erase(fits);
    } else if (!blocks.empty()) {
      blocks.pop_back();  // a larger one takes its place
    }
  }
  if (!block.defined()) block = at::empty({needed}, at::kFloat);

  const auto give_back = [free = free_, block, smaller](void*) {
    const std::lock_guard guard(free->mutex);
    auto& blocks = free->blocks;
    blocks.insert(std::lower_bound(blocks.begin(), blocks.end(), block.numel(), smaller), block);
  };
  return at::from_blob(block.data_ptr(), {count, 3, height, width}, {3 * height * width, 1, 3 * width, 3}, give_back,
                       at::kFloat);
}

}  // namespace pixelbert::data

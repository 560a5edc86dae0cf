#include "train/save_plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "checkpoint/manifest.h"
#include "core/check.h"

namespace pixelbert::train {
namespace {

// The fewest elements that can be cut off and are contiguous in memory and in the file.
std::int64_t row_of(const torch::Tensor& shape) {
  if (shape.is_contiguous()) return 1;
  const std::int64_t row = shape.numel() / std::max<std::int64_t>(shape.size(0), 1);
  return shape.stride(0) == row ? row : shape.numel();
}

// A rank of another host sends what it holds to a rank that writes.
int writer_for(int rank, const std::vector<int>& writers) {
  if (std::ranges::find(writers, rank) != writers.end()) return rank;
  return writers[static_cast<std::size_t>(rank) % writers.size()];
}

}  // namespace

HeldTensors held_by_all(const checkpoint::NamedTensors& tensors) {
  HeldTensors held;
  for (const auto& [name, tensor] : tensors) held[name] = {.like = tensor, .own = tensor, .holdings = {}};
  return held;
}

SavePlan plan_save(const HeldTensors& tensors, const std::vector<int>& writers, std::int64_t most_bytes) {
  checkpoint::NamedTensors saved;
  for (const auto& [name, tensor] : tensors) saved[name] = tensor.like;
  SavePlan plan{.layout = checkpoint::layout_safetensors(saved, checkpoint::kTensorMetadata), .blocks = {}};
  const std::int64_t head = std::ssize(plan.layout.head), data = std::max<std::int64_t>(plan.layout.bytes - head, 1);

  for (const checkpoint::TensorInfo& info : plan.layout.tensors) {
    const HeldTensor& tensor = tensors.at(info.name);
    PB_CHECK(tensor.like.is_non_overlapping_and_dense(), "cannot save '{}': it has gaps in memory, strides [{}]",
             info.name, fmt::join(tensor.like.strides(), ", "));
    const std::int64_t row = std::max<std::int64_t>(row_of(tensor.like), 1), item = tensor.like.element_size();
    const std::int64_t most = std::max<std::int64_t>(most_bytes / (row * item), 1);
    const auto add = [&](comm::Range rows, auto&& writer_of) {
      for (std::int64_t first = rows.begin; first < rows.end; first += most) {
        const comm::Range elements = {.begin = first * row, .end = std::min(first + most, rows.end) * row};
        const std::int64_t begin = info.begin + elements.begin * item;
        plan.blocks.push_back(
            {.name = info.name, .tensor = &tensor, .elements = elements, .begin = begin, .writer = writer_of(begin)});
      }
    };
    if (tensor.holdings.empty()) {
      const std::int64_t share = std::ssize(writers);
      add({.begin = 0, .end = tensor.like.numel() / row},
          [&](std::int64_t begin) { return writers[static_cast<std::size_t>((begin - head) * share / data)]; });
    }
    for (const Holding& holding : tensor.holdings) {  // a row that several ranks share goes to the first
      const auto row_after = [&](std::int64_t element) { return (element + row - 1) / row; };
      add({.begin = row_after(holding.elements.begin), .end = row_after(holding.elements.end)},
          [&](std::int64_t) { return writer_for(holding.rank, writers); });
    }
  }
  return plan;
}

torch::Tensor in_file_order(const Block& block, const torch::Tensor& values) {
  const torch::Tensor& like = block.tensor->like;
  if (like.is_contiguous()) return values;
  std::vector<std::int64_t> sizes = like.sizes().vec();
  sizes[0] = sizes[0] * block.elements.size() / like.numel();
  return values.as_strided(sizes, like.strides()).contiguous();
}

}  // namespace pixelbert::train

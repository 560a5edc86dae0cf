// Which rank writes which bytes of a tensors' file, and from whose memory they come. Every rank makes the same plan.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "comm/rank_layout.h"

namespace pixelbert::train {

// Elements that one rank holds, in the memory order of the tensor.
struct Holding {
  int rank = 0;
  comm::Range elements;
};

struct HeldTensor {
  torch::Tensor like;             // has the type, the sizes and the strides, without gaps; its values are not read
  torch::Tensor own;              // this rank's elements; undefined if it has none
  std::vector<Holding> holdings;  // of all elements, by their begin; empty: every rank has the whole tensor
};
using HeldTensors = std::map<std::string, HeldTensor>;

// Returns tensors that every rank has.
HeldTensors held_by_all(const checkpoint::NamedTensors& tensors);

// Elements that follow each other both in memory and in the file (if its order is another: whole rows of the first
// dimension, which are put into the file's order together).
struct Block {
  std::string name;
  const HeldTensor* tensor = nullptr;
  comm::Range elements;
  std::int64_t begin = 0;  // byte in the file
  int writer = 0;
};

// A file's layout, and its blocks in the order of the file. The tensors must outlive it.
struct SavePlan {
  checkpoint::Layout layout;
  std::vector<Block> blocks;
};

// `writers` are the ranks that may write. What one of them holds, it writes itself; the rest is divided among them. A
// block has at most `most_bytes`, but at least a row.
SavePlan plan_save(const HeldTensors& tensors, const std::vector<int>& writers, std::int64_t most_bytes);

// Returns a block's values, which are in the order of memory, in that of the file.
torch::Tensor in_file_order(const Block& block, const torch::Tensor& values);

}  // namespace pixelbert::train

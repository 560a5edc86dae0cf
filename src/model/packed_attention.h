// Attention over samples that lie one after another in memory, without padding between them. For float32 on the CPU,
// where work on padding costs as much as work on tokens.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace pixelbert::model {

// The rows of a padded batch [B, S] that hold tokens, sample by sample.
struct Packing {
  torch::Tensor rows;                 // [N] int64 into [B * S], ascending
  std::vector<std::int64_t> offsets;  // [B + 1]: sample b has the packed rows from offsets[b] up to offsets[b + 1]
};
Packing pack(const torch::Tensor& mask);  // [B, S] bool on the CPU, true where there is a token

// Returns the packed rows of those tokens that `wanted` packs: the first ones of each sample that `all` packs.
torch::Tensor first_rows(const Packing& all, const Packing& wanted);

// Returns softmax(Q K^T / sqrt(C / heads)) V of each sample and head, [M, C]: `query` [M, C] has the rows of `wanted`,
// `key` and `value` [N, C] have those of `all`. A sample attends to its own rows. `dropout` is the share of weights
// that are set to zero.
torch::Tensor packed_attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                               std::int64_t heads, const Packing& all, const Packing& wanted, double dropout);

}  // namespace pixelbert::model

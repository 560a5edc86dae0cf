// Samples that lie one after another in memory, without padding between them, and attention over them. For the CPU,
// where work on padding costs as much as work on tokens.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace pixelbert::model {

// Some of the rows of a tensor [of, C].
struct Rows {
  torch::Tensor index;     // [N] int64, ascending, each once
  std::int64_t of = 0;     // rows to choose from
  std::int64_t count = 0;  // N or more; the rows after N are zeros
};
torch::Tensor take(const torch::Tensor& x, const Rows& rows);  // [of, C] -> [count, C]
torch::Tensor put(const torch::Tensor& x, const Rows& rows);   // [count, C] -> [of, C], zeros elsewhere

// The rows of a padded batch [B, S] that hold tokens, sample by sample.
struct Packing {
  torch::Tensor mask;                 // [B, S] bool on the CPU, true where there is a token
  Rows rows;                          // of the B * S
  std::vector<std::int64_t> offsets;  // [B + 1]: sample b has the packed rows from offsets[b] up to offsets[b + 1]
};

// Adds rows of zeros until their number is a multiple of `multiple`.
Packing pack(const torch::Tensor& mask, std::int64_t multiple = 1);

// Returns the packed rows of those tokens that `wanted` packs: the first ones of each sample that `all` packs.
Rows first_rows(const Packing& all, const Packing& wanted);

// Returns softmax(Q K^T / sqrt(C / heads)) V of each sample and head, [M, C]: `query` [M, C] has the rows of `wanted`,
// `key` and `value` [N, C] have those of `all`. A sample attends to its own rows. `dropout` is the share of weights
// that are set to zero.
torch::Tensor packed_attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                               std::int64_t heads, const Packing& all, const Packing& wanted, double dropout);

}  // namespace pixelbert::model

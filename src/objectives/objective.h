// Losses of a batch. An objective runs the model, because pre-training needs one encoding of a sample, NLVR2 two, and
// retrieval many; its heads are modules inside it, under their names in model.safetensors.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/pixel_bert.h"

namespace pixelbert::objectives {

// A term is a sum, not a mean: its count is added over all ranks before backward, so that the quotient is exact however
// the batch is cut.
struct LossTerm {
  torch::Tensor sum;      // [] float32 on the batch's device
  torch::Tensor correct;  // [] float32, how many were right
};

class Objective : public torch::nn::Module {
 public:
  // The names of the terms, in the order of everything below; the same on every rank.
  virtual const std::vector<std::string>& terms() const = 0;

  // Computed from the batch alone, before any forward pass.
  virtual std::vector<std::int64_t> counts(const data::Batch& batch) const = 0;

  // In float32 whatever the precision of the model. All parameters take part in every backward.
  virtual std::vector<LossTerm> losses(model::PixelBert& model, const data::Batch& batch) = 0;

  // The hidden vectors that its heads read.
  virtual model::Wanted wanted() const { return model::Wanted::Pair; }

  // Floating-point operations of losses() and its backward.
  virtual double flops(const model::PixelBertConfig& config, const data::Batch& batch) const;
};

// What training changes, by its names in the checkpoint and in the order of the buckets: first the CNN's, then the
// rest.
struct Trained {
  std::vector<std::string> names;
  std::vector<torch::Tensor> parameters;
  std::int64_t of_backbone = 0;
};
Trained trained(const model::PixelBert& model, const Objective& objective);

model::Inputs inputs_of(const data::Batch& batch, model::Wanted wanted = model::Wanted::All);

}  // namespace pixelbert::objectives

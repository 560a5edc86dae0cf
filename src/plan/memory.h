// The peak memory of a rank, and the size of a checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "optim/optim_config.h"
#include "plan/activations.h"

namespace pixelbert::plan {

struct ModelSize {
  std::int64_t weights = 0;  // numbers in model.safetensors: parameters and the statistics of BatchNorm
  std::int64_t trained = 0;  // those with a gradient
  std::int64_t state = 0;    // numbers in optimizer.safetensors
};
ModelSize size_of(const model::PixelBert& model, const objectives::Objective& objective,
                  const optim::OptimConfig& config);

double checkpoint_bytes(const ModelSize& size);

// What a rank keeps of a step, and what its loader prepares.
struct Load {
  std::int64_t ranks = 1;          // of the job; each has its part of the optimizer's state
  std::int64_t micro_batches = 0;  // of the step on this rank, kept until its end
  std::int64_t gradients = 1;      // sums of gradients that are kept apart (comm/sum_tree.h)
  std::int64_t queue = 0;
  bool sizes_vary = false;
};

struct Part {
  std::string name;
  double bytes = 0;
};
struct Memory {
  std::vector<Part> host;
  std::vector<Part> device;  // of the GPU; empty without one
};
double total(const std::vector<Part>& parts);

Memory memory_of_rank(const ModelSize& size, const Activations& activations, const BatchShape& shape, const Load& load,
                      const Compute& compute);

}  // namespace pixelbert::plan

// Estimates the micro-batches of a run by making some of them.
#pragma once

#include <cstdint>

#include "data/batch_maker.h"
#include "data/sample_stream.h"
#include "model/pixel_bert_config.h"
#include "objectives/objective.h"
#include "plan/activations.h"

namespace pixelbert::plan {

// How a step is divided among ranks.
struct Cut {
  std::int64_t micro_batches = 0;    // of the step
  std::int64_t least = 0, most = 0;  // on a rank
  std::int64_t idle = 0;             // ranks without any
  std::int64_t most_pairs = 0;       // on a rank
  std::int64_t gradients = 0;        // sums that a rank keeps apart at once, at most (comm/sum_tree.h)
};
Cut cut(std::int64_t pairs_in_step, std::int64_t micro_batch, std::int64_t ranks);

struct Workload {
  BatchShape largest;
  bool sizes_vary = false;    // of the padded images
  double flops_per_pair = 0;  // forward and backward, mean
};

// Makes `samples` micro-batches of the first section of the run, evenly spread from the least to the most pixels, and
// for `largest` the one with most.
Workload sample_workload(const data::BatchMaker& maker, const objectives::Objective& objective,
                         const model::PixelBertConfig& model, std::int64_t samples);

}  // namespace pixelbert::plan

// The work of a run: its micro-batches, of which some are made to learn what they cost, and its gradients.
#pragma once

#include <cstdint>
#include <vector>

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
  std::int64_t gradients = 0;        // sums that a rank keeps apart at once, at most (comm/sum_tree.h)
};
Cut cut(std::int64_t pairs_in_step, std::int64_t micro_batch, std::int64_t ranks);

// Flops of forward and backward.
struct Cost {
  double per_pixel = 0;  // of the padded images
  double per_pair = 0;
};
struct Sampled {
  double pixels = 0, pairs = 0, flops = 0;  // of a micro-batch
};
// Returns the cost that fits best. Only pairs count where all images have one size.
Cost fit(const std::vector<Sampled>& samples);

struct Workload {
  BatchShape largest;
  bool sizes_vary = false;  // of the padded images
  Cost cost;
};

// Makes `samples` micro-batches of the first section of the run, evenly spread from the least to the most pixels, and
// for `largest` the one with most.
Workload sample_workload(const data::BatchMaker& maker, const objectives::Objective& objective,
                         const model::PixelBertConfig& model, std::int64_t samples);

struct MicroBatchWork {
  double flops = 0;
  double images = 0;
};

// All that decides how long a step takes on given machines.
struct RunWork {
  std::vector<std::vector<MicroBatchWork>> steps;  // of some steps: each micro-batch, in the order of the step
  double pairs = 0;                                // of a step, over all ranks
  std::vector<double> buckets = {};                // of gradients: bytes, in the order in which they are reduced
  double weights = 0;                              // that are trained
  double checkpoint_bytes = 0;
  double steps_between_saves = 0;    // 0: not by steps
  double seconds_between_saves = 0;  // 0: not by time
};

// Returns the micro-batches of a section's steps, from the beginning of the run.
std::vector<std::vector<MicroBatchWork>> work_of_steps(const data::SampleStream& stream,
                                                       const images::ImageConfig& image, const Cost& cost);

}  // namespace pixelbert::plan

// One pass over a data set, divided among the ranks.
#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "data/batch_loader.h"
#include "data/sample_stream.h"
#include "model/autocast.h"

namespace pixelbert::evaluation {

using Metrics = std::map<std::string, double>;

// Rank r makes steps r, r + world size, r + 2 world sizes, ... of epoch 0, so that a score that is put together in the
// order of the steps is the same for any number of ranks.
struct Pass {
  const data::SampleStream& stream;  // one micro-batch per step
  data::BatchLoader& loader;         // at this rank's first step
  data::Position first;
  comm::Communicator& control;
  torch::Device device;
  model::Precision precision;
};

// Calls use(batch) with each of this rank's micro-batches, on the host, and without gradients. Throws Error when a
// sample could not be read: scores must cover exactly the samples they claim to cover. Throws StopRequested at a
// signal.
void for_each_batch(const Pass& pass, const std::function<void(const data::Batch&)>& use);

}  // namespace pixelbert::evaluation

// Losses and accuracies of an objective over a data set: what pre-training is evaluated by.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "data/batch_loader.h"
#include "data/sample_stream.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"

namespace pixelbert::evaluation {

// One pass over a stream, shared out over the ranks.
struct Pass {
  const data::SampleStream& stream;
  data::BatchLoader& loader;  // at the beginning of epoch 0
  std::int64_t micro_batch;
  comm::Communicator& control;
  torch::Device device;
  bool bf16;
};

using Metrics = std::map<std::string, double>;

// Collective; the same on every rank and at any number of them. "mlm_loss", "mlm_accuracy", "itm_loss", ...
Metrics mean_losses(objectives::Objective& objective, model::PixelBert& model, const Pass& pass);

}  // namespace pixelbert::evaluation

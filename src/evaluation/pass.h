// A model with the data that it is evaluated on, and one pass over it, divided among the ranks.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "comm/communicator.h"
#include "data/batch_loader.h"
#include "data/data_sets.h"
#include "data/draft.h"
#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "model/autocast.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "text/text_config.h"
#include "text/wordpiece.h"

namespace pixelbert::evaluation {

using Metrics = std::map<std::string, double>;

struct Scores {
  Metrics metrics;
  std::int64_t samples;  // texts that were scored
};

struct Evaluation {
  const data::DataSets& data;
  const text::WordPiece& tokenizer;
  model::PixelBert& model;
  objectives::Objective& objective;
  std::string checkpoint = {};   // the path of their weights
  std::string predictions = {};  // the file for what is predicted; empty: none
  images::ImageConfig image = {};
  text::TextConfig text = {};
  std::int64_t micro_batch = 1;  // samples per forward pass
  std::int64_t threads = 1;      // that read and decode
  bool blank_images = false;
  model::Precision precision = model::Precision::Float32;
  comm::Communicator& control;
  torch::Device device = torch::kCPU;

  bool writes() const { return control.rank() == 0 && !predictions.empty(); }
};

std::int64_t texts_of(const data::DataSets& data);

// Rank r makes steps r, r + world size, r + 2 world sizes, ... of epoch 0, so that a score that is put together in the
// order of the steps is the same for any number of ranks.
class Pass {
 public:
  Pass(const Evaluation& evaluation, const data::RowMaker& row_maker);  // which must outlive the pass

  std::int64_t steps() const { return stream_.steps_per_epoch(); }  // of one micro-batch, on all ranks together

  // Calls use(batch) with each of this rank's micro-batches, on the host, and without gradients. Call it once. Throws
  // Error when a sample could not be read: scores must cover exactly the samples they claim to cover. Throws
  // StopRequested at a signal.
  void for_each_batch(const std::function<void(const data::Batch&)>& use);

 private:
  const Evaluation& evaluation_;
  data::SampleStream stream_;
  data::Steps steps_;
  data::BatchMaker maker_;
  data::BatchLoader loader_;
};

}  // namespace pixelbert::evaluation

// Brings micro-batches to a GPU, on a stream of its own: each while the one before it is computed. On a CPU nothing is
// copied.
#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "data/batch.h"

namespace pixelbert::train {

class DeviceCopies {
 public:
  explicit DeviceCopies(torch::Device device);

  // Starts to copy a batch that the next step will take first. If take() is asked for another one, it copies that.
  void start(const data::Batch& batch);

  // Returns batch i, ready for the model on the current stream (Batch::to), and starts to copy the one after it. Called
  // with 0, 1, 2 ... of the micro-batches of a step. The copies do not block the host if the batches are pinned.
  data::Batch take(const std::vector<data::Batch>& batches, std::size_t i);

 private:
  torch::Device device_;
  std::optional<c10::Stream> stream_;  // of a GPU
  std::optional<c10::Event> copied_;
  std::optional<data::Batch> next_;
};

}  // namespace pixelbert::train

// What one optimizer step reports, as plain data.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/activity.h"

namespace pixelbert::metrics {

using activity::Phase;
constexpr std::size_t kStepPhases = activity::kPhases - 1;  // all but Start, the last
using PhaseSeconds = std::array<double, kStepPhases>;

struct StepStats {
  std::int64_t step = 0;  // optimizer steps since the start of training, this one included
  std::int64_t epoch = 0;
  std::int64_t samples = 0;                 // pairs over all ranks since the start of training
  std::int64_t step_samples = 0;            // pairs of this step over all ranks
  double loss = 0;                          // sum of the terms
  std::map<std::string, double> term_loss;  // "mlm", "itm": mean over the global batch
  std::map<std::string, double> term_accuracy;
  std::map<std::string, double> learning_rate;  // by group
  double gradient_norm = 0;                     // before clipping; NaN also if a loss is not finite
  double seconds = 0;                           // the whole step
  PhaseSeconds phase_seconds{};                 // adds up to `seconds`
  std::string skipped;                          // why no update was made; empty when it was
  std::int64_t reduced_bytes = 0;               // this step, this rank
  std::vector<double> bucket_ready;  // after which part of its last backward each bucket was full (plan/replay.h)
  double gather_seconds = 0;         // until this rank had the weights that others updated; 0: no update
  std::int64_t queued_batches = 0;
  std::map<std::string, std::int64_t> bad_samples;  // this step, this rank, by reason
  double flops = 0;                                 // this step, this rank: forward and backward
  double peak_flops_per_second = 0;                 // of this rank's device (model/peak.h); 0: not known
  std::vector<double> checkpoint_seconds;           // of each save that ended in this step
  std::optional<std::int64_t> device_memory_bytes;  // the most that tensors have held on the GPU
};

}  // namespace pixelbert::metrics

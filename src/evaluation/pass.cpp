#include "evaluation/pass.h"

#include <ATen/core/grad_mode.h>

#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/stop_signal.h"
#include "model/autocast.h"

namespace pixelbert::evaluation {
namespace {

void check_samples(const data::Batch& batch) {
  if (batch.bad_samples.empty()) return;
  std::vector<std::string> reasons;
  for (const auto& [reason, count] : batch.bad_samples) reasons.push_back(fmt::format("{} {}", count, reason));
  fail(
      fmt::format("some of the {} samples of micro-batch {} cannot be read ({}), and there are no scores without them: "
                  "'pixelbert inspect' on --data.shards tells what is broken; make those shards again",
                  batch.pairs.size(), batch.at.step, fmt::join(reasons, ", ")));
}

}  // namespace

void for_each_batch(const Pass& pass, const std::function<void(const data::Batch&)>& use) {
  const torch::NoGradGuard no_grad;
  for (data::Position at = pass.first; at.epoch == 0; at = pass.stream.after(at, pass.control.world_size())) {
    activity::doing(activity::Phase::Data, "the loader's batches");
    for (const data::Batch& batch : pass.loader.load(at)) {
      end_when_stop_signalled();
      check_samples(batch);
      activity::doing(activity::Phase::Forward, fmt::format("micro-batch {}", at.step));
      const model::Autocast autocast(pass.device.type(), pass.precision);
      use(batch);
    }
  }
}

}  // namespace pixelbert::evaluation

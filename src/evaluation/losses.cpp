#include "evaluation/losses.h"

#include <algorithm>
#include <vector>

#include "core/activity.h"
#include "core/check.h"
#include "core/stop_signal.h"
#include "train/autocast.h"
#include "train/loss_totals.h"

namespace pixelbert::evaluation {

Metrics mean_losses(objectives::Objective& objective, model::PixelBert& model, const Pass& pass) {
  const torch::NoGradGuard no_grad;
  const std::vector<std::string>& terms = objective.terms();
  std::vector<double> loss(terms.size()), correct(terms.size()), count(terms.size());
  for (data::Position at; at.epoch == 0; at = pass.stream.after(at)) {
    end_when_stop_signalled();
    activity::doing("data", "the loader's batches");
    const std::vector<data::Batch> batches = pass.loader.load(at);
    const std::int64_t pairs = pass.stream.pairs_in_step(at);
    train::LossTotals totals(terms, (pairs + pass.micro_batch - 1) / pass.micro_batch,
                             train::counts_of(objective, batches), pass.control);
    for (const data::Batch& batch : batches) {
      activity::doing("forward", fmt::format("micro-batch {} of step {}", batch.micro_batch.index, at.step));
      const train::Autocast autocast(pass.device.type(), pass.bf16);
      totals.keep(batch.micro_batch.index, objective.losses(model, batch.to(pass.device)));
    }
    activity::waiting("reduce_wait", activity::Wait::Sums, fmt::format("loss sums of step {}", at.step));
    totals.finish();
    for (std::size_t term = 0; term < terms.size(); ++term) {
      loss[term] += totals.sum(term);
      correct[term] += totals.correct(term);
      count[term] += static_cast<double>(totals.count(term));
    }
  }

  Metrics metrics;
  for (std::size_t term = 0; term < terms.size(); ++term) {
    metrics[terms[term] + "_loss"] = loss[term] / std::max(count[term], 1.0);
    metrics[terms[term] + "_accuracy"] = correct[term] / std::max(count[term], 1.0);
  }
  return metrics;
}

}  // namespace pixelbert::evaluation

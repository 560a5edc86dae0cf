#include "evaluation/losses.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::evaluation {

Metrics mean_losses(const Evaluation& evaluation, const data::RowMaker& row_maker) {
  objectives::Objective& objective = evaluation.objective;
  Pass pass(evaluation, row_maker);
  const std::vector<std::string>& terms = objective.terms();
  const auto n = static_cast<std::int64_t>(terms.size());
  // [steps, terms, 3]: loss, correct, count. A row has one owner, the others add zero.
  const torch::Tensor rows = at::zeros({pass.steps(), n, 3}, at::kDouble);
  pass.for_each_batch([&](const data::Batch& batch) {
    const std::vector<std::int64_t> counts = objective.counts(batch);
    const std::vector<objectives::LossTerm> losses = objective.losses(evaluation.model, batch.to(evaluation.device));
    double* row = rows.mutable_data_ptr<double>() + batch.at.step * n * 3;
    for (std::size_t term = 0; term < terms.size(); ++term) {
      const auto sum = losses[term].sum.item<double>();
      PB_CHECK(std::isfinite(sum),
               "the {} loss of micro-batch {} is not finite: the weights are damaged, or too large for this precision",
               terms[term], batch.at.step);
      *row++ = sum;
      *row++ = losses[term].correct.item<double>();
      *row++ = static_cast<double>(counts[term]);
    }
  });
  activity::waiting(activity::Wait::Sums, "all ranks' losses");
  evaluation.control.all_reduce(rows, comm::ReduceOp::Sum)->wait();
  activity::doing(activity::Phase::Other, "the scores");

  Metrics metrics;
  const auto row = rows.accessor<double, 3>();
  for (std::int64_t term = 0; term < n; ++term) {
    double loss = 0, correct = 0, count = 0;
    for (std::int64_t step = 0; step < rows.size(0); ++step) {
      loss += row[step][term][0];
      correct += row[step][term][1];
      count += row[step][term][2];
    }
    const std::string& name = terms[term];
    metrics[name + "_loss"] = loss / std::max(count, 1.0);
    metrics[name + "_accuracy"] = correct / std::max(count, 1.0);
  }
  return metrics;
}

}  // namespace pixelbert::evaluation

#include "evaluation/classes.h"

#include <ATen/ops/zeros.h>

#include "core/activity.h"
#include "core/check.h"

namespace pixelbert::evaluation {

std::vector<torch::Tensor> chosen_classes(const Evaluation& evaluation, const data::RowMaker& row_maker,
                                          const Logits& logits) {
  std::vector<torch::Tensor> chosen;
  for (const auto& set : evaluation.data) chosen.push_back(at::zeros({set->texts()}, at::kLong));
  Pass(evaluation, row_maker).for_each_batch([&](const data::Batch& batch) {
    const model::Inputs inputs = objectives::inputs_of(batch.to(evaluation.device), evaluation.objective.wanted());
    const torch::Tensor scores = logits(evaluation.model->forward(inputs));
    PB_CHECK(scores.isfinite().all().item<bool>(),
             "the scores of micro-batch {} are not finite: the weights are damaged, or too large for this precision",
             batch.at.step);
    const torch::Tensor best = scores.argmax(1).cpu();
    const auto* classes = best.const_data_ptr<std::int64_t>();
    for (const data::Pair& pair : batch.pairs) {
      chosen[pair.data_set].mutable_data_ptr<std::int64_t>()[pair.text] = *classes++;
    }
  });
  // Each text was read by one rank; the others add zero.
  activity::waiting(activity::Wait::Sums, "all ranks' answers");
  for (torch::Tensor& of_set : chosen) evaluation.control.all_reduce(of_set, comm::ReduceOp::Sum)->wait();
  activity::doing(activity::Phase::Other, "the scores");
  return chosen;
}

}  // namespace pixelbert::evaluation

// Natural language for visual reasoning: is a statement true of two images? The model reads each with the text in a
// pass of its own, and the two [CLS] vectors are classified together (paper).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"
#include "tasks/task.h"

namespace pixelbert::tasks {

class Nlvr2Objective : public objectives::Objective {
 public:
  Nlvr2Objective(std::int64_t hidden, double dropout);

  const std::vector<std::string>& terms() const override;                     // "nlvr2"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;  // statements
  std::vector<objectives::LossTerm> losses(model::PixelBert& model,
                                           const data::Batch& batch) override;  // cross-entropy

  torch::Tensor logits(const model::Encoded& encoded);  // rows left, right, left, right, ... -> [N, 2], false and true

 private:
  objectives::ClassHead nlvr2_{nullptr};
};

// Returns "accuracy", and "consistency": the share of sentences that are judged right in all of their statements (the
// official metrics.py). Empty without labels.
evaluation::Metrics nlvr2_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

class Nlvr2Task final : public Task {
 public:
  std::string_view name() const override { return "nlvr2"; }
  std::int64_t images() const override { return 2; }  // left and right

  void add_rows(data::Draft& draft) const override;
  std::shared_ptr<objectives::Objective> objective(const model::PixelBertConfig& model,
                                                   const objectives::HeadConfig& head) const override;
  evaluation::Scores evaluate(const evaluation::Evaluation& evaluation) const override;
  checkpoint::NamedTensors show(const Example& example, std::ostream& out) const override;
};

}  // namespace pixelbert::tasks

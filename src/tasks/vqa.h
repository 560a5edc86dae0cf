// Visual question answering: classification among the answers of a vocabulary (paper).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"
#include "tasks/task.h"

namespace pixelbert::tasks {

class VqaObjective : public objectives::Objective {
 public:
  VqaObjective(std::int64_t hidden, std::int64_t answers, double dropout);

  const std::vector<std::string>& terms() const override;                     // "vqa"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;  // questions

  // Binary cross-entropy with the soft scores, summed over the answers. `correct` sums the scores of the chosen
  // answers.
  std::vector<objectives::LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  torch::Tensor logits(const model::Encoded& encoded);  // [N, answers]

 private:
  objectives::ClassHead vqa_{nullptr};
};

// Returns the official accuracy of the chosen answers (VQA v2: the mean over the nine other annotators), as stored with
// the shards: "vqa_score" and, for each answer type, "vqa_score_yes_no", "vqa_score_number", "vqa_score_other".
// Questions without annotations do not count; empty when none has any.
evaluation::Metrics vqa_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen);

class VqaTask final : public Task {
 public:
  explicit VqaTask(std::vector<std::string> answers = {}) : answers_(std::move(answers)) {}

  std::string_view name() const override { return "vqa"; }

  // The vocabulary that all folders have. UsageError when they have different ones, or none.
  void read_data(const data::DataSets& data) override;
  void read_checkpoint(const checkpoint::Description& saved) override { answers_ = saved.answers; }
  std::vector<std::string> answers() const override { return answers_; }

  void add_rows(data::Draft& draft) const override;
  std::shared_ptr<objectives::Objective> objective(const model::PixelBertConfig& model,
                                                   const objectives::HeadConfig& head) const override;
  plan::HeadMemory head_memory(const model::PixelBertConfig& model, const plan::BatchShape& shape,
                               bool bf16) const override;
  evaluation::Scores evaluate(const evaluation::Evaluation& evaluation) const override;
  checkpoint::NamedTensors show(const Example& example, std::ostream& out) const override;

 private:
  std::vector<std::string> answers_;
};

}  // namespace pixelbert::tasks

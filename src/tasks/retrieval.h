// Image-text retrieval: among texts of other images, an image's own should get the highest score (paper).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"
#include "tasks/task.h"

namespace pixelbert::tasks {

struct RetrievalConfig {
  std::int64_t negatives = 20;  // per pair; this and the next: the paper
  std::int64_t hard_negatives = 5;
};

template <class Field>
void describe(RetrievalConfig& config, Field&& field) {
  field("retrieval.negatives", config.negatives,
        "negatives of each pair: texts of other images that are scored beside it");
  field("retrieval.hard-negatives", config.hard_negatives,
        "hard negatives that are learned from: those with the highest scores");
}

class RetrievalObjective : public objectives::Objective {
 public:
  RetrievalObjective(std::int64_t hidden, std::int64_t hard_negatives);

  const std::vector<std::string>& terms() const override;                     // "retrieval"
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;  // pairs

  // Cross-entropy of the own text against the hard negatives, those that score highest. All texts are scored first
  // without a graph; only the own one and the hard negatives take memory for gradients and a backward.
  // `correct` counts pairs whose own text scored higher than every negative.
  std::vector<objectives::LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  double flops(const model::PixelBertConfig& config, const data::Batch& batch) const override;

  torch::Tensor scores(const model::Encoded& encoded);  // [B]

 private:
  std::int64_t hard_negatives_;
  objectives::ScoreHead retrieval_{nullptr};
};

class RetrievalTask final : public Task {
 public:
  RetrievalConfig options;

  std::string_view name() const override { return "retrieval"; }
  std::string_view shards() const override { return "pairs"; }

  void add_options(config::CommandLine& line) override { line.add(options); }
  void find_problems(const data::StreamConfig& stream, Problems& problems) const override;

  void add_rows(data::Draft& draft) const override;
  std::shared_ptr<objectives::Objective> objective(const model::PixelBertConfig& model,
                                                   const objectives::HeadConfig& head) const override;

  // Copies the weights of image-text matching, if there are none of this head.
  bool adopt(checkpoint::Weights& weights) const override;

  plan::HeadMemory head_memory(const model::PixelBertConfig& model, const plan::BatchShape& shape,
                               bool bf16) const override;
  void find_evaluation_problems(const std::vector<std::string>& shards, const std::string& predictions,
                                Problems& problems) const override;
  evaluation::Scores evaluate(const evaluation::Evaluation& evaluation) const override;
  checkpoint::NamedTensors show(const Example& example, std::ostream& out) const override;
};

}  // namespace pixelbert::tasks

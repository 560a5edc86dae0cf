// Masked language modelling and image-text matching on one encoding (paper, 3.3).
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "objectives/heads.h"
#include "objectives/objective.h"
#include "tasks/task.h"

namespace pixelbert::tasks {

enum class Objectives { Both, Mlm, Itm };
constexpr auto names(Objectives) {
  return std::to_array<std::string_view>({"mlm,itm", "mlm", "itm"});
}

struct PretrainConfig {
  Objectives objectives = Objectives::Both;
  double mask_probability = 0.15;  // paper, section 3.2
  bool mlm_on_negatives = true;    // SOHO

  // From random weights, ITM leaves MLM too little of a step for words that are hard to see (benchmarks/results). So
  // MLM may be alone at first, with every text on its own image and more masks.
  std::int64_t mlm_epochs = 0;
  double first_mask_probability = 0.5;

  bool mlm() const { return objectives != Objectives::Itm; }  // mask tokens
  bool itm() const { return objectives != Objectives::Mlm; }  // make half of the pairs negatives
  bool mlm_alone(std::int64_t epoch) const { return epoch < mlm_epochs; }
};

template <class Field>
void describe(PretrainConfig& config, Field&& field) {
  field("train.objectives", config.objectives, "mlm,itm, or one of them");
  field("train.mlm-epochs", config.mlm_epochs, "the first epochs train MLM alone; ITM joins after them");
  field("data.mask-probability", config.mask_probability, "share of tokens that are masked");
  field("data.first-mask-probability", config.first_mask_probability,
        "share of tokens that are masked in the epochs of --train.mlm-epochs");
  field("data.mlm-on-negatives", config.mlm_on_negatives, "count the masked words of negatives in the MLM loss");
}

class PretrainObjective : public objectives::Objective {
 public:
  // One of the two objectives may be left out (paper, Table 6); it then has no head.
  explicit PretrainObjective(const model::PixelBertConfig& config, bool mlm = true, bool itm = true);

  const std::vector<std::string>& terms() const override { return terms_; }  // "mlm", "itm"

  // Masked tokens and pairs.
  std::vector<std::int64_t> counts(const data::Batch& batch) const override;

  model::Wanted wanted() const override { return has_mlm() ? model::Wanted::Text : model::Wanted::Pair; }

  // One forward pass of the model serves both. Cross-entropy over the vocabulary for each masked token, binary
  // cross-entropy for each pair. A batch without masked tokens has an MLM sum of zero that still depends on every
  // parameter of the head.
  std::vector<objectives::LossTerm> losses(model::PixelBert& model, const data::Batch& batch) override;

  bool has_mlm() const { return !cls_.is_empty(); }
  bool has_itm() const { return !itm_.is_empty(); }

  // Logits for one encoding: MLM [N, vocabulary] at `positions` (into B * T), ITM [B].
  torch::Tensor mlm_logits(const model::Encoded& encoded, const torch::Tensor& positions);
  torch::Tensor itm_logits(const model::Encoded& encoded);

 private:
  std::vector<std::string> terms_;
  objectives::MlmHead cls_{nullptr};
  objectives::ScoreHead itm_{nullptr};
};

class PretrainTask final : public Task {
 public:
  PretrainConfig options;

  std::string_view name() const override { return "pretrain"; }
  std::string_view shards() const override { return "pairs"; }
  std::string command() const override { return "pretrain"; }

  void add_options(config::CommandLine& line) override { line.add(options); }
  void find_problems(const data::StreamConfig& stream, Problems& problems) const override;

  // Takes the objectives. Everything else has its default, also the share of masked tokens, so that the scores of
  // checkpoints compare.
  void read_checkpoint(const checkpoint::Description& saved) override;

  void add_rows(data::Draft& draft) const override;
  std::shared_ptr<objectives::Objective> objective(const model::PixelBertConfig& model,
                                                   const objectives::HeadConfig& head) const override;
  plan::HeadMemory head_memory(const model::PixelBertConfig& model, const plan::BatchShape& shape,
                               bool bf16) const override;
  void find_evaluation_problems(const std::vector<std::string>& shards, const std::string& predictions,
                                Problems& problems) const override;
  evaluation::Scores evaluate(const evaluation::Evaluation& evaluation) const override;
  checkpoint::NamedTensors show(const Example& example, std::ostream& out) const override;
};

}  // namespace pixelbert::tasks

#include "tasks/pretrain.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "core/rng.h"
#include "data/mlm_masking.h"
#include "data/pair_choice.h"
#include "evaluation/losses.h"
#include "model/row_multiple.h"
#include "tasks/results.h"

namespace pixelbert::tasks {
namespace {

void add_masked(const PretrainConfig& options, data::Draft& draft) {
  data::Batch& batch = draft.batch;
  const double probability =
      options.mlm_alone(batch.at.epoch) ? options.first_mask_probability : options.mask_probability;
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<data::MaskedTokens> masked;
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    texts.push_back(draft.encode(draft.samples[i].text));
    // Negatives are always masked: otherwise a [MASK] would reveal that a text belongs to its image.
    masked.push_back(data::mask_tokens(texts.back(), draft.tokenizer.vocabulary(), options.mlm() ? probability : 0,
                                       draft.sample_key(draft.dealt[i], Purpose::kMasking)));
  }
  draft.add_tokens(texts);

  std::vector<std::int64_t> positions, labels;
  for (std::size_t i = 0; i < masked.size(); ++i) {
    if (!draft.samples[i].matched && !options.mlm_on_negatives) continue;
    const std::int64_t first = static_cast<std::int64_t>(i) * batch.tokens.size(1);
    for (const std::int64_t position : masked[i].positions) positions.push_back(first + position);
    labels.insert(labels.end(), masked[i].labels.begin(), masked[i].labels.end());
  }
  batch.mlm_positions = at::tensor(positions, at::kLong);
  batch.mlm_labels = at::tensor(labels, at::kLong);
}

}  // namespace

PretrainObjective::PretrainObjective(const model::PixelBertConfig& config, bool mlm, bool itm) {
  if (mlm) {
    terms_.push_back("mlm");
    cls_ = register_module("cls", objectives::MlmHead(config.hidden, config.vocabulary));
  }
  if (itm) {
    terms_.push_back("itm");
    itm_ = register_module("itm", objectives::ScoreHead(config.hidden));
  }
}

std::vector<std::int64_t> PretrainObjective::counts(const data::Batch& batch) const {
  std::vector<std::int64_t> counts;
  if (has_mlm()) counts.push_back(batch.mlm_positions.numel());
  if (has_itm()) counts.push_back(batch.itm_labels.numel());
  return counts;
}

std::vector<objectives::LossTerm> PretrainObjective::losses(model::PixelBert& model, const data::Batch& batch) {
  const model::Encoded encoded = model->forward(objectives::inputs_of(batch, wanted()));
  std::vector<objectives::LossTerm> losses;
  if (has_mlm()) {
    const torch::Tensor words = mlm_logits(encoded, batch.mlm_positions).to(torch::kFloat);
    losses.push_back({.sum = at::cross_entropy_loss(words, batch.mlm_labels, {}, at::Reduction::Sum),
                      .correct = words.detach().argmax(1).eq(batch.mlm_labels).sum().to(torch::kFloat)});
  }
  if (has_itm()) {
    const torch::Tensor match = itm_logits(encoded).to(torch::kFloat).narrow(0, 0, batch.itm_labels.numel());
    losses.push_back({.sum = at::binary_cross_entropy_with_logits(match, batch.itm_labels, {}, {}, at::Reduction::Sum),
                      .correct = match.detach().gt(0).eq(batch.itm_labels.gt(0.5)).sum().to(torch::kFloat)});
  }
  return losses;
}

torch::Tensor PretrainObjective::mlm_logits(const model::Encoded& encoded, const torch::Tensor& positions) {
  // The vocabulary is the widest layer of all, so only the masked tokens go through it.
  const torch::Tensor text = encoded.text().flatten(0, 1);
  const std::int64_t masked = positions.numel();
  const model::Rows rows{.index = positions, .of = text.size(0), .count = model::rounded_rows(masked)};
  return cls_->forward(model::take(text, rows), encoded.decoder).narrow(0, 0, masked);
}

torch::Tensor PretrainObjective::itm_logits(const model::Encoded& encoded) {
  return itm_->forward(encoded.pair());
}

void PretrainTask::find_problems(const data::StreamConfig& stream, Problems& problems) const {
  problems.require(
      options.mask_probability > 0 && options.mask_probability < 1,
      fmt::format("--data.mask-probability must be more than 0 and less than 1, found {}", options.mask_probability));
  problems.require(options.mlm_epochs >= 0,
                   fmt::format("--train.mlm-epochs must be at least 0, found {}", options.mlm_epochs));
  problems.require(options.mlm_epochs <= 0 || options.objectives == Objectives::Both,
                   "--train.mlm-epochs puts MLM before both objectives: it needs --train.objectives mlm,itm");
  problems.require(options.first_mask_probability > 0 && options.first_mask_probability < 1,
                   fmt::format("--data.first-mask-probability must be more than 0 and less than 1, found {}",
                               options.first_mask_probability));
  problems.require(!options.itm() || stream.micro_batch >= 2,
                   fmt::format("--data.micro-batch must be at least 2 with ITM, because half of its pairs are "
                               "negatives; found {}",
                               stream.micro_batch));
}

void PretrainTask::read_checkpoint(const checkpoint::Description& saved) {
  options = {.mlm_on_negatives = false};  // a word of another image could be right only by chance
  const auto found = saved.config.find("train.objectives");
  if (found == saved.config.end()) return;
  const std::optional<Objectives> objectives = value_of<Objectives>(found->second);
  PB_CHECK(objectives, "the checkpoint's train.objectives is '{}', expected one of {}", found->second,
           fmt::join(names(Objectives()), ", "));
  options.objectives = *objectives;
}

void PretrainTask::add_rows(data::Draft& draft) const {
  data::Batch& batch = draft.batch;
  const bool itm = options.itm() && !options.mlm_alone(batch.at.epoch);
  if (itm) {
    data::choose_pairs(
        draft.samples, [&](std::int64_t index, std::uint64_t draw) { return draft.draw_negative(index, draw); },
        key(draft.stream.seed(), batch.at.epoch, batch.at.step, batch.micro_batch.index, Purpose::kNegatives));
  }
  batch.image_of_row = at::tensor(draft.last_image);
  batch.itm_labels = at::empty({itm ? std::ssize(draft.samples) : 0}, at::kFloat);
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    if (itm) batch.itm_labels.data_ptr<float>()[i] = draft.samples[i].matched ? 1.0f : 0.0f;
    if (draft.config.sample_pixels) batch.pixel_keys.push_back(draft.sample_key(draft.dealt[i], Purpose::kPixels));
  }
  add_masked(options, draft);
}

std::shared_ptr<objectives::Objective> PretrainTask::objective(const model::PixelBertConfig& model,
                                                               const objectives::HeadConfig& /*head*/) const {
  return std::make_shared<PretrainObjective>(model, options.mlm(), options.itm());
}

plan::HeadMemory PretrainTask::head_memory(const model::PixelBertConfig& model, const plan::BatchShape& shape,
                                           bool bf16) const {
  if (!options.mlm()) return {};
  const double words = static_cast<double>(model.vocabulary * model.hidden) * sizeof(float);
  const double logits = static_cast<double>(shape.masked * model.vocabulary) * sizeof(float);
  return {.kept = logits, .passing = std::max(2 * logits, (bf16 ? 1.5 : 1) * words), .words = words};
}

void PretrainTask::find_evaluation_problems(const std::vector<std::string>& /*shards*/, const std::string& predictions,
                                            Problems& problems) const {
  problems.require(predictions.empty(), fmt::format("--predictions is for {}", finetuning_names("and")));
}

evaluation::Scores PretrainTask::evaluate(const evaluation::Evaluation& evaluation) const {
  return {evaluation::mean_losses(evaluation, *this), evaluation::texts_of(evaluation.data)};
}

checkpoint::NamedTensors PretrainTask::show(const Example& example, std::ostream& out) const {
  auto& objective = dynamic_cast<PretrainObjective&>(example.objective);
  const text::Vocabulary& vocabulary = example.tokenizer.vocabulary();
  checkpoint::NamedTensors logits;
  if (objective.has_itm()) {
    logits["itm_logit"] = objective.itm_logits(example.encoded).to(at::kCPU, at::kFloat);
    out << fmt::format("match {:.4f}\n", logits["itm_logit"].sigmoid().item<double>());
  }
  if (!objective.has_mlm()) return logits;
  const torch::Tensor every_token = at::arange(example.inputs.tokens.numel(), example.inputs.tokens.options());
  logits["mlm_logits"] = objective.mlm_logits(example.encoded, every_token).to(at::kCPU, at::kFloat);
  std::vector<std::int64_t> ids = example.ids;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != vocabulary.mask()) continue;
    const torch::Tensor words = logits["mlm_logits"][static_cast<std::int64_t>(i)];
    out << fmt::format("[MASK] at {}: {}\n", i,
                       guesses(words.softmax(-1), [&](std::int64_t id) { return vocabulary.token(id); }));
    ids[i] = words.argmax().item<std::int64_t>();
  }
  out << example.tokenizer.decode(ids) << std::endl;
  return logits;
}

}  // namespace pixelbert::tasks

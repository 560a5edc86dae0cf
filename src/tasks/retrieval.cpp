#include "tasks/retrieval.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <set>

#include "core/activity.h"
#include "core/check.h"
#include "core/rng.h"
#include "evaluation/pair_scores.h"
#include "evaluation/recall.h"
#include "tasks/results.h"

namespace pixelbert::tasks {
namespace {

// COCO's 5K protocol: 25,000 texts, the first five of each image.
constexpr std::int64_t kTextsPerImage = 5;

// Chooses rows [pairs, texts] of a batch, each pair's among its own, for another encoding of the same images.
model::Inputs chosen_rows(const model::Inputs& all, const torch::Tensor& rows) {
  model::Inputs chosen = all;
  // The rows of a pair have one image, so the host need not wait for the device's choice.
  chosen.image_of_row = all.image_of_row.view({rows.size(0), -1}).narrow(1, 0, rows.size(1)).flatten();
  chosen.tokens = all.tokens.index_select(0, rows.flatten());
  chosen.token_mask = all.token_mask.index_select(0, rows.flatten());
  return chosen;
}

}  // namespace

RetrievalObjective::RetrievalObjective(std::int64_t hidden, std::int64_t hard_negatives)
    : hard_negatives_(hard_negatives) {
  retrieval_ = register_module("retrieval", objectives::ScoreHead(hidden));
}

const std::vector<std::string>& RetrievalObjective::terms() const {
  static const std::vector<std::string> names = {"retrieval"};
  return names;
}

std::vector<std::int64_t> RetrievalObjective::counts(const data::Batch& batch) const {
  return {static_cast<std::int64_t>(batch.pairs.size())};
}

std::vector<objectives::LossTerm> RetrievalObjective::losses(model::PixelBert& model, const data::Batch& batch) {
  const model::Inputs inputs = objectives::inputs_of(batch, wanted());
  const auto pairs = static_cast<std::int64_t>(batch.pairs.size());
  const std::int64_t texts = inputs.tokens.size(0) / pairs;
  const torch::Tensor features = model->features(inputs.images);

  torch::Tensor all;  // [pairs, texts], the own text first
  {
    const torch::NoGradGuard no_grad;
    all = scores(model->encode(features.detach(), inputs)).to(torch::kFloat).view({pairs, texts});
  }
  const torch::Tensor negatives = all.narrow(1, 1, texts - 1);
  const torch::Tensor hardest = std::get<1>(negatives.topk(std::min(hard_negatives_, texts - 1), 1)) + 1;
  const torch::Tensor first = at::arange(pairs, hardest.options()).mul(texts).unsqueeze(1);
  const torch::Tensor rows = at::cat({first, first + hardest}, 1);  // [pairs, 1 + hard_negatives]

  const torch::Tensor learned =
      scores(model->encode(features, chosen_rows(inputs, rows))).to(torch::kFloat).view(rows.sizes());
  const torch::Tensor own = at::zeros({pairs}, hardest.options());
  return {{.sum = at::cross_entropy_loss(learned, own, {}, at::Reduction::Sum),
           .correct = all.select(1, 0).gt(negatives.amax(1)).sum().to(torch::kFloat)}};
}

double RetrievalObjective::flops(const model::PixelBertConfig& config, const data::Batch& batch) const {
  model::ForwardFlops flops = model::forward_flops(config, objectives::inputs_of(batch, wanted()));
  const double scored = flops.encoder, pairs = static_cast<double>(batch.pairs.size());
  const double texts = static_cast<double>(batch.tokens.size(0)) / pairs;
  flops.encoder =
      scored * (1 + std::min(static_cast<double>(hard_negatives_), texts - 1)) / texts;  // what is trained on
  return scored + flops.with_backward();
}

torch::Tensor RetrievalObjective::scores(const model::Encoded& encoded) {
  return retrieval_->forward(encoded.pair());
}

void RetrievalTask::find_problems(const data::StreamConfig& /*stream*/, Problems& problems) const {
  problems.countable("retrieval.negatives", options.negatives);
  problems.at_least("retrieval.hard-negatives", options.hard_negatives, 1);
  problems.require(options.hard_negatives <= options.negatives,
                   fmt::format("--retrieval.hard-negatives {} is more than --retrieval.negatives {}",
                               options.hard_negatives, options.negatives));
}

void RetrievalTask::add_rows(data::Draft& draft) const {
  data::Batch& batch = draft.batch;
  constexpr std::int64_t kDraws = 16;
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<std::int64_t> image_rows;
  for (std::int64_t i = 0; i < std::ssize(draft.samples); ++i) {
    const data::Sample& own = draft.samples[i];
    std::vector<data::Sample> chosen;
    std::set<std::string> different = {own.text};
    Random draws(draft.sample_key(draft.dealt[i], Purpose::kNegativeText));
    const std::int64_t near = kDraws * options.negatives;
    for (std::int64_t draw = 0; draw < 2 * near && std::ssize(chosen) < options.negatives; ++draw) {
      const auto from = draw < near ? data::Draft::From::Window : data::Draft::From::DataSet;
      std::optional<data::Sample> negative = draft.draw_negative(i, draws.next(), from);
      if (!negative || negative->pair.image == own.pair.image || !different.insert(negative->text).second) continue;
      chosen.push_back(std::move(*negative));
    }
    PB_CHECK(
        std::ssize(chosen) == options.negatives,
        "expected {} different texts of other images for image {} of {}, found {}: the data set is too small; lower "
        "--retrieval.negatives",
        options.negatives, draft.reader.data_set(own.pair).image_id(own.pair.image),
        draft.reader.data_set(own.pair).folder().string(), chosen.size());
    texts.push_back(draft.encode(own.text));
    for (const data::Sample& negative : chosen) texts.push_back(draft.encode(negative.text));
    image_rows.insert(image_rows.end(), chosen.size() + 1, draft.last_image[i]);
  }
  batch.image_of_row = at::tensor(image_rows);
  draft.add_tokens(texts);
}

std::shared_ptr<objectives::Objective> RetrievalTask::objective(const model::PixelBertConfig& model,
                                                                const objectives::HeadConfig& /*head*/) const {
  return std::make_shared<RetrievalObjective>(model.hidden, options.hard_negatives);
}

bool RetrievalTask::adopt(checkpoint::Weights& weights) const {
  for (const std::string name : {"weight", "bias"}) {
    if (const auto found = weights.model.find("itm." + name); found != weights.model.end()) {
      weights.model.emplace("retrieval." + name, found->second);
    }
  }
  return weights.task == "pretrain";
}

// All texts are scored without gradients; some are trained on.
plan::HeadMemory RetrievalTask::head_memory(const model::PixelBertConfig& /*model*/, const plan::BatchShape& shape,
                                            bool /*bf16*/) const {
  return {.learned_rows = std::min(shape.rows, shape.samples * (1 + options.hard_negatives))};
}

void RetrievalTask::find_evaluation_problems(const std::vector<std::string>& shards, const std::string& /*predictions*/,
                                             Problems& problems) const {
  problems.require(shards.size() <= 1, "retrieval is evaluated on one data set: give --data.shards once");
}

evaluation::Scores RetrievalTask::evaluate(const evaluation::Evaluation& evaluation) const {
  auto& objective = dynamic_cast<RetrievalObjective&>(evaluation.objective);
  comm::Communicator& control = evaluation.control;
  const evaluation::Pairs pairs = evaluation::all_pairs(*evaluation.data[0], kTextsPerImage);
  const auto images = std::ssize(pairs.images), texts = std::ssize(pairs.texts);
  evaluation::Recall recall(images, pairs.image_of_text);
  torch::Tensor matrix;
  if (!evaluation.predictions.empty()) matrix = at::zeros({images, texts});
  evaluation::score_pairs(
      evaluation, pairs, [&](const model::Encoded& encoded) { return objective.scores(encoded); },
      [&](std::int64_t image, const torch::Tensor& scores) {
        recall.add(image, {scores.const_data_ptr<float>(), static_cast<std::size_t>(texts)});
        if (matrix.defined()) matrix[image].copy_(scores);
      });
  if (matrix.defined()) {
    control.all_reduce(matrix, comm::ReduceOp::Sum)->wait();  // each row has one owner; the others add zero
    if (evaluation.writes()) {
      activity::doing(activity::Phase::Other, "writing the scores");
      write_tensors(evaluation.predictions, {{"scores", matrix}, {"image_of_text", at::tensor(pairs.image_of_text)}});
    }
  }
  activity::waiting(activity::Wait::Sums, "all ranks' recall");
  return {recall.figures(control), texts};
}

checkpoint::NamedTensors RetrievalTask::show(const Example& example, std::ostream& out) const {
  auto& objective = dynamic_cast<RetrievalObjective&>(example.objective);
  const torch::Tensor score = objective.scores(example.encoded).to(at::kCPU, at::kFloat);
  out << fmt::format("score {:.4f}\n", score.item<double>()) << std::flush;
  return {{"retrieval_logit", score}};
}

}  // namespace pixelbert::tasks

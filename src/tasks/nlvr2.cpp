#include "tasks/nlvr2.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/check.h"
#include "core/files.h"
#include "evaluation/classes.h"
#include "evaluation/mean.h"
#include "sources/nlvr2_statements.h"

namespace pixelbert::tasks {
namespace {

// Returns the official result file: "identifier,prediction" per line, with True or False.
std::string nlvr2_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  std::string lines;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto& options = data[i]->manifest().options;
    const auto prefix = options.find("identifiers");
    const auto* classes = chosen[i].const_data_ptr<std::int64_t>();
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::int64_t id = data[i]->text_id(text);
      lines += fmt::format("{},{}\n",
                           prefix == options.end() ? fmt::to_string(id) : sources::nlvr2_identifier(prefix->second, id),
                           classes[text] == 1 ? "True" : "False");
    }
  }
  return lines;
}

}  // namespace

Nlvr2Objective::Nlvr2Objective(std::int64_t hidden, double dropout) {
  nlvr2_ = register_module("nlvr2", objectives::ClassHead(2 * hidden, 2 * hidden, 2, dropout));  // ViLT: 1536, 1536, 2
}

const std::vector<std::string>& Nlvr2Objective::terms() const {
  static const std::vector<std::string> names = {"nlvr2"};
  return names;
}

std::vector<std::int64_t> Nlvr2Objective::counts(const data::Batch& batch) const {
  return {batch.labels.numel()};
}

std::vector<objectives::LossTerm> Nlvr2Objective::losses(model::PixelBert& model, const data::Batch& batch) {
  const torch::Tensor given = logits(model->forward(objectives::inputs_of(batch, wanted()))).to(torch::kFloat);
  return {{.sum = at::cross_entropy_loss(given, batch.labels, {}, at::Reduction::Sum),
           .correct = given.detach().argmax(1).eq(batch.labels).sum().to(torch::kFloat)}};
}

torch::Tensor Nlvr2Objective::logits(const model::Encoded& encoded) {
  const torch::Tensor rows = encoded.pair();  // [2 N, C]
  return nlvr2_->forward(rows.reshape({rows.size(0) / 2, 2 * rows.size(1)}));
}

void Nlvr2Task::add_rows(data::Draft& draft) const {
  data::Batch& batch = draft.batch;
  std::vector<std::vector<std::int64_t>> texts;
  std::vector<std::int64_t> image_rows, labels;
  for (std::size_t i = 0; i < draft.samples.size(); ++i) {
    const data::Pair& pair = draft.samples[i].pair;
    const shards::ShardSet& data = draft.reader.data_set(pair);
    PB_CHECK(data.second_image_of_text(pair.text) >= 0,
             "expected two images for statement {} of {}, found one: nlvr2 needs shards made for it",
             data.text_id(pair.text), data.folder().string());
    const std::vector<shards::Answer> answers = data.answers(pair.text);
    draft.check_label(!answers.empty(), pair);
    labels.push_back(answers.empty() ? 0 : answers[0].index);
    texts.insert(texts.end(), 2, draft.encode(draft.samples[i].text));
    image_rows.insert(image_rows.end(), {draft.last_image[i] - 1, draft.last_image[i]});
  }
  batch.image_of_row = at::tensor(image_rows);
  batch.labels = at::tensor(labels, at::kLong);
  draft.add_tokens(texts);
}

std::shared_ptr<objectives::Objective> Nlvr2Task::objective(const model::PixelBertConfig& model,
                                                            const objectives::HeadConfig& head) const {
  return std::make_shared<Nlvr2Objective>(model.hidden, head.dropout);
}

evaluation::Metrics nlvr2_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  evaluation::Mean accuracy, consistency;
  std::map<std::pair<std::size_t, std::int64_t>, bool> all_right;  // by data set and sentence
  for (std::size_t i = 0; i < data.size(); ++i) {
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::vector<shards::Answer> label = data[i]->answers(text);
      if (label.empty()) continue;
      const bool right = label[0].index == chosen[i].const_data_ptr<std::int64_t>()[text];
      accuracy.add(right);
      PB_CHECK(data[i]->group(text) >= 0,
               "statement {} of {} belongs to no sentence, which consistency needs: make the shards again",
               data[i]->text_id(text), data[i]->folder().string());
      const auto [sentence, is_new] = all_right.try_emplace({i, data[i]->group(text)}, true);
      sentence->second &= right;
    }
  }
  if (accuracy.count == 0) return {};
  for (const auto& [sentence, right] : all_right) consistency.add(right);
  return {{"accuracy", accuracy.value()}, {"consistency", consistency.value()}};
}

evaluation::Scores Nlvr2Task::evaluate(const evaluation::Evaluation& evaluation) const {
  auto& objective = dynamic_cast<Nlvr2Objective&>(evaluation.objective);
  const std::vector<torch::Tensor> chosen = evaluation::chosen_classes(
      evaluation, *this, [&](const model::Encoded& encoded) { return objective.logits(encoded); });
  if (evaluation.writes()) write_file(evaluation.predictions, nlvr2_results(evaluation.data, chosen));
  return {nlvr2_scores(evaluation.data, chosen), evaluation::texts_of(evaluation.data)};
}

checkpoint::NamedTensors Nlvr2Task::show(const Example& example, std::ostream& out) const {
  auto& objective = dynamic_cast<Nlvr2Objective&>(example.objective);
  const torch::Tensor logits = objective.logits(example.encoded)[0].to(at::kCPU, at::kFloat);
  const double truth = logits.softmax(0)[1].item<double>();
  out << fmt::format("{} {:.4f}\n", truth > 0.5 ? "true" : "false", std::max(truth, 1 - truth)) << std::flush;
  return {{"nlvr2_logits", logits}};
}

}  // namespace pixelbert::tasks

#include "tasks/vqa.h"

#include <ATen/core/Reduction.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "core/text_lines.h"
#include "evaluation/classes.h"
#include "evaluation/mean.h"
#include "tasks/results.h"

namespace pixelbert::tasks {
namespace {

std::vector<std::string> answers_of(const data::DataSets& data) {
  std::vector<std::string> answers;
  for (const auto& set : data) {
    const std::filesystem::path path = set->folder() / shards::kAnswersName;
    const auto own = std::filesystem::exists(path) ? lines_of(read_file(path)) : std::vector<std::string>();
    if (own.empty()) throw UsageError(fmt::format("{}: expected one answer a line, found none", path.string()));
    if (!answers.empty() && own != answers) {
      throw UsageError(fmt::format("{} has other answers than {}: make both with the same --answers file",
                                   path.string(), (data[0]->folder() / shards::kAnswersName).string()));
    }
    answers = own;
  }
  return answers;
}

// A test set that was made without --answers has neither answers nor their vocabulary.
bool has_answers(const shards::ShardSet& set) {
  if (std::filesystem::exists(set.folder() / shards::kAnswersName)) return true;
  for (std::int64_t text = 0; text < set.texts(); ++text) {
    if (set.group(text) >= 0) return true;
  }
  return false;
}

void check_answers(const std::vector<std::string>& of_data, const std::vector<std::string>& of_checkpoint,
                   const std::string& checkpoint) {
  if (of_data == of_checkpoint) return;
  throw UsageError(fmt::format(
      "the data's answers.txt has {} answers, but {} was trained with {} different ones: make the shards with "
      "--answers and the answers.txt of the training shards",
      of_data.size(), checkpoint, of_checkpoint.size()));
}

// "yes/no" -> "yes_no"
std::string label_of(std::string type) {
  std::ranges::replace_if(type, [](unsigned char c) { return !std::isalnum(c); }, '_');
  return type;
}

double accuracy_of(std::int64_t answer, const std::vector<shards::Answer>& answers) {
  const auto found = std::ranges::find_if(answers, [&](const shards::Answer& known) { return known.index == answer; });
  return found == answers.end() ? 0 : found->accuracy;
}

// Returns the official result file: [{"question_id": 1, "answer": "yes"}, ...].
std::string vqa_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen,
                        const std::vector<std::string>& answers) {
  nlohmann::json results = nlohmann::json::array();
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto* classes = chosen[i].const_data_ptr<std::int64_t>();
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      results.push_back(
          {{"question_id", data[i]->text_id(text)}, {"answer", answers.at(static_cast<std::size_t>(classes[text]))}});
    }
  }
  return results.dump();
}

}  // namespace

VqaObjective::VqaObjective(std::int64_t hidden, std::int64_t answers, double dropout) {
  vqa_ = register_module("vqa", objectives::ClassHead(hidden, 4 * hidden, answers, dropout));  // SOHO: 768, 3072, 3129
}

const std::vector<std::string>& VqaObjective::terms() const {
  static const std::vector<std::string> names = {"vqa"};
  return names;
}

std::vector<std::int64_t> VqaObjective::counts(const data::Batch& batch) const {
  return {batch.answer_scores.size(0)};
}

std::vector<objectives::LossTerm> VqaObjective::losses(model::PixelBert& model, const data::Batch& batch) {
  const torch::Tensor given = logits(model->forward(objectives::inputs_of(batch, wanted()))).to(torch::kFloat);
  const torch::Tensor best = given.detach().argmax(1, /*keepdim=*/true);
  return {{.sum = at::binary_cross_entropy_with_logits(given, batch.answer_scores, {}, {}, at::Reduction::Sum),
           .correct = batch.answer_scores.gather(1, best).sum()}};
}

torch::Tensor VqaObjective::logits(const model::Encoded& encoded) {
  return vqa_->forward(encoded.pair());
}

void VqaTask::read_data(const data::DataSets& data) {
  answers_ = answers_of(data);
}

void VqaTask::add_rows(data::Draft& draft) const {
  data::Batch& batch = draft.batch;
  std::vector<std::vector<std::int64_t>> texts;
  batch.image_of_row = at::tensor(draft.last_image);
  batch.answer_scores = at::zeros({std::ssize(draft.samples), std::ssize(answers_)}, at::kFloat);
  auto scores = batch.answer_scores.accessor<float, 2>();
  for (const data::Sample& sample : draft.samples) {
    const shards::ShardSet& data = draft.reader.data_set(sample.pair);
    const std::vector<shards::Answer> answers = data.answers(sample.pair.text);
    // An annotated question may have no answer in the vocabulary, but it has a group: the type of its answers.
    draft.check_label(!answers.empty() || data.group(sample.pair.text) >= 0, sample.pair);
    for (const shards::Answer& answer : answers) {
      PB_CHECK(
          answer.index >= 0 && answer.index < std::ssize(answers_),
          "question {} of {} has answer {}, expected one of {}: shards and model have different answer vocabularies",
          data.text_id(sample.pair.text), data.folder().string(), answer.index, std::ssize(answers_));
      scores[std::ssize(texts)][answer.index] = answer.score;
    }
    texts.push_back(draft.encode(sample.text));
  }
  draft.add_tokens(texts);
}

std::shared_ptr<objectives::Objective> VqaTask::objective(const model::PixelBertConfig& model,
                                                          const objectives::HeadConfig& head) const {
  return std::make_shared<VqaObjective>(model.hidden, std::ssize(answers_), head.dropout);
}

plan::HeadMemory VqaTask::head_memory(const model::PixelBertConfig& /*model*/, const plan::BatchShape& shape,
                                      bool /*bf16*/) const {
  const double scores = static_cast<double>(shape.samples * std::ssize(answers_)) * sizeof(float);
  return {.kept = scores, .passing = 3 * scores};
}

evaluation::Metrics vqa_scores(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  std::map<std::string, evaluation::Mean> means;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const std::vector<std::string> types = shards::answer_types(data[i]->manifest());
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::int64_t type = data[i]->group(text);
      if (type < 0) continue;  // a test question
      PB_CHECK(
          type < std::ssize(types),
          "question {} of {} has type {}, but the option answer-types of its manifest names {}: make the shards again",
          data[i]->text_id(text), data[i]->folder().string(), type, types.size());
      const double accuracy = accuracy_of(chosen[i].const_data_ptr<std::int64_t>()[text], data[i]->answers(text));
      means["vqa_score"].add(accuracy);
      means["vqa_score_" + label_of(types[type])].add(accuracy);
    }
  }
  evaluation::Metrics metrics;
  for (const auto& [name, mean] : means) metrics[name] = mean.value();
  return metrics;
}

evaluation::Scores VqaTask::evaluate(const evaluation::Evaluation& evaluation) const {
  data::DataSets with_answers;
  std::ranges::copy_if(evaluation.data, std::back_inserter(with_answers),
                       [](const auto& set) { return has_answers(*set); });
  if (!with_answers.empty()) check_answers(answers_of(with_answers), answers_, evaluation.checkpoint);
  auto& objective = dynamic_cast<VqaObjective&>(evaluation.objective);
  const std::vector<torch::Tensor> chosen = evaluation::chosen_classes(
      evaluation, *this, [&](const model::Encoded& encoded) { return objective.logits(encoded); });
  if (evaluation.writes()) write_file(evaluation.predictions, vqa_results(evaluation.data, chosen, answers_));
  return {vqa_scores(evaluation.data, chosen), evaluation::texts_of(evaluation.data)};
}

checkpoint::NamedTensors VqaTask::show(const Example& example, std::ostream& out) const {
  auto& objective = dynamic_cast<VqaObjective&>(example.objective);
  const torch::Tensor logits = objective.logits(example.encoded)[0].to(at::kCPU, at::kFloat);
  out << fmt::format("answer {}\n", guesses(logits.sigmoid(),
                                            [&](std::int64_t id) { return answers_.at(static_cast<std::size_t>(id)); }))
      << std::flush;
  return {{"vqa_logits", logits}};
}

}  // namespace pixelbert::tasks

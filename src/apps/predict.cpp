// pixelbert predict: one example. A pre-training checkpoint fills [MASK] and scores the match; others do their task.
#include <ATen/ATen.h>

#include <algorithm>
#include <iostream>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "core/activity.h"
#include "core/check.h"
#include "jobs/example.h"
#include "jobs/predictions.h"
#include "jobs/restore.h"
#include "model/autocast.h"
#include "objectives/nlvr2.h"
#include "objectives/pretrain.h"
#include "objectives/retrieval.h"
#include "objectives/vqa.h"

namespace pixelbert::apps {
namespace {

using checkpoint::NamedTensors;

struct PredictConfig {
  std::vector<std::string> images;
  std::vector<std::string> texts;
  std::string dump;
};

template <class Field>
void describe(PredictConfig& config, Field&& field) {
  field("image", config.images, "JPEG or PNG file; for an nlvr2 checkpoint twice, left and right");
  field("text", config.texts,
        "a caption, perhaps with [MASK] in place of words, a question or a statement; repeatable");
  field("dump", config.dump, "safetensors file for inputs and outputs; for one text");
}

constexpr std::int64_t kGuesses = 5;

std::string guesses(const torch::Tensor& probabilities, const std::function<std::string(std::int64_t)>& name) {
  const auto [probability, id] = probabilities.topk(std::min(kGuesses, probabilities.numel()));
  std::string text;
  for (std::int64_t i = 0; i < id.numel(); ++i) {
    text += fmt::format("{}{} {:.3f}", i ? ", " : "", name(id[i].item<std::int64_t>()), probability[i].item<double>());
  }
  return text;
}

// One encoded example. Each task prints its output and returns it for --dump.
struct Example {
  jobs::Restored& restored;
  const text::WordPiece& tokenizer;
  const model::Inputs& inputs;
  const model::Encoded& encoded;
  std::vector<std::int64_t> ids;
};

NamedTensors print_pretrain(const Example& example) {
  auto& objective = dynamic_cast<objectives::PretrainImpl&>(*example.restored.objective);
  const text::Vocabulary& vocabulary = example.tokenizer.vocabulary();
  NamedTensors logits;
  if (objective.has_itm()) {
    logits["itm_logit"] = objective.itm_logits(example.encoded).to(at::kCPU, at::kFloat);
    std::cout << fmt::format("match {:.4f}\n", logits["itm_logit"].sigmoid().item<double>());
  }
  if (!objective.has_mlm()) return logits;
  const torch::Tensor every_token = at::arange(example.inputs.tokens.numel(), example.inputs.tokens.options());
  logits["mlm_logits"] = objective.mlm_logits(example.encoded, every_token).to(at::kCPU, at::kFloat);
  std::vector<std::int64_t> ids = example.ids;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != vocabulary.mask()) continue;
    const torch::Tensor words = logits["mlm_logits"][static_cast<std::int64_t>(i)];
    std::cout << fmt::format("[MASK] at {}: {}\n", i,
                             guesses(words.softmax(-1), [&](std::int64_t id) { return vocabulary.token(id); }));
    ids[i] = words.argmax().item<std::int64_t>();
  }
  std::cout << example.tokenizer.decode(ids) << std::endl;
  return logits;
}

NamedTensors print_vqa(const Example& example, const std::vector<std::string>& answers) {
  auto& objective = dynamic_cast<objectives::VqaImpl&>(*example.restored.objective);
  const torch::Tensor logits = objective.logits(example.encoded)[0].to(at::kCPU, at::kFloat);
  std::cout << fmt::format(
                   "answer {}\n",
                   guesses(logits.sigmoid(), [&](std::int64_t id) { return answers.at(static_cast<std::size_t>(id)); }))
            << std::flush;
  return {{"vqa_logits", logits}};
}

NamedTensors print_nlvr2(const Example& example) {
  auto& objective = dynamic_cast<objectives::Nlvr2Impl&>(*example.restored.objective);
  const torch::Tensor logits = objective.logits(example.encoded)[0].to(at::kCPU, at::kFloat);
  const double truth = logits.softmax(0)[1].item<double>();
  std::cout << fmt::format("{} {:.4f}\n", truth > 0.5 ? "true" : "false", std::max(truth, 1 - truth)) << std::flush;
  return {{"nlvr2_logits", logits}};
}

NamedTensors print_retrieval(const Example& example) {
  auto& objective = dynamic_cast<objectives::RetrievalImpl&>(*example.restored.objective);
  const torch::Tensor score = objective.scores(example.encoded).to(at::kCPU, at::kFloat);
  std::cout << fmt::format("score {:.4f}\n", score.item<double>()) << std::flush;
  return {{"retrieval_logit", score}};
}

void validate(const PredictConfig& config, data::Task task) {
  if (config.texts.empty()) throw UsageError("--text is missing: a caption, question or statement");
  const std::size_t expected = task == data::Task::Nlvr2 ? 2 : 1;
  if (config.images.size() != expected) {
    throw UsageError(fmt::format("a {} checkpoint needs --image {}, found {} of them", name_of(task),
                                 expected == 2 ? "twice (left and right image)" : "once", config.images.size()));
  }
  if (!config.dump.empty() && config.texts.size() > 1) throw UsageError("--dump is for one --text");
}

}  // namespace

int predict(const Arguments& arguments, const comm::MpiSession& session) {
  PredictConfig config;
  jobs::RestoreConfig restoring;
  config::CommandLine line("predict", "pixelbert predict: what a checkpoint predicts for one image and its texts");
  line.add(config);
  line.add(restoring);
  if (session.world_size() > 1) throw UsageError("pixelbert predict runs alone, without mpirun");
  auto control = comm::make_control_communicator(session);
  const auto saved = jobs::read_weights("checkpoint", arguments, line, *control);
  if (!line.parse(arguments)) return 0;
  if (!saved) throw UsageError("--checkpoint is missing: a step-... folder, a run folder or an exported file");
  const data::Task task = jobs::task_of(*saved);
  validate(config, task);
  pixelbert::validate(restoring);
  jobs::check_output("dump", config.dump);

  const text::WordPiece tokenizer = jobs::restore_tokenizer(restoring.text.vocab, *saved, restoring.checkpoint);
  restoring.model.vocabulary = tokenizer.vocabulary().size();
  jobs::Ranks ranks(restoring.compute, session, std::move(control));
  jobs::Restored restored = jobs::restore(restoring, *saved, task, ranks.device(), ranks.tensors());

  activity::doing(activity::Phase::Forward, "one example");
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> pictures;
  for (const std::string& image : config.images) pictures.push_back(jobs::read_picture(image, restoring.image));
  for (const std::string& text : config.texts) {
    const std::vector<std::int64_t> ids = tokenizer.encode(text, restoring.text.max_tokens);
    const model::Inputs inputs = jobs::make_inputs(pictures, ids, ranks.device());
    const model::Autocast autocast(ranks.device().type(), restoring.compute.precision);
    const model::Encoded encoded = restored.model->forward(inputs);
    PB_CHECK(encoded.hidden.isfinite().all().item<bool>(),
             "{} gives values that are not finite for this image: its weights are broken", restoring.checkpoint);
    const Example example{restored, tokenizer, inputs, encoded, ids};
    if (config.texts.size() > 1) std::cout << text << "\n";
    NamedTensors dump = task == data::Task::Pretrain ? print_pretrain(example)
                        : task == data::Task::Vqa    ? print_vqa(example, saved->answers)
                        : task == data::Task::Nlvr2  ? print_nlvr2(example)
                                                     : print_retrieval(example);
    if (config.dump.empty()) continue;
    dump["image"] = pictures[0][0];
    dump["input_ids"] = inputs.tokens[0].cpu();
    dump["hidden"] = encoded.hidden[0].to(at::kCPU, at::kFloat);
    dump["attention"] = jobs::attention_to_pixels(restored.model, inputs);
    if (task == data::Task::Nlvr2) {
      dump["image_right"] = pictures[1][0];
      dump["hidden_right"] = encoded.hidden[1].to(at::kCPU, at::kFloat);
    }
    jobs::write_tensors(config.dump, dump);
  }
  return 0;
}

}  // namespace pixelbert::apps

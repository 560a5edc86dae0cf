// pixelbert predict: one example. A pre-training checkpoint fills [MASK] and scores the match; others do their task.
#include <ATen/ATen.h>

#include <iostream>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "core/activity.h"
#include "core/check.h"
#include "jobs/example.h"
#include "jobs/restore.h"
#include "model/autocast.h"
#include "tasks/results.h"
#include "tasks/task.h"

namespace pixelbert::apps {
namespace {

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

void validate(const PredictConfig& config, const tasks::Task& task) {
  if (config.texts.empty()) throw UsageError("--text is missing: a caption, question or statement");
  if (std::ssize(config.images) != task.images()) {
    throw UsageError(fmt::format("a {} checkpoint needs --image {}, found {} of them", task.name(),
                                 task.has_right_image() ? "twice (left and right image)" : "once",
                                 config.images.size()));
  }
  if (!config.dump.empty() && config.texts.size() > 1) throw UsageError("--dump is for one --text");
}

}  // namespace

int predict(const Arguments& arguments, const comm::MpiSession& session) {
  PredictConfig config;
  jobs::RestoreConfig restoring;
  config::CommandLine line(
      "predict",
      "pixelbert predict: what a checkpoint predicts for one image and its texts. Options of the "
      "image, the text and the model, the precision and the memory order come from the checkpoint, "
      "unless you give them");
  line.add(config);
  line.add(restoring);
  if (session.world_size() > 1) throw UsageError("pixelbert predict runs alone, without mpirun");
  auto control = comm::make_control_communicator(session);
  const auto saved = jobs::parse_with_checkpoint(arguments, line, *control);
  if (!saved) return 0;
  const auto task = jobs::task_of(*saved);
  validate(config, *task);
  pixelbert::validate(restoring);
  jobs::check_output("dump", config.dump);

  const text::WordPiece tokenizer = jobs::restore_tokenizer(restoring, *saved);
  jobs::Ranks ranks(restoring.compute, session, std::move(control));
  jobs::Restored restored = jobs::restore(restoring, *saved, *task, ranks.device(), ranks.tensors());

  activity::doing(activity::Phase::Forward, "one example");
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> images;
  for (const std::string& image : config.images) images.push_back(jobs::read_image(image, restoring.image));
  for (const std::string& text : config.texts) {
    const std::vector<std::int64_t> ids = jobs::read_text(text, tokenizer, restoring.text.max_tokens);
    const model::Inputs inputs = jobs::make_inputs(images, ids, restoring.image, ranks.device());
    const model::Autocast autocast(ranks.device().type(), ranks.precision());
    const model::Encoded encoded = restored.model->forward(inputs);
    PB_CHECK(encoded.hidden.isfinite().all().item<bool>(),
             "{} gives values that are not finite for this image: its weights are broken", restoring.checkpoint);
    if (config.texts.size() > 1) std::cout << text << "\n";
    checkpoint::NamedTensors dump = task->show({*restored.objective, tokenizer, inputs, encoded, ids}, std::cout);
    if (config.dump.empty()) continue;
    const auto add_image = [&](const std::string& suffix, std::int64_t i) {
      dump["image" + suffix] = inputs.images[i].cpu().contiguous();  // with padding
      dump["hidden" + suffix] = jobs::own_hidden(restored.model, inputs, encoded, i);
    };
    add_image("", 0);
    if (task->has_right_image()) add_image("_right", 1);
    dump["input_ids"] = inputs.tokens[0].cpu();
    dump["attention"] = jobs::attention_to_pixels(restored.model, inputs);
    tasks::write_tensors(config.dump, dump);
  }
  return 0;
}

}  // namespace pixelbert::apps

#include "apps/restore.h"

#include "apps/job.h"
#include "core/check.h"
#include "core/log.h"
#include "core/text_lines.h"
#include "train/checkpointer.h"

namespace pixelbert::apps {
namespace {

bool describes_model(const std::string& option) {
  return option.starts_with("image.") || option.starts_with("model.") || option == "text.max-tokens";
}

// For the commands that use the weights as they are.
bool describes_use(const std::string& option) {
  return describes_model(option) || option == "train.precision" || option == "train.channels-last";
}

std::map<std::string, std::string> options_of(const checkpoint::Checkpoint& saved, bool (*wanted)(const std::string&)) {
  std::map<std::string, std::string> options = saved.trainer["config"];
  std::erase_if(options, [&](const auto& option) { return !wanted(option.first); });
  return options;
}

text::Vocabulary parse_vocabulary(const std::string& text) {
  return text::Vocabulary(lines_of(text));
}

void check_task(data::Task task, data::Task trained_for, const std::string& path) {
  const bool matching_scores = task == data::Task::Retrieval && trained_for == data::Task::Pretrain;
  if (task == trained_for || matching_scores) return;
  throw UsageError(fmt::format(
      "{} was trained for {}, not for {}: give a checkpoint of 'pixelbert {}'", path, name_of(trained_for),
      name_of(task), task == data::Task::Pretrain ? "pretrain" : fmt::format("finetune --task {}", name_of(task))));
}

}  // namespace

std::optional<checkpoint::Checkpoint> read_checkpoint(const std::string& option, const Arguments& arguments,
                                                      config::CommandLine& line, comm::Communicator& control) {
  const std::string path = config::early_value(arguments, option);
  if (path.empty() || path == "none") return std::nullopt;
  checkpoint::Checkpoint saved = train::read_model(path, control);
  line.set_defaults(options_of(saved, option == "checkpoint" ? describes_use : describes_model));
  return saved;
}

std::map<std::string, std::string> model_options(const checkpoint::Checkpoint& saved) {
  return options_of(saved, describes_model);
}

data::Task task_of(const checkpoint::Checkpoint& saved) {
  return data::task_named(saved.trainer.value("task", "pretrain"),
                          {data::Task::Pretrain, data::Task::Vqa, data::Task::Nlvr2, data::Task::Retrieval});
}

objectives::ObjectiveConfig pretraining_objective(const std::string& objectives) {
  return {.mlm = objectives != "itm", .itm = objectives != "mlm"};
}

objectives::ObjectiveConfig pretraining_objective(const checkpoint::Checkpoint& saved) {
  return pretraining_objective(saved.trainer["config"].value("train.objectives", std::string("mlm,itm")));
}

std::vector<std::string> answers_of(const checkpoint::Checkpoint& saved) {
  return saved.trainer.value("answers", std::vector<std::string>{});
}

text::WordPiece restore_tokenizer(const std::string& vocab_file, const checkpoint::Checkpoint& saved,
                                  const std::string& path) {
  if (!vocab_file.empty()) {
    const text::Vocabulary other = text::Vocabulary::read(vocab_file);
    if (vocabulary_text(other) != saved.vocabulary) {
      throw UsageError(
          fmt::format("--text.vocab {} ({} tokens) is not the vocabulary {} was trained with ({} tokens); leave "
                      "the option out to use that one",
                      vocab_file, other.size(), path, parse_vocabulary(saved.vocabulary).size()));
    }
  }
  return text::WordPiece(parse_vocabulary(saved.vocabulary));
}

void add_retrieval_head(checkpoint::NamedTensors& weights) {
  for (const std::string name : {"weight", "bias"}) {
    if (const auto found = weights.find("itm." + name); found != weights.end()) {
      weights.emplace("retrieval." + name, found->second);
    }
  }
}

Restored restore(const RestoreConfig& config, checkpoint::Checkpoint saved, data::Task task, torch::Device device,
                 comm::Communicator& tensors) {
  check_task(task, task_of(saved), config.checkpoint);
  objectives::ObjectiveConfig objective = pretraining_objective(saved);
  objective.task = task;
  objective.answers = std::ssize(answers_of(saved));
  if (task == data::Task::Retrieval) add_retrieval_head(saved.model);

  Restored restored{model::PixelBert(config.model), objectives::make_objective(objective, config.model)};
  if (config.compute.channels_last) model::use_channels_last(*restored.model);
  restored.model->to(device);
  restored.objective->to(device);
  restored.model->eval();
  restored.objective->eval();
  train::restore_tensors(saved.model, train::named_tensors({restored.model.get(), restored.objective.get()}), tensors);
  log::info("{} at step {} from {}", config.model.backbone, saved.trainer["step"].get<std::int64_t>(),
            config.checkpoint);
  return restored;
}

}  // namespace pixelbert::apps

#include "jobs/restore.h"

#include "checkpoint/checkpoint_store.h"
#include "core/check.h"
#include "core/log.h"
#include "train/replicas.h"

namespace pixelbert::jobs {
namespace {

bool describes_model(const std::string& option) {
  return option.starts_with("image.") || option.starts_with("model.") || option == "text.max-tokens";
}

bool describes_run(const std::string& option) {
  return describes_model(option) || option == "data.group-shapes";
}

// For commands that use the weights as they are.
bool describes_use(const std::string& option) {
  return describes_model(option) || option == "train.precision" || option == "train.channels-last";
}

std::map<std::string, std::string> options_of(const checkpoint::Description& saved,
                                              bool (*wanted)(const std::string&)) {
  std::map<std::string, std::string> options = saved.config;
  std::erase_if(options, [&](const auto& option) { return !wanted(option.first); });
  return options;
}

}  // namespace

void find_problems(const images::ImageConfig& image, const text::TextConfig& text, const model::PixelBertConfig& model,
                   Problems& problems) {
  find_problems(image, problems);
  find_problems(text, problems);
  find_problems(model, problems);
  problems.require(
      text.max_tokens <= model.positions,
      fmt::format("--text.max-tokens {} is more than --model.positions {}", text.max_tokens, model.positions));
}

std::optional<checkpoint::Weights> read_weights(const std::string& option, const config::Arguments& arguments,
                                                config::CommandLine& line, comm::Communicator& control) {
  const std::string path = config::early_value(arguments, option);
  if (path.empty() || path == "none") return std::nullopt;
  auto saved = train::read_on_rank_0<checkpoint::Weights>(path, control, checkpoint::load_weights);
  line.set_defaults(options_of(*saved, option == "checkpoint" ? describes_use : describes_model));
  return saved;
}

std::optional<checkpoint::Weights> parse_with_checkpoint(const config::Arguments& arguments, config::CommandLine& line,
                                                         comm::Communicator& control) {
  auto saved = read_weights("checkpoint", arguments, line, control);
  if (!line.parse(arguments)) return std::nullopt;
  if (!saved) throw UsageError("--checkpoint is missing: a step-... folder, a run folder or an exported file");
  return saved;
}

std::map<std::string, std::string> options_of_run(const checkpoint::Description& saved) {
  return options_of(saved, describes_run);
}

std::shared_ptr<tasks::Task> task_of(const checkpoint::Description& saved) {
  return tasks::task_named("the checkpoint's task", saved.task);
}

text::WordPiece restore_tokenizer(const std::string& vocab_file, const checkpoint::Description& saved,
                                  const std::string& path) {
  text::Vocabulary vocabulary = text::Vocabulary::parse(saved.vocabulary);
  if (!vocab_file.empty()) {
    const text::Vocabulary other = text::Vocabulary::read(vocab_file);
    if (other.text() != saved.vocabulary) {
      throw UsageError(
          fmt::format("--text.vocab {} ({} tokens) is not the vocabulary that {} was trained with ({} tokens); "
                      "leave the option out to use the checkpoint's",
                      vocab_file, other.size(), path, vocabulary.size()));
    }
  }
  return text::WordPiece(std::move(vocabulary));
}

text::WordPiece restore_tokenizer(RestoreConfig& config, const checkpoint::Description& saved) {
  text::WordPiece tokenizer = restore_tokenizer(config.text.vocab, saved, config.checkpoint);
  config.model.vocabulary = tokenizer.vocabulary().size();
  return tokenizer;
}

Restored restore(const RestoreConfig& config, checkpoint::Weights saved, tasks::Task& task, torch::Device device,
                 comm::Communicator& tensors) {
  const auto trained_for = task_of(saved);
  const bool adopted = task.adopt(saved);  // changes `saved`
  if (!adopted && task.name() != trained_for->name()) {
    throw UsageError(fmt::format("{} was trained for {}, not for {}: give a checkpoint of 'pixelbert {}'",
                                 config.checkpoint, trained_for->name(), task.name(), task.command()));
  }
  task.read_checkpoint(saved);
  Restored restored{model::PixelBert(config.model), task.objective(config.model, /*head=*/{})};
  if (config.compute.channels_last) model::use_channels_last(*restored.model);
  restored.model->to(device);
  restored.objective->to(device);
  restored.model->eval();
  restored.objective->eval();
  train::restore_tensors(saved.model, train::named_tensors({restored.model.get(), restored.objective.get()}), tensors);
  log::info("{} at step {} from {}", config.model.backbone, saved.step, config.checkpoint);
  return restored;
}

}  // namespace pixelbert::jobs

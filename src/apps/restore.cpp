#include "apps/restore.h"

#include <sstream>

#include "apps/job.h"
#include "core/check.h"
#include "core/log.h"
#include "train/checkpointer.h"

namespace pixelbert::apps {
namespace {

// The value of --checkpoint, before the other options can be parsed: their defaults come from it.
std::string checkpoint_argument(const Arguments& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--checkpoint" && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].starts_with("--checkpoint=")) return arguments[i].substr(std::string("--checkpoint=").size());
  }
  return "";
}

bool fixed_by_checkpoint(const std::string& option) {
  return option.starts_with("image.") || option.starts_with("model.") || option == "text.max-tokens" ||
         option == "train.precision" || option == "train.channels-last";
}

text::Vocabulary parse_vocabulary(const std::string& text) {
  std::vector<std::string> tokens;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) tokens.push_back(line);
  return text::Vocabulary(std::move(tokens));
}

}  // namespace

std::optional<checkpoint::Checkpoint> read_checkpoint(const Arguments& arguments, config::CommandLine& line,
                                                      comm::Communicator& control) {
  const std::string path = checkpoint_argument(arguments);
  if (path.empty()) return std::nullopt;
  checkpoint::Checkpoint saved = train::read_model(path, control);
  std::map<std::string, std::string> fixed;
  for (const auto& [name, value] : saved.trainer["config"].get<std::map<std::string, std::string>>()) {
    if (fixed_by_checkpoint(name)) fixed.emplace(name, value);
  }
  line.set_defaults(fixed);
  return saved;
}

text::WordPiece restore_tokenizer(RestoreConfig& config, const checkpoint::Checkpoint& saved) {
  text::Vocabulary vocabulary = parse_vocabulary(saved.vocabulary);
  if (!config.text.vocab.empty()) {
    if (vocabulary_text(text::Vocabulary::read(config.text.vocab)) != saved.vocabulary) {
      throw UsageError(fmt::format("--text.vocab {} is not the vocabulary {} was trained with; leave the option out to "
                                   "use that one",
                                   config.text.vocab, config.checkpoint));
    }
  }
  config.model.vocabulary = vocabulary.size();
  return text::WordPiece(std::move(vocabulary));
}

Restored restore(const RestoreConfig& config, const checkpoint::Checkpoint& saved, torch::Device device,
                 comm::Communicator& control, comm::Communicator& tensors) {
  Restored restored{model::PixelBert(config.model), objectives::Pretrain(config.model)};
  if (config.compute.channels_last) model::use_channels_last(*restored.model);
  restored.model->to(device);
  restored.objective->to(device);
  restored.model->eval();
  restored.objective->eval();
  train::restore_tensors(saved.model, train::named_tensors({restored.model.get(), restored.objective.get()}), control,
                         tensors);
  log::info("{} at step {} from {}", config.model.backbone, saved.trainer["step"].get<std::int64_t>(),
            config.checkpoint);
  return restored;
}

}  // namespace pixelbert::apps

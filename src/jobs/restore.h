// Restores a model from a checkpoint, for the commands that use one or start from one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"
#include "config/command_line.h"
#include "images/image_ops.h"
#include "jobs/ranks.h"
#include "model/pixel_bert.h"
#include "objectives/objective.h"
#include "tasks/task.h"
#include "text/text_config.h"
#include "text/wordpiece.h"

namespace pixelbert::jobs {

// The options that a checkpoint fixes, and the options of how to compute.
struct RestoreConfig {
  std::string checkpoint;
  images::ImageConfig image;
  text::TextConfig text;
  model::PixelBertConfig model;
  ComputeConfig compute;
};

// Adds a problem, naming the option, for what cannot work alone or together.
void find_problems(const images::ImageConfig& image, const text::TextConfig& text, const model::PixelBertConfig& model,
                   Problems& problems);

template <class Field>
void describe(RestoreConfig& config, Field&& field) {
  field("checkpoint", config.checkpoint,
        "a step-... folder, a run folder (its newest), an imported folder or an exported file");
  describe(config.image, field);
  describe(config.text, field);
  describe(config.model, field);
  describe(config.compute, field);
}

inline void find_problems(const RestoreConfig& config, Problems& problems) {
  find_problems(config.image, config.text, config.model, problems);
  find_problems(config.compute, problems);
}

// Collective. Reads the checkpoint that `option` ("checkpoint", "init") names. Uses its image, text and model options
// as defaults; call before `line` is parsed. Returns nothing if the option is empty or "none".
std::optional<checkpoint::Weights> read_weights(const std::string& option, const config::Arguments& arguments,
                                                config::CommandLine& line, comm::Communicator& control);

// Collective. Reads the checkpoint that --checkpoint names and parses `line`, with its options as defaults. Returns
// nothing if `line` printed what it was asked for. Throws UsageError if --checkpoint is missing.
std::optional<checkpoint::Weights> parse_with_checkpoint(const config::Arguments& arguments, config::CommandLine& line,
                                                         comm::Communicator& control);

// Returns the options that a resumed run takes from its checkpoint: image, text and model, and the order of samples (a
// run that was saved before that option existed keeps its order without naming it: checkpoint/checkpoint.cpp).
std::map<std::string, std::string> options_of_run(const checkpoint::Description& saved);

// Returns what a checkpoint was trained for.
std::shared_ptr<tasks::Task> task_of(const checkpoint::Description& saved);

// Returns a tokenizer with the checkpoint's vocabulary. Throws UsageError if `vocab_file` is given and differs; `path`
// is the checkpoint's.
text::WordPiece restore_tokenizer(const std::string& vocab_file, const checkpoint::Description& saved,
                                  const std::string& path);

// Returns the same for --checkpoint and --text.vocab, and gives the model the size of the vocabulary.
text::WordPiece restore_tokenizer(RestoreConfig& config, const checkpoint::Description& saved);

struct Restored {
  model::PixelBert model{nullptr};
  std::shared_ptr<objectives::Objective> objective;
};

// Collective. Returns the model and the head of `task` with the checkpoint's weights on `device`, in evaluation mode.
// Throws UsageError if the checkpoint is of another task whose head `task` cannot adopt.
Restored restore(const RestoreConfig& config, checkpoint::Weights saved, tasks::Task& task, torch::Device device,
                 comm::Communicator& tensors);

}  // namespace pixelbert::jobs

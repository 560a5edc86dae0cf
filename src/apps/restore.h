// A model from a checkpoint, for the commands that use one.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "apps/commands.h"
#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "model/pixel_bert.h"
#include "objectives/pretrain.h"
#include "text/wordpiece.h"

namespace pixelbert::apps {

// The options that a checkpoint fixes, and those about how to compute.
struct RestoreConfig {
  std::string checkpoint;
  images::ImageConfig image;
  config::TextConfig text;
  model::PixelBertConfig model;
  config::ComputeConfig compute;
};

template <class Field>
void describe(RestoreConfig& config, Field&& field) {
  field("checkpoint", config.checkpoint, "a step-... folder, or a run folder (its newest)");
  describe(config.image, field);
  describe(config.text, field);
  describe(config.model, field);
  describe(config.compute, field);
}

// Collective. Reads the checkpoint that `arguments` name and makes its image, text and model options the defaults of
// `line`, which is yet to parse. Nothing when none is named, which is right only for --help.
std::optional<checkpoint::Checkpoint> read_checkpoint(const Arguments& arguments, config::CommandLine& line,
                                                      comm::Communicator& control);

// The vocabulary that goes with the weights; sets config.model.vocabulary. UsageError when --text.vocab names another.
text::WordPiece restore_tokenizer(RestoreConfig& config, const checkpoint::Checkpoint& saved);

struct Restored {
  model::PixelBert model{nullptr};
  objectives::Pretrain objective{nullptr};
};

// Collective. The model with the checkpoint's weights on `device`, in evaluation mode.
Restored restore(const RestoreConfig& config, const checkpoint::Checkpoint& saved, torch::Device device,
                 comm::Communicator& control, comm::Communicator& tensors);

}  // namespace pixelbert::apps

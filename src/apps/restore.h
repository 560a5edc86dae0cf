// A model from a checkpoint, for the commands that use one.
#pragma once

#include <string>

#include "apps/commands.h"
#include "apps/job.h"
#include "checkpoint/checkpoint_store.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "model/pixel_bert.h"
#include "objectives/pretrain.h"

namespace pixelbert::apps {

// The value of --checkpoint in `arguments`, before anything else is known; UsageError when it is missing.
std::string checkpoint_argument(const Arguments& arguments);

struct Restored {
  model::PixelBert model{nullptr};
  objectives::Pretrain objective{nullptr};
};

// Collective. The model that `saved` was trained as, in evaluation mode on the device of `ranks`.
Restored restore(const model::PixelBertConfig& config, const checkpoint::Checkpoint& saved, Ranks& ranks);

}  // namespace pixelbert::apps

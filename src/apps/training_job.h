// The job that the options of `pretrain` or `finetune` describe.
#pragma once

#include "apps/commands.h"
#include "apps/training.h"
#include "config/command_line.h"
#include "core/problems.h"

namespace pixelbert::apps {

// Adds the options to `line`, parses it and fills `job` but for `initial`, whose options are `line`'s defaults by now
// (read_checkpoint). What cannot work is added to `problems`. False when --help or --print-config was answered and
// there is nothing left to do.
bool read_pretraining(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, Problems& problems);
bool read_finetuning(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, Problems& problems);

}  // namespace pixelbert::apps

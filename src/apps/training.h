// What pretrain and finetune have in common: from options to a finished or stopped run.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/commands.h"
#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "comm/mpi_session.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "data/loader_config.h"
#include "objectives/objective.h"
#include "watch/watchdog.h"

namespace pixelbert::apps {

struct TrainingJob {
  config::Config config;  // validated
  data::LoaderConfig loader;
  objectives::ObjectiveConfig objective;          // `answers` is filled in from the data
  std::optional<checkpoint::Checkpoint> resumed;  // what the run folder's newest says, without its tensors
  std::string init;                               // the path of `initial`
  std::optional<checkpoint::Checkpoint> initial;  // weights to start from, unless resumed; nothing: random ones
  std::map<std::string, std::string> options;     // all of them, resolved
  std::string ini;                                // the same as a file
};

// Collective. Fills in what the job starts from: the checkpoints of its run folder or, where it has none, the one that
// --init names; a run that goes on needs that no more. Its options of image, text and model become the defaults of
// `line`, which is yet to parse.
void read_start(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, comm::Communicator& control);

// Collective. Builds the parts in order and runs the loop. The exit code: 0, or 75 when it was stopped on request.
int train(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control,
          watch::Watchdog& watchdog);

}  // namespace pixelbert::apps

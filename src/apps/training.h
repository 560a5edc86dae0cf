// What pretrain and finetune have in common: from options to a finished or stopped run.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint_store.h"
#include "comm/communicator.h"
#include "comm/mpi_session.h"
#include "config/train_config.h"
#include "data/loader_config.h"
#include "objectives/objective.h"

namespace pixelbert::apps {

struct TrainingJob {
  config::Config config;  // validated
  data::LoaderConfig loader;
  objectives::ObjectiveConfig objective;          // `answers` is filled in from the data
  std::string init;                               // the path of `initial`
  std::optional<checkpoint::Checkpoint> initial;  // weights to start from; nothing: random ones
  std::map<std::string, std::string> options;     // all of them, resolved
  std::string ini;                                // the same as a file
};

// Collective. Builds the parts in order and runs the loop. The exit code: 0, or 75 when it was stopped on request.
int train(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control);

}  // namespace pixelbert::apps

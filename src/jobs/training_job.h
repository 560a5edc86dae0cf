// A training, as described by the options of `pretrain` or `finetune` and by its first checkpoint.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "checkpoint/checkpoint.h"
#include "comm/communicator.h"
#include "config/command_line.h"
#include "core/problems.h"
#include "data/batch_config.h"
#include "data/data_sets.h"
#include "jobs/training_config.h"
#include "objectives/heads.h"
#include "tasks/pretrain.h"
#include "tasks/task.h"
#include "text/wordpiece.h"

namespace pixelbert::jobs {

struct TrainingJob {
  TrainingConfig config;                                                        // validated
  std::shared_ptr<tasks::Task> task = std::make_shared<tasks::PretrainTask>();  // with its options
  objectives::HeadConfig head;                                                  // of tasks that classify
  std::string init;                                                             // the path of `initial`
  std::optional<checkpoint::Description> resumed;                               // the run folder's newest
  std::optional<checkpoint::Weights> initial;  // weights to start from, unless resumed; nothing: random ones
  std::map<std::string, std::string> options;  // all of them, resolved
  std::set<std::string> free_on_resume;        // core/option.h
  std::string ini;                             // the options as a file

  // Returns the content of a batch of this training.
  data::BatchConfig batch() const;
};

// Collective. Fills in what the job starts from: the checkpoints of its run folder or, where it has none, the one that
// --init names (a resumed run does not read --init, which must be given as before). Its options become
// defaults (jobs/restore.h); call before `line` is parsed.
void read_start(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                comm::Communicator& control);

// Adds the options to `line`, parses it and fills in the members of `job` that read_start() does not. Adds what cannot
// work to `problems`. Returns false if --help or --print-config was answered and nothing is left to do.
using ReadOptions = bool(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                         Problems& problems);
ReadOptions read_pretraining, read_finetuning;

// Returns the tokenizer of the checkpoint that the job starts from, or of its data.
text::WordPiece open_tokenizer(const TrainingJob& job, const data::DataSets& data);

}  // namespace pixelbert::jobs

// What is learned, whole: the shards that a task reads, the rows and targets of its batches, its objective, its scores,
// and what it shows of one example. Each task has two files in this folder and a line in all_tasks.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/command_line.h"
#include "core/problems.h"
#include "data/data_sets.h"
#include "data/draft.h"
#include "evaluation/pass.h"
#include "model/pixel_bert.h"
#include "objectives/heads.h"
#include "objectives/objective.h"
#include "plan/activations.h"
#include "text/wordpiece.h"

namespace pixelbert::tasks {

// One encoded example.
struct Example {
  objectives::Objective& objective;
  const text::WordPiece& tokenizer;
  const model::Inputs& inputs;
  const model::Encoded& encoded;
  std::vector<std::int64_t> ids;
};

class Task : public data::RowMaker {
 public:
  virtual std::string_view name() const = 0;                  // --task, trainer.json
  virtual std::string_view shards() const { return name(); }  // what its shards are called in their manifest
  virtual std::int64_t images() const { return 1; }           // of a sample
  bool has_right_image() const { return images() == 2; }      // beside the left one
  virtual std::string command() const;                        // of `pixelbert`, which trains it

  // Options of its own. They keep their defaults where a checkpoint is used, except for what read_checkpoint() takes.
  virtual void add_options(config::CommandLine& /*line*/) {}
  virtual void find_problems(const data::StreamConfig& /*stream*/, Problems& /*problems*/) const {}

  // Throws UsageError if a folder's shards were made for another task.
  void check_data(const data::DataSets& data) const;

  // Read what the head depends on. The first, for training, throws UsageError if the data lacks it. The second is for
  // evaluation and prediction.
  virtual void read_data(const data::DataSets& /*data*/) {}
  virtual void read_checkpoint(const checkpoint::Description& /*saved*/) {}
  virtual std::vector<std::string> answers() const { return {}; }  // VQA: the answer vocabulary; of trainer.json

  virtual std::shared_ptr<objectives::Objective> objective(const model::PixelBertConfig& model,
                                                           const objectives::HeadConfig& head) const = 0;

  // Gives the head what the weights of another task have for it. Returns whether it can be evaluated with them.
  virtual bool adopt(checkpoint::Weights& /*weights*/) const { return false; }

  // Returns the memory of its objective during a step.
  virtual plan::HeadMemory head_memory(const model::PixelBertConfig& /*model*/, const plan::BatchShape& /*shape*/,
                                       bool /*bf16*/) const {
    return {};
  }

  // Adds a problem if these options do not fit an evaluation of this task.
  virtual void find_evaluation_problems(const std::vector<std::string>& /*shards*/, const std::string& /*predictions*/,
                                        Problems& /*problems*/) const {}

  // Collective. Returns the official scores, the same on every rank and for any number of ranks. Rank 0 writes
  // `evaluation.predictions`. The objective of `evaluation` is this task's.
  virtual evaluation::Scores evaluate(const evaluation::Evaluation& evaluation) const = 0;

  // Prints what is predicted for an example, and returns it as tensors. The example's objective is this task's.
  virtual checkpoint::NamedTensors show(const Example& example, std::ostream& out) const = 0;
};

using Tasks = std::vector<std::shared_ptr<Task>>;

Tasks all_tasks();         // pre-training first
Tasks finetuning_tasks();  // the others

// Returns the names of the second kind: "vqa, nlvr2 or retrieval", or with another word.
std::string finetuning_names(std::string_view word = "or");

// Throws UsageError, listing the names of `tasks`, for any other name. `what` has the name: "--task", "the checkpoint's
// task".
std::shared_ptr<Task> task_named(const std::string& what, const std::string& name, const Tasks& tasks = all_tasks());

}  // namespace pixelbert::tasks

#include "jobs/training_job.h"

#include <filesystem>

#include "checkpoint/checkpoint_store.h"
#include "jobs/restore.h"
#include "jobs/run_folder.h"
#include "train/replicas.h"

namespace pixelbert::jobs {
namespace {

// Returns false if --help or --print-config was answered.
bool parse(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job, Problems& problems) {
  bool go_on = true;
  problems.collect([&] { go_on = line.parse(arguments); });
  job.options = line.values();
  job.free_on_resume = line.free_on_resume();
  if (go_on) problems.collect([&] { job.ini = line.ini(); });
  return go_on;
}

}  // namespace

data::BatchConfig TrainingJob::batch() const {
  return {.text = config.text, .image = config.image, .sample_pixels = config.model.sampled_pixels > 0};
}

void read_start(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                comm::Communicator& control) {
  if (const std::filesystem::path run_dir = config::early_value(arguments, "run.dir"); !run_dir.empty()) {
    job.resumed = train::read_on_rank_0(run_dir / "checkpoints", control, checkpoint::describe);
    if (!job.resumed && control.rank() == 0) check_checkpoints_not_lost(run_dir);
  }
  if (job.resumed) {
    auto defaults = model_options(*job.resumed);
    // The order of a run that was saved before this option existed (checkpoint.cpp) goes on without it.
    constexpr const char* kGroupShapes = "data.group-shapes";
    if (const auto saved = job.resumed->config.find(kGroupShapes); saved != job.resumed->config.end()) {
      defaults.insert(*saved);
    }
    line.set_defaults(defaults);
  } else {
    job.initial = read_weights("init", arguments, line, control);
  }
}

bool read_pretraining(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                      Problems& problems) {
  PretrainOptions options;
  line.add(options);
  job.task->add_options(line);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  job.task->find_problems(job.config.stream, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, job.task->images(), problems);
  job.init = options.init;
  return true;
}

bool read_finetuning(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                     Problems& problems) {
  FinetuneOptions options;
  const tasks::Tasks known = tasks::finetuning_tasks();
  line.add(options);
  for (const auto& task : known) task->add_options(line);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  problems.collect([&] { job.task = tasks::task_named("--task", options.task, known); });
  find_problems(options, problems);
  for (const auto& task : known) task->find_problems(job.config.stream, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, job.task->images(), problems);
  job.init = options.init;
  job.head = options.head;
  return true;
}

}  // namespace pixelbert::jobs

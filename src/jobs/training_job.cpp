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
  return {.task = task,
          .text = config.text,
          .image = config.image,
          // Only pre-training samples pixels (paper, section 3.2).
          .sample_pixels = task.task == data::Task::Pretrain && config.model.sampled_pixels > 0};
}

void read_start(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                comm::Communicator& control) {
  if (const std::filesystem::path run_dir = config::early_value(arguments, "run.dir"); !run_dir.empty()) {
    job.resumed = train::read_on_rank_0(run_dir / "checkpoints", control, checkpoint::describe);
    if (!job.resumed && control.rank() == 0) check_never_saved(run_dir);
  }
  if (job.resumed) {
    line.set_defaults(model_options(*job.resumed));
  } else {
    job.initial = read_weights("init", arguments, line, control);
  }
}

bool read_pretraining(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                      Problems& problems) {
  PretrainOptions options;
  line.add(options);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  find_problems(options.pretrain, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, /*pictures=*/1, problems);
  problems.require(!options.pretrain.itm() || job.config.stream.micro_batch >= 2,
                   fmt::format("--data.micro-batch must be at least 2 with ITM, because half of its pairs are "
                               "negatives; found {}",
                               job.config.stream.micro_batch));
  job.init = options.init;
  job.task.pretrain = options.pretrain;
  return true;
}

bool read_finetuning(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                     Problems& problems) {
  using data::Task;
  FinetuneOptions options;
  line.add(options);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  problems.collect(
      [&] { job.task.task = data::task_named("--task", options.task, {Task::Vqa, Task::Nlvr2, Task::Retrieval}); });
  find_problems(options, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, job.task.task == Task::Nlvr2 ? 2 : 1, problems);
  job.init = options.init;
  job.task.head = options.head;
  job.task.retrieval = options.retrieval;
  return true;
}

}  // namespace pixelbert::jobs

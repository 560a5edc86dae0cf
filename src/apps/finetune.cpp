// pixelbert finetune --task vqa|nlvr2|retrieval --init CHECKPOINT
#include "apps/commands.h"
#include "apps/job.h"
#include "apps/restore.h"
#include "apps/training.h"
#include "apps/training_job.h"
#include "comm/make_communicator.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "data/task.h"

namespace pixelbert::apps {

bool read_finetuning(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, Problems& problems) {
  using data::Task;
  config::FinetuneConfig options;
  line.add(options);
  line.add(job.config);
  bool go_on = true;
  problems.collect([&] { go_on = line.parse(arguments); });
  if (!go_on) return false;
  problems.collect(
      [&] { job.objective.task = data::task_named(options.task, {Task::Vqa, Task::Nlvr2, Task::Retrieval}); });
  find_problems(options, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, job.objective.task == Task::Nlvr2 ? 2 : 1, problems);

  job.init = options.init;
  job.options = line.values();
  job.ini = line.ini();
  job.objective.head_dropout = options.head_dropout;
  job.objective.hard_texts = options.hard_texts;
  job.loader = config::loader_config(job.config);
  job.loader.task = job.objective.task;
  job.loader.foreign_texts = options.foreign_texts;
  job.loader.sample_pixels = false;  // paper, section 3.2: only pre-training samples
  return true;
}

int finetune(const Arguments& arguments, const comm::MpiSession& session) {
  TrainingJob job;
  Problems problems;
  config::CommandLine line("finetune", "pixelbert finetune: a downstream task from a pre-training checkpoint");
  auto control = comm::make_control_communicator(session);
  return watched(arguments, session, *control, [&](watch::Watchdog& watchdog) {
    read_start(arguments, line, job, *control);
    if (!read_finetuning(arguments, line, job, problems)) return 0;
    problems.throw_if_any();
    return train(std::move(job), session, std::move(control), watchdog);
  });
}

}  // namespace pixelbert::apps

// pixelbert finetune --task vqa|nlvr2|retrieval --init CHECKPOINT
#include "apps/commands.h"
#include "apps/restore.h"
#include "apps/training.h"
#include "comm/make_communicator.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "data/task.h"

namespace pixelbert::apps {

int finetune(const Arguments& arguments, const comm::MpiSession& session) {
  TrainingJob job;
  config::FinetuneConfig options;
  config::CommandLine line("finetune", "pixelbert finetune: a downstream task from a pre-training checkpoint");
  line.add(options);
  line.add(job.config);
  auto control = comm::make_control_communicator(session);
  job.initial = read_checkpoint("init", arguments, line, *control);
  if (!line.parse(arguments)) return 0;
  job.objective.task = data::task_named(options.task, {data::Task::Vqa, data::Task::Nlvr2, data::Task::Retrieval});
  config::validate(options);
  config::validate(job.config);

  job.init = options.init;
  job.options = line.values();
  job.ini = line.ini();
  job.objective.head_dropout = options.head_dropout;
  job.objective.hard_texts = options.hard_texts;
  job.loader = config::loader_config(job.config);
  job.loader.task = job.objective.task;
  job.loader.foreign_texts = options.foreign_texts;
  job.loader.sample_pixels = false;  // paper, section 3.2: only pre-training samples
  return train(std::move(job), session, std::move(control));
}

}  // namespace pixelbert::apps

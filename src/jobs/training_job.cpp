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

std::map<std::string, std::string> order_of(const checkpoint::Description& saved) {
  const auto found = saved.config.find("data.group-shapes");
  if (found == saved.config.end()) return {};
  return {*found};
}

void read_start(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                comm::Communicator& control) {
  if (const std::filesystem::path run_dir = config::early_value(arguments, "run.dir"); !run_dir.empty()) {
    job.resumed = train::read_on_rank_0(run_dir / "checkpoints", control, checkpoint::describe);
    if (!job.resumed && control.rank() == 0) check_checkpoints_not_lost(run_dir);
  }
  if (job.resumed) {
    auto defaults = model_options(*job.resumed);
    defaults.merge(order_of(*job.resumed));
    line.set_defaults(defaults);
  } else {
    job.initial = read_weights("init", arguments, line, control);
  }
}

bool read_pretraining(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                      Problems& problems) {
  auto& task = dynamic_cast<tasks::PretrainTask&>(*job.task);  // a job's task until it has another
  PretrainOptions options;
  line.add(options);
  task.add_options(line);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  task.find_problems(job.config.stream, problems);
  const std::int64_t alone = task.options.mlm_epochs, epochs = job.config.loop.epochs;
  problems.require(alone < epochs || alone <= 0,
                   fmt::format("--train.mlm-epochs {} leaves no epoch of --train.epochs {} for ITM: raise "
                               "--train.epochs, or lower --train.mlm-epochs (0 with --train.objectives mlm)",
                               alone, epochs));
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

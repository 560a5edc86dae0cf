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

// Every run's config.ini has the options of all tasks; those of another task have their defaults.
void find_options_of_others(const tasks::Task& own, const std::map<std::string, std::string>& options,
                            Problems& problems) {
  for (const auto& other : tasks::finetuning_tasks()) {
    if (other->name() == own.name()) continue;
    config::CommandLine defaults("", "");
    other->add_options(defaults);
    for (const auto& [name, value] : defaults.values()) {
      problems.require(options.at(name) == value, fmt::format("--{} is an option of --task {}, found with --task {}",
                                                              name, other->name(), own.name()));
    }
  }
}

}  // namespace

data::BatchConfig TrainingJob::batch() const {
  return {.text = config.text, .image = config.image, .sample_pixels = config.model.sampled_pixels > 0};
}

void read_start(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                comm::Communicator& control) {
  if (const std::filesystem::path run_dir = config::early_value(arguments, "run.dir"); !run_dir.empty()) {
    job.resumed = train::read_on_rank_0<checkpoint::Description>(run_dir / checkpoint::kCheckpointsName, control,
                                                                 checkpoint::describe);
    if (!job.resumed && control.rank() == 0) check_checkpoints_not_lost(run_dir);
  }
  if (job.resumed) {
    line.set_defaults(options_of_run(*job.resumed));
  } else {
    job.initial = read_weights("init", arguments, line, control);
  }
}

bool read_pretraining(const config::Arguments& arguments, config::CommandLine& line, TrainingJob& job,
                      Problems& problems) {
  const auto task = std::make_shared<tasks::PretrainTask>();
  job.task = task;
  PretrainOptions options;
  line.add(options);
  task->add_options(line);
  line.add(job.config);
  if (!parse(arguments, line, job, problems)) return false;
  task->find_problems(job.config.stream, problems);
  const std::int64_t alone = task->options.mlm_epochs, epochs = job.config.loop.epochs;
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
  problems.collect([&] {
    job.task = tasks::task_named("--task", options.task, known);
    // A run that an earlier version began may have some.
    if (!job.resumed) find_options_of_others(*job.task, job.options, problems);
  });
  find_problems(options, problems);
  for (const auto& task : known) task->find_problems(job.config.stream, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, job.task->images(), problems);
  job.init = options.init;
  job.head = options.head;
  return true;
}

text::WordPiece open_tokenizer(const TrainingJob& job, const data::DataSets& data) {
  const std::string& vocabulary = job.config.text.vocab;
  if (job.resumed) return restore_tokenizer(vocabulary, *job.resumed, job.config.run_dir);
  if (job.initial) return restore_tokenizer(vocabulary, *job.initial, job.init);
  return data::make_tokenizer(vocabulary, data);
}

}  // namespace pixelbert::jobs

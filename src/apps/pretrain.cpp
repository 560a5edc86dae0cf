// pixelbert pretrain: masked language modelling and image-text matching.
#include "apps/commands.h"
#include "apps/job.h"
#include "apps/restore.h"
#include "apps/training.h"
#include "apps/training_job.h"
#include "comm/make_communicator.h"
#include "config/command_line.h"
#include "config/train_config.h"

namespace pixelbert::apps {

bool read_pretraining(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, Problems& problems) {
  config::PretrainConfig options;
  line.add(options);
  line.add(job.config);
  bool go_on = true;
  problems.collect([&] { go_on = line.parse(arguments); });
  if (!go_on) return false;
  find_problems(options, problems);
  find_problems(job.config, problems);
  find_statistics_problems(job.config, /*pictures=*/1, problems);

  problems.require(options.objectives == "mlm" || job.config.data.micro_batch >= 2,
                   fmt::format("--data.micro-batch must be at least 2 with ITM, which gives half of a micro-batch a "
                               "foreign text; found {}",
                               job.config.data.micro_batch));
  job.init = options.init;
  job.options = line.values();
  job.ini = line.ini();
  job.objective = pretraining_objective(options.objectives);
  job.loader = config::loader_config(job.config);
  job.loader.mlm = job.objective.mlm;
  job.loader.itm = job.objective.itm;
  job.loader.sample_pixels = job.config.model.sampled_pixels > 0;
  job.loader.mask_probability = options.mask_probability;
  job.loader.mlm_on_negatives = options.mlm_on_negatives;
  return true;
}

int pretrain(const Arguments& arguments, const comm::MpiSession& session) {
  TrainingJob job;
  Problems problems;
  config::CommandLine line("pretrain", "pixelbert pretrain: MLM + ITM on image-text pairs (Pixel-BERT, section 3.2)");
  auto control = comm::make_control_communicator(session);
  return watched(arguments, session, *control, [&](watch::Watchdog& watchdog) {
    read_start(arguments, line, job, *control);
    if (!read_pretraining(arguments, line, job, problems)) return 0;
    problems.throw_if_any();
    return train(std::move(job), session, std::move(control), watchdog);
  });
}

}  // namespace pixelbert::apps

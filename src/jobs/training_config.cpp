#include "jobs/training_config.h"

#include "jobs/restore.h"

namespace pixelbert::jobs {

void find_problems(const TrainingConfig& config, Problems& problems) {
  problems.require(!config.run_dir.empty(), "--run.dir is missing: the folder for checkpoints and metrics");
  find_problems(config.stream, problems);
  find_problems(config.loader, problems);
  find_problems(config.image, config.text, config.model, problems);
  find_problems(config.loop, problems);
  find_problems(config.compute, problems);
  find_problems(config.optim, problems);
  find_problems(config.checkpoint, problems);
  find_problems(config.reducer, problems);
  find_problems(config.metrics, problems);
  find_problems(config.watchdog, problems);
}

void find_statistics_problems(const TrainingConfig& config, std::int64_t images, Problems& problems) {
  constexpr std::int64_t kStride = 32;  // of the CNN: an image of this size becomes one cell
  constexpr std::int64_t kStages = 5;
  const bool trained = config.model.batch_norm == model::NormMode::Local && config.model.frozen_stages < kStages;
  problems.require(!trained || config.image.long_side > kStride || config.stream.micro_batch * images > 1,
                   fmt::format("BatchNorm has no statistics in a micro-batch of one image whose longer side is at "
                               "most {} (--image.long-side {}): raise --data.micro-batch {}, take larger images, or "
                               "--model.batch-norm frozen",
                               kStride, config.image.long_side, config.stream.micro_batch));
}

void find_problems(const FinetuneOptions& options, Problems& problems) {
  problems.require(!options.init.empty(),
                   "--init is missing: a pre-training checkpoint, or 'none' to start from random weights");
  find_problems(options.head, problems);
}

}  // namespace pixelbert::jobs

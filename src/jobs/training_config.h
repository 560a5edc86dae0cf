// The options of `pretrain` and `finetune`, collected from all parts of a training.
#pragma once

#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "core/option.h"
#include "core/problems.h"
#include "data/batch_loader.h"
#include "data/sample_stream.h"
#include "images/image_ops.h"
#include "jobs/ranks.h"
#include "metrics/metrics_config.h"
#include "model/pixel_bert_config.h"
#include "objectives/heads.h"
#include "optim/optim_config.h"
#include "tasks/task.h"
#include "text/text_config.h"
#include "train/checkpointer.h"
#include "train/train_loop.h"
#include "watch/watchdog.h"

namespace pixelbert::jobs {

struct TrainingConfig {
  std::string run_dir;
  std::vector<std::string> shards;
  data::StreamConfig stream;
  data::LoaderConfig loader;
  images::ImageConfig image;
  text::TextConfig text;
  model::PixelBertConfig model;
  train::LoopConfig loop;
  ComputeConfig compute;
  optim::OptimConfig optim;
  train::CheckpointConfig checkpoint;
  comm::ReducerConfig reducer;
  metrics::MetricsConfig metrics;
  watch::WatchdogConfig watchdog;
};

template <class Field>
void describe(TrainingConfig& config, Field&& field) {
  field("run.dir", config.run_dir, "run folder: configuration, metrics, checkpoints; an existing run is resumed",
        OnResume::Free);
  field("data.shards", config.shards, "shard folder made by 'pixelbert shard'; repeatable", OnResume::Free);
  describe(config.stream, field);
  describe(config.loader, field);
  describe(config.image, field);
  describe(config.text, field);
  describe(config.model, field);
  describe(config.loop, field);
  describe(config.compute, field);
  describe(config.optim, field);
  describe(config.checkpoint, field);
  describe(config.reducer, field);
  describe(config.metrics, field);
  describe(config.watchdog, field);
}

// Adds a problem, naming the option, for every value that cannot work.
void find_problems(const TrainingConfig& config, Problems& problems);

// Adds a problem if no micro-batch has statistics for BatchNorm. A sample has `images` images: NLVR2 has two.
void find_statistics_problems(const TrainingConfig& config, std::int64_t images, Problems& problems);

// The options of `pretrain`, besides those of its task.
struct PretrainOptions {
  std::string init;
};

template <class Field>
void describe(PretrainOptions& options, Field&& field) {
  field("init", options.init,
        "checkpoint to start from: a run folder, a step-... folder, an imported folder or an exported file; "
        "empty or 'none': random weights");
}

// The options of `finetune`, besides those of each task.
struct FinetuneOptions {
  std::string task;
  std::string init;
  objectives::HeadConfig head;
};

template <class Field>
void describe(FinetuneOptions& options, Field&& field) {
  field("task", options.task, tasks::finetuning_names().c_str());
  field("init", options.init,
        "checkpoint to start from: a run folder, a step-... folder, an imported folder or an exported file; "
        "'none': random weights");
  describe(options.head, field);
}

void find_problems(const FinetuneOptions& options, Problems& problems);

}  // namespace pixelbert::jobs

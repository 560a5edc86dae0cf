// Every option of a training job, composed from the structs of the parts that use them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/command_line.h"
#include "core/problems.h"
#include "data/batch_loader.h"
#include "images/image_ops.h"
#include "metrics/metrics_config.h"
#include "model/pixel_bert.h"
#include "optim/optim_config.h"
#include "watch/watchdog.h"

namespace pixelbert::config {

struct RunConfig {
  std::string dir;
};

struct DataConfig {
  std::vector<std::string> shards;
  std::int64_t global_batch = 4096;  // paper, section 4.1: 4096 on 64 GPUs
  std::int64_t micro_batch = 64;
  std::int64_t texts_per_image = 4;  // SOHO: 16 images x 4 captions per GPU
  std::int64_t blocks_in_window = 16;
  std::int64_t threads = 2;
  std::int64_t queue_batches = data::LoaderConfig().queue_batches;
};

struct TextConfig {
  std::string vocab;
  std::int64_t max_tokens = 40;
};

struct TrainConfig {
  std::int64_t epochs = 40;  // paper, section 4.1
  std::int64_t steps = 0;
  std::uint64_t seed = 0;
  std::int64_t max_skipped_steps = 10;
};

struct PretrainConfig {
  std::string init;
  std::string objectives = "mlm,itm";
  double mask_probability = 0.15;  // paper, section 3.2
  bool mlm_on_negatives = true;    // SOHO
};

struct FinetuneConfig {
  std::string task;
  std::string init;
  double head_dropout = 0.5;        // SOHO
  std::int64_t foreign_texts = 20;  // this and the next: the paper
  std::int64_t hard_texts = 5;
};

// What computes, and how: of no consequence for what is computed but for rounding.
struct ComputeConfig {
  std::string device = "auto";
  std::string precision = "float32";
  bool channels_last = true;
  std::int64_t threads = 0;
};

struct CheckpointConfig {
  std::int64_t every_steps = 1000;
  double every_minutes = 0;
  std::int64_t keep = 3;
};

struct CommConfig {
  std::int64_t bucket_mib = 25;  // PyTorch's DDP default
};

// What `pretrain` and `finetune` read. `evaluate` and `predict` take image, text and model from a checkpoint.
struct Config {
  RunConfig run;
  DataConfig data;
  images::ImageConfig image;
  TextConfig text;
  model::PixelBertConfig model;
  TrainConfig train;
  ComputeConfig compute;
  optim::OptimConfig optim;
  CheckpointConfig checkpoint;
  CommConfig comm;
  metrics::MetricsConfig metrics;
  watch::WatchdogConfig watchdog;
};

template <class Field>
void describe(RunConfig& config, Field&& field) {
  field("run.dir", config.dir, "run folder: configuration, metrics, checkpoints; an existing run is resumed");
}

template <class Field>
void describe(DataConfig& config, Field&& field) {
  field("data.shards", config.shards, "shard folder made by 'pixelbert shard'; repeatable");
  field("data.global-batch", config.global_batch, "pairs per optimizer step, over all ranks");
  field("data.micro-batch", config.micro_batch, "pairs per forward and backward pass");
  field("data.texts-per-image", config.texts_per_image, "texts that share one CNN pass of their picture, at most");
  field("data.blocks-in-window", config.blocks_in_window, "blocks of 128 pictures that are shuffled together");
  field("data.threads", config.threads, "threads per rank that read and decode");
  field("data.queue-batches", config.queue_batches, "micro-batches made ahead of the loop, at most");
}

template <class Field>
void describe(PretrainConfig& config, Field&& field) {
  field("init", config.init, "checkpoint to start from, as 'pixelbert import' makes it; empty: random weights");
  field("train.objectives", config.objectives, "mlm,itm, or one of them");
  field("data.mask-probability", config.mask_probability, "share of tokens that are masked");
  field("data.mlm-on-negatives", config.mlm_on_negatives,
        "replaced texts, which are masked too, count in the MLM loss");
}

template <class Field>
void describe(FinetuneConfig& config, Field&& field) {
  field("task", config.task, "vqa, nlvr2 or retrieval");
  field("init", config.init,
        "checkpoint to start from: a step-... folder, a run folder or an exported file; 'none': "
        "random weights");
  field("finetune.head-dropout", config.head_dropout, "dropout in the head of vqa and nlvr2");
  field("retrieval.foreign-texts", config.foreign_texts, "texts of other pictures that are scored beside each pair");
  field("retrieval.hard-texts", config.hard_texts, "highest-scoring ones of them that are learned from");
}

template <class Field>
void describe(TextConfig& config, Field&& field) {
  field("text.vocab", config.vocab, "vocabulary file; empty: the one in the shard folder or the checkpoint");
  field("text.max-tokens", config.max_tokens, "longer texts are cut, [CLS] and [SEP] counted");
}

template <class Field>
void describe(TrainConfig& config, Field&& field) {
  field("train.epochs", config.epochs, "passes over all pairs");
  field("train.steps", config.steps, "end after this many optimizer steps in all; 0: by epochs");
  field("train.seed", config.seed, "decides weights, order, masks, negatives, pixels and dropout");
  field("train.max-skipped-steps", config.max_skipped_steps, "not-finite steps in a row that end the job");
}

template <class Field>
void describe(ComputeConfig& config, Field&& field) {
  field("train.device", config.device, "auto, cpu or cuda");
  field("train.precision", config.precision, "float32 or bf16 (autocast; weights stay float32)");
  field("train.channels-last", config.channels_last, "memory order of the CNN");
  field("train.threads", config.threads, "compute threads per rank; 0: the host's cores shared by its ranks");
}

template <class Field>
void describe(CheckpointConfig& config, Field&& field) {
  field("checkpoint.every-steps", config.every_steps, "save after this many steps; 0: never by steps");
  field("checkpoint.every-minutes", config.every_minutes, "save after this many minutes; 0: never by time");
  field("checkpoint.keep", config.keep, "newest checkpoints that are kept");
}

template <class Field>
void describe(CommConfig& config, Field&& field) {
  field("comm.bucket-mib", config.bucket_mib, "gradients that travel together");
}

template <class Field>
void describe(model::PixelBertConfig& config, Field&& field) {
  field("model.backbone", config.backbone,
        "resnet18|34|50|101|152, resnext50-32x4d, resnext101-32x8d, "
        "resnext152-32x4d, resnext152-32x8d");
  field("model.batch-norm", config.batch_norm,
        "local (statistics of the micro-batch; the running ones where it has a single value a channel) or frozen");
  field("model.frozen-stages", config.frozen_stages, "0 none, 1 stem, 2 stem and layer1, ... 5 the whole CNN");
  field("model.visual-kernel", config.visual_kernel, "kernel of the convolution behind the CNN: 1 or 3");
  field("model.visual-order", config.visual_order, "conv-pool, pool-conv, or conv (no pooling)");
  field("model.visual-relu", config.visual_relu, "ReLU behind convolution and pooling");
  field("model.pixel-layernorm", config.pixel_layernorm, "LayerNorm on pixel tokens");
  field("model.sampled-pixels", config.sampled_pixels, "pixels drawn per pair in pre-training; 0: all");
  field("model.hidden", config.hidden, "width of the Transformer");
  field("model.layers", config.layers, "layers of the Transformer");
  field("model.heads", config.heads, "attention heads");
  field("model.intermediate", config.intermediate, "width of the feed-forward part; 0: 4 x hidden");
  field("model.positions", config.positions, "text positions with an embedding");
  field("model.dropout", config.dropout, "dropout of the Transformer");
}

template <class Field>
void describe(Config& config, Field&& field) {
  describe(config.run, field);
  describe(config.data, field);
  describe(config.image, field);
  describe(config.text, field);
  describe(config.model, field);
  describe(config.train, field);
  describe(config.compute, field);
  describe(config.optim, field);
  describe(config.checkpoint, field);
  describe(config.comm, field);
  describe(config.metrics, field);
  describe(config.watchdog, field);
}

// One problem, naming the option, for every value that cannot work.
void find_problems(const Config& config, Problems& problems);
void find_problems(const ComputeConfig& config, Problems& problems);
void find_problems(const PretrainConfig& config, Problems& problems);
void find_problems(const FinetuneConfig& config, Problems& problems);

// A problem when no micro-batch has statistics for BatchNorm. Each pair has `pictures`, two for NLVR2.
void find_statistics_problems(const Config& config, std::int64_t pictures, Problems& problems);

// UsageError with all of them.
template <class AnyConfig>
void validate(const AnyConfig& config) {
  Problems problems;
  find_problems(config, problems);
  problems.throw_if_any();
}

data::LoaderConfig loader_config(const Config& config);  // of the options that all tasks share

}  // namespace pixelbert::config

#include "config/train_config.h"

#include <algorithm>
#include <limits>

#include "model/resnet.h"

namespace pixelbert::config {
namespace {

constexpr std::int64_t kMostThreads = 4096;
constexpr std::int64_t kMostWidth = 1 << 20;  // of a matrix
constexpr std::int64_t kMostSide = 65535;     // JPEG's, in pixels
constexpr std::int64_t kMostMiB = 1 << 20;
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();  // of anything that is counted

// Adds a problem naming the option for each value that cannot work.
class Checks {
 public:
  explicit Checks(Problems& problems) : problems_(problems) {}

  void at_least(std::int64_t least, std::int64_t value, const char* option) {
    problems_.require(value >= least, fmt::format("--{} must be at least {}, found {}", option, least, value));
  }
  // Numbers that are multiplied by others, or made into threads and memory.
  void between(std::int64_t least, std::int64_t most, std::int64_t value, const char* option) {
    problems_.require(value >= least && value <= most,
                      fmt::format("--{} must be from {} to {}, found {}", option, least, most, value));
  }
  void dropout(double value, const char* option) {  // what is kept is divided by 1 - value, in float32
    problems_.require(value >= 0 && static_cast<float>(value) < 1,
                      fmt::format("--{} must be at least 0 and below 1 in float32, found {}", option, value));
  }
  void one_of(const std::vector<std::string>& allowed, const std::string& value, const char* option) {
    problems_.require(std::find(allowed.begin(), allowed.end(), value) != allowed.end(),
                      fmt::format("--{} must be one of {}, found '{}'", option, fmt::join(allowed, ", "), value));
  }

 private:
  Problems& problems_;
};

}  // namespace

void find_problems(const ComputeConfig& config, Problems& problems) {
  Checks check(problems);
  check.one_of({"auto", "cpu", "cuda"}, config.device, "train.device");
  check.one_of({"float32", "bf16"}, config.precision, "train.precision");
  check.between(0, kMostThreads, config.threads, "train.threads");
}

void find_problems(const Config& config, Problems& problems) {
  Checks check(problems);
  problems.require(!config.run.dir.empty(), "--run.dir is missing: the folder for checkpoints and metrics");
  find_problems(config.compute, problems);
  find_problems(config.optim, problems);
  check.between(1, kMost, config.data.global_batch, "data.global-batch");
  check.between(1, kMost, config.data.micro_batch, "data.micro-batch");
  problems.require(config.data.global_batch < 1 || config.data.micro_batch <= config.data.global_batch,
                   fmt::format("--data.micro-batch {} is more than --data.global-batch {}", config.data.micro_batch,
                               config.data.global_batch));
  check.between(1, kMost, config.data.texts_per_image, "data.texts-per-image");
  check.between(1, kMost, config.data.blocks_in_window, "data.blocks-in-window");
  check.between(1, kMostThreads, config.data.threads, "data.threads");
  check.between(1, kMost, config.data.queue_batches, "data.queue-batches");
  check.at_least(1, config.image.short_side, "image.short-side");
  check.between(1, kMostSide, config.image.long_side, "image.long-side");
  problems.require(config.image.long_side >= config.image.short_side,
                   fmt::format("--image.long-side {} is less than --image.short-side {}", config.image.long_side,
                               config.image.short_side));
  check.at_least(3, config.text.max_tokens, "text.max-tokens");
  check.between(3, kMostWidth, config.model.positions, "model.positions");
  problems.require(config.text.max_tokens <= config.model.positions,
                   fmt::format("--text.max-tokens {} is more than --model.positions {}", config.text.max_tokens,
                               config.model.positions));
  check.one_of(model::backbone_names(), config.model.backbone, "model.backbone");
  check.one_of({"local", "frozen"}, config.model.batch_norm, "model.batch-norm");
  check.one_of({"conv-pool", "pool-conv", "conv"}, config.model.visual_order, "model.visual-order");
  problems.require(config.model.visual_kernel == 1 || config.model.visual_kernel == 3,
                   fmt::format("--model.visual-kernel must be 1 or 3, found {}", config.model.visual_kernel));
  check.between(0, 5, config.model.frozen_stages, "model.frozen-stages");
  check.between(0, kMost, config.model.sampled_pixels, "model.sampled-pixels");
  check.between(0, kMostWidth, config.model.intermediate, "model.intermediate");
  check.between(1, kMostWidth, config.model.layers, "model.layers");
  check.between(1, kMostWidth, config.model.heads, "model.heads");
  check.between(1, kMostWidth, config.model.hidden, "model.hidden");
  problems.require(config.model.heads < 1 || (config.model.hidden > 0 && config.model.hidden % config.model.heads == 0),
                   fmt::format("--model.hidden must be a multiple of --model.heads {}, found {}", config.model.heads,
                               config.model.hidden));
  check.dropout(config.model.dropout, "model.dropout");
  check.between(1, kMost, config.train.epochs, "train.epochs");
  check.at_least(0, config.train.steps, "train.steps");
  check.at_least(1, config.train.max_skipped_steps, "train.max-skipped-steps");
  check.at_least(0, config.checkpoint.every_steps, "checkpoint.every-steps");
  check.at_least(1, config.checkpoint.keep, "checkpoint.keep");
  problems.require(
      config.checkpoint.every_minutes >= 0,
      fmt::format("--checkpoint.every-minutes must be at least 0, found {}", config.checkpoint.every_minutes));
  check.between(1, kMostMiB, config.comm.bucket_mib, "comm.bucket-mib");
  check.between(0, 65535, config.metrics.port, "metrics.port");
  // The server takes commas, blanks and what is behind them for further addresses and options.
  problems.require(
      !config.metrics.address.empty() && config.metrics.address.find_first_of(" ,\t\r\n") == std::string::npos,
      fmt::format("--metrics.address must be one address, found '{}'", config.metrics.address));
  problems.require(config.metrics.progress_every_seconds >= 0,
                   fmt::format("--metrics.progress-every-seconds must be at least 0, found {}",
                               config.metrics.progress_every_seconds));
  watch::find_problems(config.watchdog, problems);
}

void find_statistics_problems(const Config& config, std::int64_t pictures, Problems& problems) {
  constexpr std::int64_t kStride = 32;  // of the CNN: such a picture becomes one cell
  constexpr std::int64_t kStages = 5;
  const bool trained = config.model.batch_norm == "local" && config.model.frozen_stages < kStages;
  problems.require(!trained || config.image.long_side > kStride || config.data.micro_batch * pictures > 1,
                   fmt::format("BatchNorm has no statistics in a micro-batch of one picture whose longer side is at "
                               "most {} (--image.long-side {}): raise --data.micro-batch {}, take larger pictures, or "
                               "--model.batch-norm frozen",
                               kStride, config.image.long_side, config.data.micro_batch));
}

void find_problems(const PretrainConfig& config, Problems& problems) {
  Checks check(problems);
  check.one_of({"mlm,itm", "mlm", "itm"}, config.objectives, "train.objectives");
  problems.require(config.mask_probability > 0 && config.mask_probability < 1,
                   fmt::format("--data.mask-probability must be between 0 and 1, found {}", config.mask_probability));
}

void find_problems(const FinetuneConfig& config, Problems& problems) {
  Checks check(problems);
  problems.require(!config.init.empty(),
                   "--init is missing: a pre-training checkpoint, or 'none' to start from random weights");
  check.dropout(config.head_dropout, "finetune.head-dropout");
  check.between(1, kMost, config.foreign_texts, "retrieval.foreign-texts");
  check.at_least(1, config.hard_texts, "retrieval.hard-texts");
  problems.require(config.hard_texts <= config.foreign_texts,
                   fmt::format("--retrieval.hard-texts {} is more than --retrieval.foreign-texts {}", config.hard_texts,
                               config.foreign_texts));
}

data::LoaderConfig loader_config(const Config& config) {
  data::LoaderConfig loader;
  loader.seed = config.train.seed;
  loader.micro_batch = config.data.micro_batch;
  loader.max_text_tokens = config.text.max_tokens;
  loader.threads = config.data.threads;
  loader.queue_batches = config.data.queue_batches;
  loader.image = config.image;
  return loader;
}

}  // namespace pixelbert::config

#include <ATen/Context.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "apps/commands.h"
#include "apps/job.h"
#include "config/command_line.h"
#include "config/train_config.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/stop_signal.h"
#include "core/version.h"
#include "metrics/jsonl_sink.h"
#include "metrics/progress_sink.h"
#include "metrics/prometheus_sink.h"
#include "train/train_loop.h"

namespace pixelbert::apps {
namespace {

constexpr int kStoppedOnRequest = 75;

std::int64_t total_steps(const config::TrainConfig& config, const data::SampleStream& stream) {
  const std::int64_t by_epochs = config.epochs * stream.steps_per_epoch();
  return config.steps > 0 ? std::min(config.steps, by_epochs) : by_epochs;
}

optim::OptimizerGroups make_optimizer(const config::Config& config, const model::PixelBert& model,
                                      const objectives::Pretrain& objective, std::int64_t steps_per_epoch) {
  return optim::make_optimizer(config.optim, model->backbone_parameters(),
                               [&] {
                                 auto rest = model->transformer_parameters();
                                 for (const auto& item : objective->named_parameters()) {
                                   rest.emplace_back(item.key(), item.value());
                                 }
                                 return rest;
                               }(),
                               steps_per_epoch);
}

}  // namespace

int pretrain(const Arguments& arguments, const comm::MpiSession& session) {
  config::Config config;
  config::CommandLine line("pretrain", "pixelbert pretrain: MLM + ITM on image-text pairs (Pixel-BERT, section 3.2)");
  line.add(config);
  if (!line.parse(arguments)) return 0;
  config::validate(config);
  if (config.run.dir.empty()) throw UsageError("--run.dir is missing: the folder for checkpoints and metrics");

  const DataSets data = open_data(config.data.shards);
  const text::WordPiece tokenizer = make_tokenizer(config, data);
  const data::SampleStream stream = make_stream(config, data);
  config.model.vocabulary = tokenizer.vocabulary().size();
  catch_stop_signals();

  Ranks ranks(config.train, session);
  const std::filesystem::path run_dir = config.run.dir;
  if (session.rank() == 0) {
    std::filesystem::create_directories(run_dir);
    write_file(run_dir / "config.ini", line.ini());
  }

  at::manual_seed(key({config.train.seed, Purpose::kWeights}));
  model::PixelBert model(config.model);
  objectives::Pretrain objective(config.model);
  if (config.train.channels_last) model::use_channels_last(*model);
  model->to(ranks.device());
  objective->to(ranks.device());

  optim::OptimizerGroups optimizer = make_optimizer(config, model, objective, stream.steps_per_epoch());
  train::State state;
  state.model = train::named_tensors({model.get(), objective.get()});
  state.optimizer = optimizer.named_state();
  train::Checkpointer checkpointer(run_dir / "checkpoints", config.checkpoint.keep,
                                   {.config = line.values(),
                                    .data_identity = data_identity(data),
                                    .vocabulary = vocabulary_text(tokenizer.vocabulary()),
                                    .code_version = fmt::format("{} ({})", version(), git_commit())},
                                   ranks.control(), ranks.tensors());
  if (!checkpointer.restore_latest(state)) train::broadcast_tensors(state.model, ranks.tensors(), ranks.control());

  const std::int64_t steps = total_steps(config.train, stream);
  log::info("{} on {}: {} ranks, {} pairs in {} steps an epoch, {} steps in all", config.model.backbone,
            ranks.device().str(), session.world_size(), stream.pairs_per_epoch(), stream.steps_per_epoch(), steps);
  if (state.step >= steps) {
    log::info("nothing to do: the run has made its {} steps", steps);
    return 0;
  }

  std::vector<torch::Tensor> trained = model->backbone_parameters();
  for (const auto& [name, parameter] : model->transformer_parameters()) trained.push_back(parameter);
  for (const torch::Tensor& parameter : objective->parameters()) trained.push_back(parameter);
  comm::GradientReducer reducer(trained, ranks.tensors(), config.comm.bucket_mib << 20);
  data::BatchLoader loader(data, stream, tokenizer, config::loader_config(config),
                           {session.rank(), session.world_size()}, state.at);

  std::vector<std::unique_ptr<metrics::Sink>> sinks;
  if (session.rank() == 0) {
    sinks.push_back(std::make_unique<metrics::JsonlSink>(run_dir / "metrics.jsonl", state.step));
    sinks.push_back(std::make_unique<metrics::ProgressSink>(steps));
  }

  train::TrainLoop loop({.model = model,
                         .objective = objective,
                         .stream = stream,
                         .loader = loader,
                         .reducer = reducer,
                         .optimizer = optimizer,
                         .checkpointer = checkpointer,
                         .sinks = [&] {
                           std::vector<metrics::Sink*> all;
                           for (const auto& sink : sinks) all.push_back(sink.get());
                           return all;
                         }(),
                         .control = ranks.control(),
                         .tensors = ranks.tensors(),
                         .device = ranks.device()},
                        {.seed = config.train.seed,
                         .steps = steps,
                         .micro_batch = config.data.micro_batch,
                         .bf16 = config.train.precision == "bf16",
                         .max_skipped_steps = config.train.max_skipped_steps,
                         .checkpoint_every_steps = config.checkpoint.every_steps,
                         .checkpoint_every_minutes = config.checkpoint.every_minutes,
                         .stop_file = run_dir / "stop"});
  const train::Outcome outcome = loop.run(state);
  if (outcome == train::Outcome::Finished) return 0;
  if (session.rank() == 0) std::filesystem::remove(run_dir / "stop");
  log::info("stopped on request after step {}; the same command goes on from there", state.step);
  return kStoppedOnRequest;
}

}  // namespace pixelbert::apps

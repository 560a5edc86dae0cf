// pixelbert evaluate: figures of a checkpoint on a data set, the same at any number of ranks.
#include <nlohmann/json.hpp>

#include <iostream>

#include "apps/commands.h"
#include "apps/job.h"
#include "apps/restore.h"
#include "comm/make_communicator.h"
#include "core/check.h"
#include "core/files.h"
#include "data/batch_loader.h"
#include "train/autocast.h"
#include "train/loss_totals.h"

namespace pixelbert::apps {
namespace {

struct EvaluateConfig {
  std::string task = "pretrain";
  std::string out;
  std::vector<std::string> shards;
  std::int64_t micro_batch = 64;
  std::int64_t threads = 2;
  bool blank_images = false;
};

template <class Field>
void describe(EvaluateConfig& config, Field&& field) {
  field("task", config.task, "pretrain: masked language modelling and image-text matching");
  field("out", config.out, "JSON file for the figures; they are printed too");
  field("data.shards", config.shards, "shard folder made by 'pixelbert shard'; repeatable");
  field("data.micro-batch", config.micro_batch, "pairs per forward pass");
  field("data.threads", config.threads, "threads per rank that read and decode");
}

// Masks and foreign texts are the same for every checkpoint, whatever seed it was trained with.
constexpr std::uint64_t kSeed = 0;

// What is gathered before ranks talk; only its micro-batches matter for the figures.
constexpr std::int64_t kMicroBatchesPerStep = 8;

// Sums over the whole data set, in the order of the stream.
struct Figures {
  std::vector<double> loss, correct;
  std::vector<std::int64_t> count;
  std::int64_t samples = 0;

  void add(const train::LossTotals& totals, std::int64_t pairs) {
    for (std::size_t term = 0; term < totals.terms().size(); ++term) {
      loss[term] += totals.sum(term);
      correct[term] += totals.correct(term);
      count[term] += totals.count(term);
    }
    samples += pairs;
  }
};

Figures evaluate_pretrain(Restored& restored, const data::SampleStream& stream, data::BatchLoader& loader,
                          const EvaluateConfig& config, bool bf16, Ranks& ranks) {
  const torch::NoGradGuard no_grad;
  const std::vector<std::string>& terms = objectives::PretrainImpl::terms();
  Figures figures{std::vector<double>(terms.size()), std::vector<double>(terms.size()),
                  std::vector<std::int64_t>(terms.size())};
  for (data::Position at; at.epoch == 0; at = stream.after(at)) {
    const std::vector<data::Batch> batches = loader.load(at);
    const std::int64_t pairs = stream.pairs_in_step(at);
    std::vector<std::vector<std::int64_t>> counts;
    for (const data::Batch& batch : batches) counts.push_back(objectives::PretrainImpl::counts(batch));
    train::LossTotals totals(terms, (pairs + config.micro_batch - 1) / config.micro_batch, counts, {}, ranks.control());
    for (const data::Batch& batch : batches) {
      const train::Autocast autocast(ranks.device().type(), bf16);
      totals.keep(batch.micro_batch.index, restored.objective->losses(restored.model, batch.to(ranks.device())));
    }
    totals.finish();
    figures.add(totals, pairs);
  }
  return figures;
}

nlohmann::json as_json(const Figures& figures) {
  nlohmann::json metrics;
  const std::vector<std::string>& terms = objectives::PretrainImpl::terms();
  for (std::size_t term = 0; term < terms.size(); ++term) {
    const auto count = static_cast<double>(std::max<std::int64_t>(figures.count[term], 1));
    metrics[terms[term] + "_loss"] = figures.loss[term] / count;
    metrics[terms[term] + "_accuracy"] = figures.correct[term] / count;
  }
  return metrics;
}

}  // namespace

int evaluate(const Arguments& arguments, const comm::MpiSession& session) {
  EvaluateConfig config;
  RestoreConfig restoring;
  config::CommandLine line("evaluate", "pixelbert evaluate: figures of a checkpoint on a data set");
  line.add(config);
  line.flag("blank-images", config.blank_images, "every picture becomes the mean colour: what the text alone gives");
  line.add(restoring);
  auto control = comm::make_control_communicator(session);
  const auto saved = read_checkpoint(arguments, line, *control);
  if (!line.parse(arguments)) return 0;
  if (!saved) throw UsageError("--checkpoint is missing: a step-... folder or a run folder");
  if (config.task != "pretrain") throw UsageError(fmt::format("--task must be pretrain, found '{}'", config.task));
  if (config.micro_batch < 1) throw UsageError("--data.micro-batch must be at least 1");
  if (config.threads < 1) throw UsageError("--data.threads must be at least 1");
  config::validate(restoring.compute);

  const DataSets data = open_data(config.shards);
  const data::SampleStream stream = make_stream(
      data, {.seed = kSeed, .global_batch = config.micro_batch * kMicroBatchesPerStep});
  const text::WordPiece tokenizer = restore_tokenizer(restoring, *saved);
  Ranks ranks(restoring.compute, session, std::move(control));
  Restored restored = restore(restoring, *saved, ranks.device(), ranks.control(), ranks.tensors());
  data::BatchLoader loader(data, stream, tokenizer,
                           {.seed = kSeed,
                            .micro_batch = config.micro_batch,
                            .max_text_tokens = restoring.text.max_tokens,
                            .sample_pixels = false,
                            .blank_images = config.blank_images,
                            .threads = config.threads,
                            .image = restoring.image},
                           {session.rank(), session.world_size()}, {});
  const Figures figures = evaluate_pretrain(restored, stream, loader, config,
                                            restoring.compute.precision == "bf16", ranks);
  if (session.rank() != 0) return 0;

  const nlohmann::ordered_json result = {{"task", config.task},
                                         {"metrics", as_json(figures)},
                                         {"samples", figures.samples},
                                         {"checkpoint", restoring.checkpoint},
                                         {"data", data_identity(data)},
                                         {"blank_images", config.blank_images},
                                         {"world_size", session.world_size()}};
  std::cout << result.dump(2) << std::endl;
  if (!config.out.empty()) write_file(config.out, result.dump(2) + "\n");
  return 0;
}

}  // namespace pixelbert::apps

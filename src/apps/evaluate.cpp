// pixelbert evaluate: official scores of a checkpoint on a data set, the same at any number of ranks.
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "data/batch_loader.h"
#include "data/data_sets.h"
#include "evaluation/classes.h"
#include "evaluation/losses.h"
#include "evaluation/pair_scores.h"
#include "evaluation/recall.h"
#include "jobs/predictions.h"
#include "jobs/restore.h"
#include "objectives/nlvr2.h"
#include "objectives/retrieval.h"
#include "objectives/vqa.h"
#include "train/replicas.h"
#include "watch/watchdog.h"

namespace pixelbert::apps {
namespace {

using data::DataSets;
using jobs::Ranks;
using jobs::RestoreConfig;
using jobs::Restored;
using Strings = std::vector<std::string>;

struct EvaluateConfig {
  std::string task;
  std::string out;
  std::string predictions;
  std::vector<std::string> shards;
  std::int64_t micro_batch = 64;
  std::int64_t threads = 2;
  bool blank_images = false;
};

template <class Field>
void describe(EvaluateConfig& config, Field&& field) {
  field("task", config.task,
        "pretrain (MLM and ITM), vqa, nlvr2 or retrieval; empty: what the checkpoint was trained for");
  field("out", config.out, "JSON file for the scores; they are printed too");
  field("predictions", config.predictions,
        "file for what was predicted: the official JSON (vqa) or CSV (nlvr2), or the "
        "score matrix as safetensors (retrieval: 4 bytes a pair in every rank's memory)");
  field("data.shards", config.shards, "shard folder made by 'pixelbert shard'; repeatable");
  field("data.micro-batch", config.micro_batch, "texts per forward pass");
  field("data.threads", config.threads, "threads per rank that read and decode");
}

void validate(const EvaluateConfig& config, data::Task task) {
  Problems problems;
  problems.countable("data.micro-batch", config.micro_batch);
  problems.between("data.threads", config.threads, 1, kMostThreads);
  problems.require(task != data::Task::Pretrain || config.predictions.empty(),
                   "--predictions is for vqa, nlvr2 and retrieval");
  problems.require(task != data::Task::Retrieval || config.shards.size() <= 1,
                   "retrieval is evaluated on one data set: give --data.shards once");
  problems.throw_if_any();
}

// Masks and negatives are the same for every checkpoint, independent of its seed.
constexpr std::uint64_t kSeed = 0;

// COCO's 5K protocol: 25,000 texts, the first five of each image.
constexpr std::int64_t kRetrievalTextsPerImage = 5;

// Everything an evaluation uses.
struct Evaluation {
  const EvaluateConfig& config;
  const RestoreConfig& restoring;
  data::Task task;
  const checkpoint::Description& saved;
  const DataSets& data;
  const text::WordPiece& tokenizer;
  Restored restored;
  Ranks& ranks;

  model::Precision precision() const { return restoring.compute.precision; }
  bool writes() const { return ranks.control().rank() == 0 && !config.predictions.empty(); }

  template <class Impl>
  Impl& objective() const {
    return dynamic_cast<Impl&>(*restored.objective);
  }
};

// Calls run(pass) with one pass over the data.
template <class Run>
auto with_pass(const Evaluation& e, Run run) {
  const data::SampleStream stream =
      data::make_stream(e.data, {.global_batch = e.config.micro_batch, .micro_batch = e.config.micro_batch}, kSeed);
  const comm::Communicator& control = e.ranks.control();
  const data::Position first = stream.after({}, control.rank());
  data::PretrainConfig pretrain = jobs::pretraining_of(e.saved);
  pretrain.mlm_on_negatives = false;  // a word of another image could be right only by chance
  const data::BatchMaker maker(e.data, stream, e.tokenizer,
                               {.task = {.task = e.task, .pretrain = pretrain, .answers = std::ssize(e.saved.answers)},
                                .text = e.restoring.text,
                                .image = e.restoring.image,
                                .sample_pixels = false,
                                .unlabelled = true,
                                .blank_images = e.config.blank_images});
  data::BatchLoader loader(maker, {.threads = e.config.threads}, /*slice=*/{}, first, /*stride=*/control.world_size());
  return run(evaluation::Pass{stream, loader, first, e.ranks.control(), e.ranks.device(), e.precision()});
}

template <class Impl>
std::vector<torch::Tensor> classes(Evaluation& e) {
  const auto logits = [&](const data::Batch& batch) {
    Impl& objective = e.objective<Impl>();
    return objective.logits(e.restored.model->forward(objectives::inputs_of(batch, objective.wanted())));
  };
  return with_pass(e, [&](const evaluation::Pass& pass) { return evaluation::chosen_classes(logits, e.data, pass); });
}

struct Figures {
  evaluation::Metrics metrics;
  std::int64_t samples;  // texts that were scored
};

std::int64_t texts_of(const DataSets& data) {
  std::int64_t texts = 0;
  for (const auto& set : data) texts += set->texts();
  return texts;
}

evaluation::Metrics evaluate_pretrain(Evaluation& e) {
  return with_pass(e, [&](const evaluation::Pass& pass) {
    return evaluation::mean_losses(*e.restored.objective, e.restored.model, pass);
  });
}

evaluation::Metrics evaluate_vqa(Evaluation& e) {
  const std::vector<torch::Tensor> chosen = classes<objectives::VqaImpl>(e);
  if (e.writes()) write_file(e.config.predictions, jobs::vqa_results(e.data, chosen, e.saved.answers));
  return evaluation::vqa_scores(e.data, chosen);
}

evaluation::Metrics evaluate_nlvr2(Evaluation& e) {
  const std::vector<torch::Tensor> chosen = classes<objectives::Nlvr2Impl>(e);
  if (e.writes()) write_file(e.config.predictions, jobs::nlvr2_results(e.data, chosen));
  return evaluation::nlvr2_scores(e.data, chosen);
}

Figures evaluate_retrieval(Evaluation& e) {
  const evaluation::Pairs pairs = evaluation::all_pairs(*e.data[0], kRetrievalTextsPerImage);
  const auto images = std::ssize(pairs.images), texts = std::ssize(pairs.texts);
  evaluation::Recall recall(images, pairs.image_of_text);
  torch::Tensor matrix;
  if (!e.config.predictions.empty()) matrix = torch::zeros({images, texts});
  const evaluation::Scorer scorer{.data = *e.data[0],
                                  .tokenizer = e.tokenizer,
                                  .model = e.restored.model,
                                  .objective = e.objective<objectives::RetrievalImpl>(),
                                  .config = {.image = e.restoring.image,
                                             .text = e.restoring.text,
                                             .micro_batch = e.config.micro_batch,
                                             .precision = e.precision(),
                                             .blank_images = e.config.blank_images},
                                  .control = e.ranks.control(),
                                  .device = e.ranks.device()};
  evaluation::score_pairs(scorer, pairs, [&](std::int64_t image, const torch::Tensor& scores) {
    recall.add(image, {scores.const_data_ptr<float>(), static_cast<std::size_t>(texts)});
    if (matrix.defined()) matrix[image].copy_(scores);
  });
  if (matrix.defined()) {
    e.ranks.control().all_reduce(matrix, comm::ReduceOp::Sum)->wait();  // each row has one owner; the others add zero
    if (e.writes()) {
      jobs::write_tensors(e.config.predictions,
                          {{"scores", matrix}, {"image_of_text", torch::tensor(pairs.image_of_text)}});
    }
  }
  return {recall.figures(e.ranks.control()), texts};
}

Figures figures_of(Evaluation& e) {
  switch (e.task) {
    case data::Task::Pretrain:
      return {evaluate_pretrain(e), texts_of(e.data)};
    case data::Task::Vqa:
      return {evaluate_vqa(e), texts_of(e.data)};
    case data::Task::Nlvr2:
      return {evaluate_nlvr2(e), texts_of(e.data)};
    case data::Task::Retrieval:
      return evaluate_retrieval(e);
  }
  fail("a task without an evaluation");
}

void check_answers(const Strings& of_data, const Strings& of_checkpoint, const std::string& checkpoint) {
  if (of_data == of_checkpoint) return;
  throw UsageError(fmt::format(
      "the data's answers.txt has {} answers, but {} was trained with {} different ones: make the shards with "
      "--answers and the answers.txt of the training shards",
      of_data.size(), checkpoint, of_checkpoint.size()));
}

// Returns the identity of the weights and of the data they were trained on.
nlohmann::ordered_json identity_of(const checkpoint::Description& saved, const Restored& restored) {
  const checkpoint::Digest digest =
      checkpoint::digest_of(train::named_tensors({restored.model.get(), restored.objective.get()}));
  nlohmann::ordered_json identity = {
      {"task", saved.task}, {"step", saved.step}, {"weights_crc32c", fmt::format("{:08x}", digest.crc32c)}};
  identity["data"] = saved.data;
  if (!saved.initial.is_null()) identity["initial"] = saved.initial;
  if (!saved.imported.is_null()) identity["imported"] = saved.imported;
  return identity;
}

void print_table(const nlohmann::ordered_json& result) {
  std::cout << fmt::format("{} of {} on {}\n", result["task"].get<std::string>(),
                           result["checkpoint"].get<std::string>(), fmt::join(result["data"].get<Strings>(), "; "));
  for (const auto& [name, value] : result["metrics"].items()) {
    std::cout << fmt::format("  {:<22} {:.4f}\n", name, value.get<double>());
  }
  std::cout << std::flush;
}

int run(const EvaluateConfig& config, RestoreConfig restoring, data::Task task, checkpoint::Weights saved,
        const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control) {
  const DataSets data = data::open_data(config.shards);
  data::check_data_for(task, data);
  const text::WordPiece tokenizer = jobs::restore_tokenizer(restoring.text.vocab, saved, restoring.checkpoint);
  restoring.model.vocabulary = tokenizer.vocabulary().size();
  Ranks ranks(restoring.compute, session, std::move(control));
  Evaluation evaluation{.config = config,
                        .restoring = restoring,
                        .task = task,
                        .saved = saved,
                        .data = data,
                        .tokenizer = tokenizer,
                        .restored = jobs::restore(restoring, saved, task, ranks.device(), ranks.tensors()),
                        .ranks = ranks};
  saved.model.clear();
  check_answers(data::read_answers(task, data), saved.answers, restoring.checkpoint);
  const Figures figures = figures_of(evaluation);
  if (session.rank() != 0) return 0;

  const nlohmann::ordered_json result = {{"task", name_of(task)},
                                         {"metrics", figures.metrics},
                                         {"samples", figures.samples},
                                         {"checkpoint", restoring.checkpoint},
                                         {"checkpoint_identity", identity_of(saved, evaluation.restored)},
                                         {"data", data::identity_of(data)},
                                         {"blank_images", config.blank_images},
                                         {"world_size", session.world_size()}};
  print_table(result);
  if (!config.out.empty()) write_file(config.out, json_text(result, 2) + "\n");
  return 0;
}

}  // namespace

int evaluate(const Arguments& arguments, const comm::MpiSession& session) {
  EvaluateConfig config;
  RestoreConfig restoring;
  watch::WatchdogConfig watchdog;
  config::CommandLine line("evaluate", "pixelbert evaluate: official scores of a checkpoint on a data set");
  line.add(config);
  line.flag("blank-images", config.blank_images, "every image becomes the mean colour: scores of the text alone");
  line.add(restoring);
  line.add(watchdog);
  auto control = comm::make_control_communicator(session);
  return jobs::watched(arguments, session, *control, [&](watch::Watchdog&) {
    auto saved = jobs::read_weights("checkpoint", arguments, line, *control);
    if (!line.parse(arguments)) return 0;
    if (!saved) throw UsageError("--checkpoint is missing: a step-... folder, a run folder or an exported file");
    const data::Task task = config.task.empty() ? jobs::task_of(*saved) : data::task_named("--task", config.task);
    validate(config, task);
    pixelbert::validate(restoring);
    pixelbert::validate(watchdog);
    jobs::on_rank_0(*control, [&] {
      jobs::check_output("out", config.out);
      jobs::check_output("predictions", config.predictions);
    });

    return run(config, std::move(restoring), task, std::move(*saved), session, std::move(control));
  });
}

}  // namespace pixelbert::apps

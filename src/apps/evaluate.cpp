// pixelbert evaluate: official scores of a checkpoint on a data set, the same at any number of ranks.
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>

#include "apps/commands.h"
#include "comm/make_communicator.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "data/batch_loader.h"
#include "data/data_sets.h"
#include "data/sample_stream.h"
#include "evaluation/pass.h"
#include "jobs/restore.h"
#include "jobs/same_job.h"
#include "tasks/task.h"
#include "train/replicas.h"
#include "watch/watchdog.h"

namespace pixelbert::apps {
namespace {

using jobs::Ranks;
using jobs::RestoreConfig;
using jobs::Restored;
using Strings = std::vector<std::string>;

struct EvaluateConfig {
  std::string task;
  std::string out;
  std::string predictions;
  std::vector<std::string> shards;
  std::int64_t micro_batch = data::StreamConfig().micro_batch;
  data::LoaderConfig loader;
  bool blank_images = false;
};

template <class Field>
void describe(EvaluateConfig& config, Field&& field) {
  const std::string names = fmt::format("pretrain (MLM and ITM), {}", tasks::finetuning_names());
  field("task", config.task, (names + "; empty: what the checkpoint was trained for").c_str());
  field("out", config.out, "JSON file for the scores; they are printed too");
  field("predictions", config.predictions,
        "file for what was predicted: the official JSON (vqa) or CSV (nlvr2), or the "
        "score matrix as safetensors (retrieval: 4 bytes a pair in every rank's memory)");
  field("data.shards", config.shards, "shard folder made by 'pixelbert shard'; repeatable");
  field("data.micro-batch", config.micro_batch, "samples per forward pass");
  describe_threads(config.loader, field);
}

void validate(const EvaluateConfig& config, const tasks::Task& task) {
  Problems problems;
  problems.countable("data.micro-batch", config.micro_batch);
  find_problems(config.loader, problems);
  const auto place = [](const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); };
  problems.require(config.out.empty() || config.predictions.empty() || place(config.out) != place(config.predictions),
                   fmt::format("--out and --predictions are both {}: name two files", config.out));
  task.find_evaluation_problems(config.shards, config.predictions, problems);
  problems.throw_if_any();
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

int run(const EvaluateConfig& config, RestoreConfig restoring, const std::map<std::string, std::string>& options,
        tasks::Task& task, checkpoint::Weights saved, const comm::MpiSession& session,
        std::unique_ptr<comm::Communicator> control) {
  const data::DataSets data = data::open_data(config.shards);
  task.check_data(data);
  const text::WordPiece tokenizer = jobs::restore_tokenizer(restoring, saved);
  jobs::check_same_job(jobs::facts_of(options, data, tokenizer, task.answers()), session.host(), *control);
  Ranks ranks(restoring.compute, session, std::move(control));
  Restored restored = jobs::restore(restoring, saved, task, ranks.device(), ranks.tensors());
  saved.model.clear();
  const evaluation::Scores scores = task.evaluate({.data = data,
                                                   .tokenizer = tokenizer,
                                                   .model = restored.model,
                                                   .objective = *restored.objective,
                                                   .checkpoint = restoring.checkpoint,
                                                   .predictions = config.predictions,
                                                   .image = restoring.image,
                                                   .text = restoring.text,
                                                   .micro_batch = config.micro_batch,
                                                   .threads = config.loader.threads,
                                                   .blank_images = config.blank_images,
                                                   .precision = ranks.precision(),
                                                   .control = ranks.control(),
                                                   .device = ranks.device()});
  if (session.rank() != 0) return 0;

  const nlohmann::ordered_json result = {{"task", task.name()},
                                         {"metrics", scores.metrics},
                                         {"samples", scores.samples},
                                         {"checkpoint", restoring.checkpoint},
                                         {"checkpoint_identity", identity_of(saved, restored)},
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
  config::CommandLine line(
      "evaluate",
      "pixelbert evaluate: official scores of a checkpoint on a data set. Options of the image, "
      "the text and the model, the precision and the memory order come from the checkpoint, unless "
      "you give them");
  line.add(config);
  line.flag("blank-images", config.blank_images, "every image becomes the mean colour: scores of the text alone");
  line.add(restoring);
  line.add(watchdog);
  // Ranks meet only at the end, and a slow host may need hours longer. The watchdog finds out if one is lost.
  auto control = comm::make_control_communicator(session, std::chrono::hours(24));
  return jobs::watched(arguments, session, *control, [&](watch::Watchdog&) {
    jobs::check_same_job({{"--checkpoint", config::early_value(arguments, "checkpoint")}}, session.host(), *control);
    auto saved = jobs::parse_with_checkpoint(arguments, line, *control);
    if (!saved) return 0;
    const auto task = config.task.empty() ? jobs::task_of(*saved) : tasks::task_named("--task", config.task);
    validate(config, *task);
    pixelbert::validate(restoring);
    pixelbert::validate(watchdog);
    jobs::on_rank_0(*control, [&] {
      jobs::check_output("out", config.out);
      jobs::check_output("predictions", config.predictions);
    });

    return run(config, std::move(restoring), line.values(), *task, std::move(*saved), session, std::move(control));
  });
}

}  // namespace pixelbert::apps

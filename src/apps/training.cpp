#include "apps/training.h"

#include <torch/version.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/job.h"
#include "apps/placement.h"
#include "apps/restore.h"
#include "checkpoint/manifest.h"
#include "comm/make_communicator.h"
#include "comm/texts.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "core/folder_lock.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/stop_signal.h"
#include "core/version.h"
#include "metrics/jsonl_sink.h"
#include "metrics/progress_sink.h"
#include "metrics/prometheus_sink.h"
#include "metrics/targets.h"
#include "train/train_loop.h"

namespace pixelbert::apps {
namespace {

std::int64_t total_steps(const config::TrainConfig& config, const data::SampleStream& stream) {
  const std::int64_t by_epochs = config.epochs * stream.steps_per_epoch();
  return config.steps > 0 ? std::min(config.steps, by_epochs) : by_epochs;
}

optim::NamedParameters all_but_the_backbone(const model::PixelBert& model, const objectives::Objective& objective) {
  optim::NamedParameters parameters = model->transformer_parameters();
  for (const auto& item : objective.named_parameters()) parameters.emplace_back(item.key(), item.value());
  return parameters;
}

std::vector<torch::Tensor> tensors_of(const optim::NamedParameters& first, const optim::NamedParameters& second) {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : first) tensors.push_back(tensor);
  for (const auto& [name, tensor] : second) tensors.push_back(tensor);
  return tensors;
}

// What a job shows to the outside while it runs.
class Reports {
 public:
  Reports(const config::Config& config, const comm::MpiSession& session, comm::Communicator& control,
          torch::Device device, const train::State& resumed, std::int64_t steps) {
    const std::filesystem::path dir = config.run.dir;
    if (session.rank() == 0) {
      sinks_.push_back(std::make_unique<metrics::JsonlSink>(dir / "metrics.jsonl", resumed.step, resumed.metrics_line));
      sinks_.push_back(std::make_unique<metrics::ProgressSink>(steps, config.metrics.progress_every_seconds));
    }
    if (config.metrics.port == 0) return;
    sinks_.push_back(std::make_unique<metrics::PrometheusSink>(
        config.metrics, session.local_rank(), metrics::Progress{resumed.step, resumed.at.epoch, steps},
        std::map<std::string, std::string>{{"version", version()},
                                           {"commit", git_commit()},
                                           {"libtorch", TORCH_VERSION},
                                           {"device", device.str()},
                                           {"world_size", fmt::to_string(session.world_size())}}));
    announce(config, session, control);
  }

  std::vector<metrics::Sink*> sinks() const {
    std::vector<metrics::Sink*> sinks;
    for (const auto& sink : sinks_) sinks.push_back(sink.get());
    return sinks;
  }

 private:
  // Rank 0 tells Prometheus where all ranks are. Collective.
  void announce(const config::Config& config, const comm::MpiSession& session, comm::Communicator& control) {
    std::vector<metrics::Target> targets;
    const std::vector<std::string> hosts = comm::gather_texts(session.host(), control);
    const std::vector<std::string> addresses =
        comm::gather_texts(metrics::scrape_address(config.metrics, session.host(), session.local_rank()), control);
    for (int rank = 0; rank < session.world_size(); ++rank) {
      targets.push_back({addresses[static_cast<std::size_t>(rank)], rank, hosts[static_cast<std::size_t>(rank)]});
    }
    if (session.rank() != 0) return;
    const std::filesystem::path dir = std::filesystem::weakly_canonical(config.run.dir);
    targets_.emplace(dir / "monitoring" / "targets.json", dir.filename().string(), targets);
  }

  std::vector<std::unique_ptr<metrics::Sink>> sinks_;
  std::optional<metrics::TargetsFile> targets_;
};

nlohmann::json origin_of(const TrainingJob& job) {
  if (job.resumed) return job.resumed->trainer.value("initial", nlohmann::json());
  if (!job.initial) return nullptr;
  nlohmann::json origin = {{"checkpoint", job.init}};
  for (const char* key : {"task", "step", "data", "imported", "initial"}) {
    if (job.initial->trainer.contains(key)) origin[key] = job.initial->trainer[key];
  }
  return origin;
}

// Overwrites random weights by those of another checkpoint, whose heads may be others.
void start_from(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors) {
  const torch::NoGradGuard no_grad;
  std::vector<std::string> random;
  for (const auto& [name, tensor] : tensors) {
    const auto found = saved.find(name);
    if (found == saved.end()) {
      const bool encoder = name.starts_with("backbone.") || name.starts_with("visual.") || name.starts_with("bert.");
      PB_CHECK(!encoder, "the initial checkpoint has no tensor '{}', which this model needs", name);
      random.push_back(name);
      continue;
    }
    train::check_shape(name, found->second, tensor);
    torch::Tensor(tensor).copy_(found->second);
  }
  if (!random.empty()) log::info("not in the initial checkpoint, so random: {}", fmt::join(random, ", "));
}

// Collective. Rank 0, which alone writes, keeps other jobs out of the run folder.
std::unique_ptr<FolderLock> lock_run_folder(const std::filesystem::path& run_dir, comm::Communicator& control) {
  std::unique_ptr<FolderLock> lock;
  std::string refused;
  if (control.rank() == 0) {
    activity::doing("start", "locking the run folder");
    try {
      std::filesystem::create_directories(run_dir);
      lock = std::make_unique<FolderLock>(run_dir / "lock");
    } catch (const std::exception& error) {
      refused = error.what();
    }
  }
  refused = comm::broadcast_text(refused, control);
  if (!refused.empty()) throw SharedError(refused);
  return lock;
}

// A run that has never saved begins anew by itself, as a job does that dies early and is started again. One that has
// lost its checkpoints must not, and its metrics tell: a step that was saved spent time on it.
void check_never_saved(const std::filesystem::path& run_dir) {
  const std::filesystem::path path = run_dir / "metrics.jsonl";
  const nlohmann::json::json_pointer seconds("/phase_seconds/checkpoint");
  std::ifstream lines(path);
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.contains(seconds) || !line[seconds].is_number() || line[seconds].get<double>() <= 0) continue;
    fail(
        fmt::format("{} has a step that was saved, but there is no checkpoint in {}: bring the checkpoints back, start "
                    "another --run.dir, or move metrics.jsonl away to begin anew here. Found: {:.60}...",
                    path.string(), (run_dir / "checkpoints").string(), text));
  }
}

// What cannot be written is found before the first step, not at the first save.
void prepare_run_folder(const std::filesystem::path& run_dir) {
  std::filesystem::create_directories(run_dir / "checkpoints");
  for (const char* name : {"", "checkpoints", "monitoring", "watchdog"}) {
    if (std::filesystem::exists(run_dir / name)) check_can_write_into(run_dir / name);
  }
  std::filesystem::remove(run_dir / "stopped");
}

int run_job(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control,
            watch::Watchdog& watchdog) {
  config::Config& config = job.config;
  const DataSets data = open_data(config.data.shards);
  check_data_for(job.objective.task, data);
  const text::WordPiece tokenizer = job.resumed   ? restore_tokenizer(config.text.vocab, *job.resumed, config.run.dir)
                                    : job.initial ? restore_tokenizer(config.text.vocab, *job.initial, job.init)
                                                  : make_tokenizer(config.text.vocab, data);
  const std::vector<std::string> answers = job.objective.task == data::Task::Vqa ? read_answers(data) : Strings{};
  job.objective.answers = job.loader.answers = std::ssize(answers);
  const data::SampleStream stream = make_stream(data, {.seed = config.train.seed,
                                                       .global_batch = config.data.global_batch,
                                                       .texts_per_image = config.data.texts_per_image,
                                                       .blocks_in_window = config.data.blocks_in_window});
  config.model.vocabulary = tokenizer.vocabulary().size();
  const std::int64_t steps = total_steps(config.train, stream);

  Ranks ranks(config.compute, session, std::move(control));
  log_placement(ranks.device(), session, ranks.control());
  const std::filesystem::path run_dir = config.run.dir;
  const std::unique_ptr<FolderLock> lock = lock_run_folder(run_dir, ranks.control());  // now that the job may begin
  watchdog.report_to(run_dir / "watchdog");
  if (session.rank() == 0) prepare_run_folder(run_dir);

  activity::doing("start", "building the model");
  at::manual_seed(key({config.train.seed, Purpose::kWeights}));
  model::PixelBert model(config.model);
  const std::shared_ptr<objectives::Objective> objective = objectives::make_objective(job.objective, config.model);
  if (config.compute.channels_last) model::use_channels_last(*model);
  model->to(ranks.device());
  objective->to(ranks.device());

  const optim::NamedParameters backbone = model->backbone_parameters();
  const optim::NamedParameters rest = all_but_the_backbone(model, *objective);
  optim::OptimizerGroups optimizer = optim::make_optimizer(config.optim, backbone, rest, stream.steps_per_epoch());

  train::State state;
  state.model = train::named_tensors({model.get(), objective.get()});
  state.optimizer = optimizer.named_state();
  train::Checkpointer checkpointer(run_dir / "checkpoints", config.checkpoint.keep,
                                   {.config = job.options,
                                    .data_identity = data_identity(data),
                                    .vocabulary = vocabulary_text(tokenizer.vocabulary()),
                                    .code_version = fmt::format("{} ({})", version(), git_commit()),
                                    .task = std::string(data::name_of(job.objective.task)),
                                    .answers = answers,
                                    .initial = origin_of(job)},
                                   ranks.control(), ranks.tensors());
  if (checkpointer.restore_latest(state)) {
    PB_CHECK(
        state.at.epoch == state.step / stream.steps_per_epoch() &&
            state.at.step == state.step % stream.steps_per_epoch(),
        "the checkpoint of step {} in {} says that epoch {} goes on at its step {}, which in epochs of {} steps is "
        "another place",
        state.step, config.run.dir, state.at.epoch, state.at.step, stream.steps_per_epoch());
  } else {
    if (job.initial && job.objective.task == data::Task::Retrieval) add_retrieval_head(job.initial->model);
    if (job.initial && session.rank() == 0) start_from(job.initial->model, state.model);
    // Ranks on like processors have drawn the same random weights, and half a gigabyte need not travel.
    if (job.initial || !train::same_on_all_ranks(state.model, ranks.control())) {
      train::broadcast_tensors(state.model, ranks.tensors());
    }
  }
  activity::doing("start", "preparing the first step");
  job.initial.reset();
  if (session.rank() == 0) write_file(run_dir / "config.ini", job.ini);  // now that the job may go on

  log::info("{} and {} layers of {} on {}: {} ranks, {} pairs in {} steps an epoch, {} steps in all",
            config.model.backbone, config.model.layers, config.model.hidden, ranks.device().str(), session.world_size(),
            stream.pairs_per_epoch(), stream.steps_per_epoch(), steps);
  if (state.step >= steps) {
    if (session.rank() == 0) metrics::JsonlSink(run_dir / "metrics.jsonl", state.step, state.metrics_line);
    log::info("nothing to do: the run has made its {} steps", state.step);
    return 0;
  }

  end_when_stop_signalled();
  comm::GradientReducer reducer(tensors_of(backbone, rest), ranks.tensors(), config.comm.bucket_mib << 20);
  data::BatchLoader loader(data, stream, tokenizer, job.loader, {session.rank(), session.world_size()}, state.at);
  train::Deadline deadline(run_dir / "deadline");
  const Reports reports(config, session, ranks.control(), ranks.device(), state, steps);
  train::TrainLoop loop({.model = model,
                         .objective = *objective,
                         .stream = stream,
                         .loader = loader,
                         .reducer = reducer,
                         .optimizer = optimizer,
                         .checkpointer = checkpointer,
                         .deadline = deadline,
                         .sinks = reports.sinks(),
                         .lock = lock.get(),
                         .control = ranks.control(),
                         .tensors = ranks.tensors(),
                         .device = ranks.device()},
                        {.seed = config.train.seed,
                         .steps = steps,
                         .micro_batch = config.data.micro_batch,
                         .bf16 = config.compute.precision == "bf16",
                         .max_skipped_steps = config.train.max_skipped_steps,
                         .checkpoint_every_steps = config.checkpoint.every_steps,
                         .checkpoint_every_minutes = config.checkpoint.every_minutes,
                         .stop_file = run_dir / "stop"});
  const train::Outcome outcome = loop.run(state);
  activity::doing("other", "the end of the job");
  if (outcome == train::Outcome::Finished) {
    if (session.rank() == 0) std::filesystem::remove(run_dir / "stop");  // it came too late
    log::info("finished after {} steps: {}", state.step,
              (run_dir / "checkpoints" / checkpoint::step_name(state.step)).string());
    return 0;
  }
  if (session.rank() == 0 && std::filesystem::exists(run_dir / "stop")) {
    std::filesystem::rename(run_dir / "stop", run_dir / "stopped");  // a user's wish, for slurm/job.sh to see
  }
  log::info("stopped on request after step {}; the same command goes on from there", state.step);
  return kStoppedOnRequest;
}

}  // namespace

void read_start(const Arguments& arguments, config::CommandLine& line, TrainingJob& job, comm::Communicator& control) {
  const std::string run_dir = config::early_value(arguments, "run.dir");
  if (!run_dir.empty()) job.resumed = train::describe_newest(std::filesystem::path(run_dir) / "checkpoints", control);
  if (!run_dir.empty() && !job.resumed && control.rank() == 0) check_never_saved(run_dir);
  if (job.resumed) {
    line.set_defaults(model_options(*job.resumed));
  } else {
    job.initial = read_checkpoint("init", arguments, line, control);
  }
}

int train(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control,
          watch::Watchdog& watchdog) {
  end_when_stop_signalled();
  return run_job(std::move(job), session, std::move(control), watchdog);
}

}  // namespace pixelbert::apps

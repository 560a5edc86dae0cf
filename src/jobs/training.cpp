#include "jobs/training.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "checkpoint/manifest.h"
#include "core/activity.h"
#include "core/check.h"
#include "core/counted.h"
#include "core/faults.h"
#include "core/files.h"
#include "core/free_memory.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/stop_signal.h"
#include "data/batch_loader.h"
#include "data/data_sets.h"
#include "data/padding.h"
#include "jobs/faulty.h"
#include "jobs/log_placement.h"
#include "jobs/reports.h"
#include "jobs/restore.h"
#include "jobs/run_folder.h"
#include "jobs/same_job.h"
#include "jobs/version.h"
#include "metrics/jsonl_sink.h"
#include "model/peak.h"
#include "objectives/objective.h"
#include "train/numerics.h"
#include "train/replicas.h"
#include "train/train_loop.h"
#include "watch/watchdog.h"

namespace pixelbert::jobs {
namespace {

// The data of a job, with the parts that follow from it.
struct Data {
  data::DataSets sets;
  text::WordPiece tokenizer;
  data::SampleStream stream;
};

// Opens the data and completes `job` from it.
Data open(TrainingJob& job) {
  const data::DataSets sets = data::open_data(job.config.shards);
  job.task->check_data(sets);
  text::WordPiece tokenizer = open_tokenizer(job, sets);
  job.task->read_data(sets);
  Data data{.sets = sets,
            .tokenizer = std::move(tokenizer),
            .stream = data::make_stream(sets, job.config.stream, job.config.loop.seed, job.config.image)};
  job.config.model.vocabulary = data.tokenizer.vocabulary().size();
  return data;
}

// Model and objective on the device, with random weights, and what updates them.
struct Built {
  model::PixelBert model;
  std::shared_ptr<objectives::Objective> objective;
  std::unique_ptr<comm::GradientReducer> reducer;
  optim::OptimizerGroups optimizer;
  train::OptimizerState optimizer_state;
};

Built build(const TrainingJob& job, const data::SampleStream& stream, torch::Device device,
            comm::Communicator& tensors) {
  activity::doing(activity::Phase::Start, "building the model");
  const TrainingConfig& config = job.config;
  at::manual_seed(key(config.loop.seed, Purpose::kWeights));
  model::PixelBert model(config.model);
  std::shared_ptr<objectives::Objective> objective = job.task->objective(config.model, job.head);
  if (config.compute.channels_last) model::use_channels_last(*model);
  model->to(device);
  objective->to(device);

  const auto [names, parameters, of_backbone] = objectives::trained(model, *objective);
  auto reducer = std::make_unique<comm::GradientReducer>(parameters, tensors, config.reducer.bucket_bytes());
  const optim::NamedParameters pieces = train::own_pieces(names, parameters, *reducer);
  optim::OptimizerGroups optimizer =
      optim::make_optimizer(config.optim, {pieces.begin(), pieces.begin() + of_backbone},
                            {pieces.begin() + of_backbone, pieces.end()}, stream.steps_per_epoch());
  train::OptimizerState state(names, parameters, *reducer, optimizer, tensors);
  return {model, objective, std::move(reducer), std::move(optimizer), std::move(state)};
}

// Returns the origin of the weights: trainer.json's "initial".
nlohmann::json origin_of(const TrainingJob& job) {
  if (job.resumed) return job.resumed->initial;
  if (!job.initial) return nullptr;
  const checkpoint::Description& initial = *job.initial;
  nlohmann::json origin = {{"checkpoint", job.init}, {"step", initial.step}, {"data", initial.data}};
  if (!initial.imported.is_null()) {
    origin["imported"] = initial.imported;
  } else {
    origin["task"] = initial.task;
    origin["initial"] = initial.initial;
  }
  return origin;
}

// Collective. Before the model is built: the memory it takes is free again then.
train::Numerics measure_numerics(const TrainingJob& job, Ranks& ranks) {
  train::Numerics own = train::measure_numerics(ranks.device(), ranks.precision());
  train::compare_numerics(own, job.resumed ? job.resumed->numerics : train::Numerics(), job.config.run_dir,
                          job.config.loop.same_numerics, ranks.control());
  release_free_memory();
  return own;
}

checkpoint::Checkpoint new_run(const TrainingJob& job, const Data& data, const Built& built, train::Numerics numerics) {
  checkpoint::Checkpoint run;
  run.numerics = std::move(numerics);
  run.task = job.task->name();
  run.config = job.options;
  run.data = data::identity_of(data.sets);
  run.answers = job.task->answers();
  run.initial = origin_of(job);
  run.code_version = fmt::format("{} ({})", version(), git_commit());
  run.vocabulary = data.tokenizer.vocabulary().text();
  run.model = train::named_tensors({built.model.get(), built.objective.get()});
  return run;
}

// Overwrites random weights with those of another checkpoint, which may have other heads.
void start_from(const checkpoint::NamedTensors& saved, const checkpoint::NamedTensors& tensors) {
  const std::vector<std::string> random = train::copy_tensors(saved, tensors);
  for (const std::string& name : random) {
    const bool encoder = name.starts_with("backbone.") || name.starts_with("visual.") || name.starts_with("bert.");
    PB_CHECK(!encoder, "the initial checkpoint has no tensor '{}', which this model needs", name);
  }
  if (!random.empty()) log::info("random, because the initial checkpoint lacks them: {}", fmt::join(random, ", "));
}

// Collective. Continues the run from its newest checkpoint, or starts it.
void resume_or_start(checkpoint::Checkpoint& run, TrainingJob& job, const data::SampleStream& stream,
                     const Built& built, train::Checkpointer& checkpointer, Ranks& ranks) {
  if (checkpointer.restore_latest(run)) {
    built.optimizer_state.restore(run.optimizer);
    run.optimizer.clear();
    release_free_memory();
    const std::int64_t steps = stream.steps_per_epoch();
    PB_CHECK(
        run.epoch == run.step / steps && run.step_in_epoch == run.step % steps,
        "the checkpoint of step {} in {} is in epoch {} at step {}, which is another place if an epoch has {} steps",
        run.step, job.config.run_dir, run.epoch, run.step_in_epoch, steps);
  } else {
    if (job.initial) job.task->adopt(*job.initial);
    if (job.initial && ranks.control().rank() == 0) start_from(job.initial->model, run.model);
    if (!job.initial && job.config.model.frozen_stages > 0 && ranks.control().rank() == 0) {
      log::warn(
          "--model.frozen-stages {} keeps stages of the CNN as they are, and without --init they are random: give "
          "--model.frozen-stages 0 or a checkpoint",
          job.config.model.frozen_stages);
    }
    // Ranks on equal processors have drawn the same random weights; then half a gigabyte need not be sent.
    if (job.initial || !train::have_same_bits(run.model, ranks.control())) {
      train::broadcast_tensors(run.model, ranks.tensors());
    }
  }
  activity::doing(activity::Phase::Start, "preparing the first step");
  job.initial.reset();
}

// Only images whose sizes differ cost anything.
void log_padding(const data::SampleStream& stream, data::Position at, const images::ImageConfig& image, int ranks) {
  const data::Padding padding =
      data::padding_of(data::shapes_from(stream, at, data::kSectionMicroBatches), image, ranks);
  if (padding.sizes < 2) return;
  log::info(
      "image sizes: {} in the next {} micro-batches; with padding {:.3f} times the pixels, on the busiest of {} ranks "
      "{:.3f} times its share",
      padding.sizes, padding.micro_batches, padding.padded, ranks, padding.busiest);
}

// Collective. All ranks measure at once, as they will train, and before loader threads use the cores.
double measure_peak(Ranks& ranks) {
  constexpr double kSeconds = 0.1;
  activity::waiting(activity::Wait::Start, "the other ranks, to measure the peaks of devices");
  ranks.control().barrier();
  activity::doing(activity::Phase::Start, "the peak of the device");
  const double peak = model::measure_peak(ranks.device(), ranks.precision(), kSeconds);
  activity::waiting(activity::Wait::Start, "the other ranks' peaks");
  torch::Tensor ends = at::tensor({peak, -peak}, at::kDouble);
  ranks.control().all_reduce(ends, comm::ReduceOp::Min)->wait();
  log::info("matrix products in {}: {} on a rank, the peak that progress is compared with", name_of(ranks.precision()),
            model::readable_peak(ends[0].item<double>(), -ends[1].item<double>()));
  return peak;
}

// A job that is opened and built.
struct Training {
  const TrainingJob& job;
  const comm::MpiSession& session;
  const Data& data;
  Ranks& ranks;
  Built& built;
  train::Checkpointer& checkpointer;
  FolderLock* lock;  // on rank 0
};

// Collective. Runs the loop from where `run` stands.
train::Outcome run_loop(const Training& training, checkpoint::Checkpoint& run) {
  const auto& [job, session, data, ranks, built, checkpointer, lock] = training;
  const TrainingConfig& config = job.config;
  const std::filesystem::path run_dir = config.run_dir;
  const double peak = measure_peak(ranks);
  activity::doing(activity::Phase::Start, "the loader and the metrics");
  const data::BatchMaker maker(data.sets, data.stream, data.tokenizer, job.batch(), *job.task);
  const std::int64_t steps = train::total_steps(config.loop, data.stream);
  data::BatchLoader loader(maker, config.loader, {session.rank(), session.world_size()},
                           {.begin = train::position_of(run), .end = data.stream.after({}, steps)}, ranks.device());
  train::Deadline deadline(run_dir / "deadline");
  const Reports reports(config, session, ranks, run, steps);
  const bool faulty = faults::any();
  const auto objective = faulty ? with_faults(built.objective, session.rank()) : built.objective;
  const auto faulty_control = faulty ? with_faults(ranks.control()) : nullptr;
  train::TrainLoop loop({.model = built.model,
                         .objective = *objective,
                         .stream = data.stream,
                         .loader = loader,
                         .reducer = *built.reducer,
                         .optimizer = built.optimizer,
                         .optimizer_state = built.optimizer_state,
                         .checkpointer = checkpointer,
                         .deadline = deadline,
                         .sinks = reports.sinks(),
                         .lock = lock,
                         .control = faulty_control ? *faulty_control : ranks.control(),
                         .tensors = ranks.tensors(),
                         .device = ranks.device(),
                         .precision = ranks.precision(),
                         .peak_flops_per_second = peak,
                         .stop_file = run_dir / "stop"},
                        config.loop);
  const train::Outcome outcome = loop.run(run);
  activity::doing(activity::Phase::Other, "the end of the job");  // here, because the loader's threads end next
  faults::hang_if_wanted("hang-end", run.step, session.rank());
  return outcome;
}

// Logs the end. Returns the exit code.
int end(const checkpoint::Description& run, train::Outcome outcome, const std::filesystem::path& run_dir, bool writes) {
  if (outcome == train::Outcome::Finished) {
    if (writes) std::filesystem::remove(run_dir / "stop");  // too late to matter
    log::info("finished after {} steps: {}", run.step,
              (run_dir / checkpoint::kCheckpointsName / checkpoint::step_name(run.step)).string());
    return 0;
  }
  if (writes && std::filesystem::exists(run_dir / "stop")) {
    std::filesystem::rename(run_dir / "stop", run_dir / "stopped");  // shows slurm/job.sh that a user asked
  }
  log::info("stopped on request after step {}; the same command continues from there", run.step);
  return kStoppedOnRequest;
}

// Collective. Opens the data, builds the parts, resumes or starts, and runs the loop. Returns the exit code.
int train(TrainingJob job, const comm::MpiSession& session, std::unique_ptr<comm::Communicator> control,
          watch::Watchdog& watchdog) {
  end_when_stop_signalled();
  const TrainingConfig& config = job.config;
  const std::filesystem::path run_dir = config.run_dir;
  const bool writes = session.rank() == 0;
  const Data data = open(job);
  check_same_job(facts_of(job.options, data.sets, data.tokenizer, job.task->answers()), session.host(), *control);
  const std::int64_t steps = train::total_steps(config.loop, data.stream);

  Ranks ranks(config.compute, session, std::move(control));
  log_placement(ranks.device(), session, ranks.control());
  const std::unique_ptr<FolderLock> lock = take_run_folder(run_dir, ranks.control());  // after all checks of options
  watchdog.report_to(run_dir / "watchdog");

  train::Numerics numerics = measure_numerics(job, ranks);
  Built built = build(job, data.stream, ranks.device(), ranks.tensors());
  checkpoint::Checkpoint run = new_run(job, data, built, std::move(numerics));
  train::Checkpointer checkpointer({.folder = run_dir / checkpoint::kCheckpointsName,
                                    .writers = checkpoint_writers(run_dir, session.host_of_rank(), ranks.control()),
                                    .communicator = comm::make_control_communicator(session)},
                                   config.checkpoint, job.free_on_resume, ranks.control(), ranks.tensors());
  resume_or_start(run, job, data.stream, built, checkpointer, ranks);
  if (writes) write_file(run_dir / "config.ini", job.ini);  // after all checks: the job may continue
  log::info("{} and {} layers of {} on {}: {}, {} pairs in {} steps an epoch, {} steps in all", config.model.backbone,
            config.model.layers, config.model.hidden, ranks.device().str(), counted(session.world_size(), "rank"),
            data.stream.pairs_per_epoch(), data.stream.steps_per_epoch(), steps);
  if (config.optim.warmup_steps >= steps) {
    log::info("all {} steps are in the warm-up of --optim.warmup-steps {}: the learning rates stay below their values",
              steps, config.optim.warmup_steps);
  }
  if (run.step >= steps) {
    if (writes) metrics::JsonlSink(run_dir / "metrics.jsonl", run.step, run.metrics_line);
    log::info("nothing to do: the run has made its {} steps", run.step);
    return 0;
  }
  end_when_stop_signalled();
  if (writes) log_padding(data.stream, train::position_of(run), config.image, session.world_size());
  const train::Outcome outcome = run_loop({job, session, data, ranks, built, checkpointer, lock.get()}, run);
  return end(run, outcome, run_dir, writes);
}

}  // namespace

int run_training(const config::Arguments& arguments, config::CommandLine& line, ReadOptions& read,
                 const comm::MpiSession& session) {
  auto control = comm::make_control_communicator(session);
  return watched(arguments, session, *control, [&](watch::Watchdog& watchdog) {
    TrainingJob job;
    Problems problems;
    // What is read now, by all ranks together, depends on these.
    const auto early = [&](const char* option) { return config::early_value(arguments, option); };
    check_same_job({{"--run.dir", early("run.dir")}, {"--init", early("init")}}, session.host(), *control);
    read_start(arguments, line, job, *control);
    if (!read(arguments, line, job, problems)) return 0;
    problems.throw_if_any();
    return train(std::move(job), session, std::move(control), watchdog);
  });
}

}  // namespace pixelbert::jobs

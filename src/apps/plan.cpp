// pixelbert plan: memory, disk and time of a training at a given size, and a file for sbatch; without ranks or GPUs.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <thread>

#include "apps/commands.h"
#include "checkpoint/manifest.h"
#include "comm/solo_communicator.h"
#include "core/counted.h"
#include "core/files.h"
#include "core/log.h"
#include "jobs/planned_run.h"
#include "jobs/restore.h"
#include "jobs/training_job.h"
#include "plan/batch_script.h"
#include "plan/replay.h"
#include "tasks/task.h"

namespace pixelbert::apps {
namespace {

namespace fs = std::filesystem;
using jobs::PlannedRun;
using jobs::TrainingJob;

struct PlanConfig {
  std::int64_t nodes = 1;
  std::int64_t gpus_per_node = 0;
  std::int64_t ranks_per_node = 1;
  std::int64_t cores_per_node = 0;
  double network_gbit = 0;
  double network_latency_us = 0;
  std::string calibration;
  std::string out;
};

template <class Field>
void describe(PlanConfig& config, Field&& field) {
  field("nodes", config.nodes, "nodes of the job");
  field("gpus-per-node", config.gpus_per_node, "GPUs of a node, one rank for each; 0: a job on CPUs");
  field("ranks-per-node", config.ranks_per_node, "ranks on each node of a job on CPUs");
  field("cores-per-node", config.cores_per_node, "cores the job takes of a node; 0: as many as this machine has");
  field("network-gbit", config.network_gbit,
        "Gbit/s of a node's link in each direction; 0: assumed, 100 with GPUs and 10 without");
  field("network-latency-us", config.network_latency_us,
        "microseconds of a round of small messages, as pixelbert doctor measures it; 0: assumed, 20 with GPUs and 100 "
        "without");
  field("calibration", config.calibration,
        "run folder to learn the speed from, or the calibration.json that learning left there; empty: assumed");
  field("out", config.out, "file for sbatch to write");
}

std::int64_t ranks_per_node(const PlanConfig& config) {
  return config.gpus_per_node > 0 ? config.gpus_per_node : config.ranks_per_node;
}

std::int64_t cores_per_rank(const PlanConfig& config) {
  const std::int64_t cores =
      config.cores_per_node > 0 ? config.cores_per_node : std::max(1u, std::thread::hardware_concurrency());
  return std::max<std::int64_t>(1, cores / ranks_per_node(config));
}

void find_problems(const PlanConfig& config, const jobs::ComputeConfig& compute, Problems& problems) {
  constexpr std::int64_t kMostNodes = 10'000, kMostPerNode = 512;  // the replay keeps every rank in memory
  problems.between("nodes", config.nodes, 1, kMostNodes);
  problems.between("gpus-per-node", config.gpus_per_node, 0, kMostPerNode);
  problems.between("ranks-per-node", config.ranks_per_node, 1, kMostPerNode);
  problems.at_least("cores-per-node", config.cores_per_node, 0);
  problems.require(config.network_gbit >= 0,
                   fmt::format("--network-gbit must be at least 0, found {}", config.network_gbit));
  problems.require(config.network_latency_us >= 0,
                   fmt::format("--network-latency-us must be at least 0, found {}", config.network_latency_us));
  problems.require(compute.device != comm::Device::Cpu || config.gpus_per_node == 0,
                   "--train.device cpu leaves the GPUs of --gpus-per-node idle: give one of the two");
  problems.require(compute.device != comm::Device::Cuda || config.gpus_per_node > 0,
                   "--train.device cuda needs GPUs: give --gpus-per-node");
}

// Takes the nodes' processors to be like this one.
plan::Compute compute_of(const PlanConfig& config, const jobs::ComputeConfig& compute) {
  const bool cuda = config.gpus_per_node > 0;
  const model::Precision precision = model::available(compute.precision, cuda ? torch::kCUDA : torch::kCPU);
  if (precision != compute.precision) {
    log::warn(
        "--train.precision bf16: LibTorch multiplies bfloat16 slowly on this kind of processor (x86 needs AVX-512), so "
        "ranks compute in float32, and that is planned");
  }
  return {.cuda = cuda, .bf16 = precision == model::Precision::Bf16};
}

double gbit_of(const PlanConfig& config) {
  return config.network_gbit > 0 ? config.network_gbit : config.gpus_per_node > 0 ? 100 : 10;
}

// On CPUs a rank looks every 50 us for the message with which a collective begins (meet() in
// comm/mpi_communicator.cpp), and the kernel adds as much.
double latency_us_of(const PlanConfig& config) {
  return config.network_latency_us > 0 ? config.network_latency_us : config.gpus_per_node > 0 ? 20 : 100;
}

// Returns nodes like those of the job with about as many ranks in all.
plan::Cluster cluster_of(const PlanConfig& config, std::int64_t ranks) {
  const std::int64_t per_node = std::min(ranks, ranks_per_node(config));
  return {.ranks = static_cast<int>((ranks + per_node / 2) / per_node * per_node),
          .ranks_per_node = static_cast<int>(per_node),
          .network = gbit_of(config) * 1e9 / 8,
          .latency = latency_us_of(config) * 1e-6};
}

std::string readable_bytes(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.0f} MB", bytes / 1e6) : fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string readable_time(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 120) return fmt::format("{:.3g} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 2 * 86400) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.1f} days", seconds / 86400);
}

template <class... Values>
void row(const char* name, fmt::format_string<Values...> format, Values&&... values) {
  std::cout << fmt::format("{:<13}", name) << fmt::format(format, std::forward<Values>(values)...) << "\n";
}

void check_disk(const jobs::TrainingConfig& config, double checkpoint, Problems& problems) {
  const fs::path run = config.run_dir, folder = nearest_existing(run);  // or the folder in which it would be made
  problems.require(::access(folder.c_str(), W_OK) == 0,
                   fmt::format("--run.dir {}: {} cannot be written to", run.string(), folder.string()));
  struct statvfs disk{};
  if (::statvfs(folder.c_str(), &disk) != 0)
    return problems.add(fmt::format("cannot read the free space of {}", folder.string()));
  const double free = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  // A new checkpoint is whole before the oldest is removed.
  const auto kept = std::min(config.checkpoint.keep, std::ssize(checkpoint::steps_in(run / "checkpoints")));
  const double needed = checkpoint * static_cast<double>(config.checkpoint.keep + 1 - kept);
  row("disk", "a checkpoint is {}, {} and one more take {}; {} are free in {}", readable_bytes(checkpoint),
      config.checkpoint.keep, readable_bytes(checkpoint * static_cast<double>(config.checkpoint.keep + 1)),
      readable_bytes(free), folder.string());
  problems.require(free >= needed,
                   fmt::format("--run.dir {}: {} free, {} needed for checkpoints: lower "
                               "--checkpoint.keep {}, or take another disk",
                               run.string(), readable_bytes(free), readable_bytes(needed), config.checkpoint.keep));
}

struct Steps {
  std::int64_t all = 0;
  std::int64_t done = 0;  // by the run that will be resumed
};

Steps steps_of(const PlannedRun& run) {
  const jobs::TrainingConfig& config = run.job().config;
  Steps steps{.all = train::total_steps(config.loop, run.stream())};
  const std::vector<std::int64_t> saved = checkpoint::steps_in(fs::path(config.run_dir) / "checkpoints");
  if (!saved.empty()) steps.done = std::min(saved.front(), steps.all);
  return steps;
}

void print_steps(const PlannedRun& run, const Steps& steps, std::int64_t ranks) {
  const jobs::TrainingConfig& config = run.job().config;
  const data::SampleStream& stream = run.stream();
  const plan::Cut cut = run.cut(ranks);
  row("step", "{} pairs in {} micro-batches of {}: {} on a rank", stream.pairs_in_step({0, 0}), cut.micro_batches,
      config.stream.micro_batch,
      cut.least == cut.most ? fmt::to_string(cut.most) : fmt::format("{} to {}", cut.least, cut.most));
  if (cut.idle > 0) {
    row("", "note: {} of {} ranks have none and wait; lower --data.micro-batch, or take fewer ranks", cut.idle, ranks);
  } else if (cut.least < cut.most) {
    row("", "note: a rank with {} waits for one with {}", cut.least, cut.most);
  }
  const std::int64_t last = stream.pairs_in_step({0, stream.steps_per_epoch() - 1});
  row("epoch", "{} pairs in {} steps, the last one of {} pairs on {} ranks", stream.pairs_per_epoch(),
      stream.steps_per_epoch(), last, ranks - plan::cut(last, config.stream.micro_batch, ranks).idle);
  row("training", "{} steps, {:.2f} epochs{}", steps.all,
      static_cast<double>(steps.all) / static_cast<double>(stream.steps_per_epoch()),
      steps.done > 0 ? fmt::format("; {} are done, {} left", steps.done, steps.all - steps.done) : "");
}

void print_parts(const char* name, const std::vector<plan::Part>& parts) {
  row(name, "{} at most", readable_bytes(plan::total(parts)));
  for (const plan::Part& part : parts) {
    if (part.bytes > 0) row("", "  {:>8}  {}", readable_bytes(part.bytes), part.name);
  }
}

plan::Memory print_memory(const PlannedRun& run, const plan::Compute& compute, std::int64_t ranks) {
  const jobs::TrainingConfig& config = run.job().config;
  const plan::BatchShape& shape = run.workload().largest;
  row("micro-batch", "up to {} images of {} x {}, {} rows of {} + {} tokens, {} masked", shape.images, shape.width,
      shape.height, shape.rows, shape.text_tokens, shape.pixel_tokens, shape.masked);
  if (const data::Padding padding = run.padding(ranks); padding.sizes > 1) {
    row("padding", "{:.3f} times the pixels of the images, on the busiest rank {:.3f} times its share; {} sizes",
        padding.padded, padding.busiest, padding.sizes);
  }
  const plan::HeadMemory head = run.job().task->head_memory(config.model, shape, compute.bf16);
  const plan::Memory memory =
      plan::memory_of_rank(run.size(), plan::activations(config.model, head, shape, compute), shape,
                           {.ranks = ranks,
                            .micro_batches = run.cut(ranks).most,
                            .gradients = run.cut(ranks).gradients,
                            .queue = config.loader.queue_batches,
                            .sizes_vary = run.workload().sizes_vary},
                           compute);
  if (compute.cuda) print_parts("GPU", memory.device);
  print_parts("memory", memory.host);
  return memory;
}

struct Times {
  double step = 0, save = 0, all = 0;
};

Times print_times(const PlannedRun& run, const Steps& steps, const plan::Calibration& speed,
                  const plan::Cluster& cluster) {
  const plan::StepTime step = plan::replay(run.work(), speed, cluster);
  Times times{.step = step.all(), .save = plan::save_seconds(run.work(), speed, cluster)};
  const auto left = static_cast<double>(steps.all - steps.done);
  // The last step saves in any case.
  const double saves =
      left > 0 ? std::max(1.0, std::ceil(left * plan::saves_per_step(run.work(), times.step) - 1e-9)) : 0;
  times.all = left * times.step + (saves > 0 ? times.save : 0);  // only the last save is waited for
  row("work", "{:.3g} flops a step on the busiest rank, {:.3g} flops a second",
      (step.compute + step.uneven + step.shapes) * speed.flops_per_second, speed.flops_per_second);
  row("time", "{}: {} a step, {} saves of {} ({})", readable_time(times.all), readable_time(times.step), saves,
      readable_time(times.save), speed.origin);
  return times;
}

// Returns the job's cluster and larger and smaller ones, by ranks.
std::vector<plan::Cluster> clusters_of(const PlanConfig& config) {
  std::vector<plan::Cluster> clusters = {cluster_of(config, config.nodes * ranks_per_node(config))};
  for (const std::int64_t ranks : {8, 64, 512, 1024}) {
    const plan::Cluster cluster = cluster_of(config, ranks);
    if (cluster.ranks != clusters[0].ranks) clusters.push_back(cluster);
  }
  std::ranges::sort(clusters, {}, &plan::Cluster::ranks);
  return clusters;
}

// A column of the table: its name, its width and the part of a step.
struct StepPart {
  const char* name;
  int width;
  double plan::StepTime::* seconds;
};
constexpr StepPart kStepParts[] = {{"compute", 7, &plan::StepTime::compute}, {"uneven", 6, &plan::StepTime::uneven},
                                   {"shapes", 6, &plan::StepTime::shapes},   {"waiting", 7, &plan::StepTime::waiting},
                                   {"network", 7, &plan::StepTime::network}, {"update", 6, &plan::StepTime::update},
                                   {"input", 5, &plan::StepTime::input},     {"saves", 5, &plan::StepTime::saves}};

void print_scaling_row(const PlannedRun& run, const plan::Cluster& cluster, const plan::StepTime& step, double alone) {
  const plan::Cut cut = run.cut(cluster.ranks);
  std::string percents;
  for (const StepPart& part : kStepParts) {
    percents += fmt::format(" {:>{}.1f}", 100 * step.*part.seconds / step.all(), part.width);
  }
  const StepPart& longest =
      *std::ranges::max_element(kStepParts, {}, [&](const StepPart& part) { return step.*part.seconds; });
  row("", "{:>5} {:>5} {:>13} {:>8} {:>8.0f} {:>10.3f} {}  {}", cluster.ranks, cluster.nodes(),
      cut.least == cut.most ? fmt::to_string(cut.most) : fmt::format("{} to {}", cut.least, cut.most),
      readable_time(step.all()), run.work().pairs / step.all(), alone / cluster.ranks / step.all(), percents,
      cut.idle > 0 && step.uneven > step.network ? fmt::format("{} ranks idle", cut.idle) : longest.name);
}

// Prints how the step's time depends on the number of ranks.
void print_scaling(const PlannedRun& run, const plan::Calibration& speed, const PlanConfig& config) {
  row("scaling",
      "the same global batch on more ranks; efficiency: pairs per second of a rank, as a part of those of one");
  row("", "rank that trains the same steps alone; then the parts of a step in percent");
  std::string names;
  for (const StepPart& part : kStepParts) names += fmt::format(" {:>{}}", part.name, part.width);
  row("", "{:>5} {:>5} {:>13} {:>8} {:>8} {:>10} {}  limit", "ranks", "nodes", "micro-batches", "step", "pairs/s",
      "efficiency", names);
  const double alone = plan::replay(run.work(), speed, {}).all();
  for (const plan::Cluster& cluster : clusters_of(config)) {
    print_scaling_row(run, cluster, plan::replay(run.work(), speed, cluster), alone);
  }
}

// Prints what the times were computed from, and what the loader and the copies must deliver.
void print_assumptions(const PlannedRun& run, const plan::Calibration& speed, const PlanConfig& config) {
  const auto origin = [](bool known, const char* how) { return known ? how : "assumed"; };
  const bool measured = !config.calibration.empty();
  row("", "{}: a node's link has {:g} Gbit/s in each direction", origin(config.network_gbit > 0, "given"),
      gbit_of(config));
  row("", "{}: a round of messages takes {:g} us", origin(config.network_latency_us > 0, "given"),
      latency_us_of(config));
  row("", "{}: a rank gives and takes {:.3g} GB/s within a node", origin(measured, "measured"),
      speed.exchange_per_second / 1e9);
  row("", "{}",
      speed.ready.empty() ? "assumed: buckets of gradients become ready evenly over the last backward"
                          : "measured: when buckets of gradients become ready in the last backward");
  const plan::StepTime step =
      plan::replay(run.work(), speed, cluster_of(config, config.nodes * ranks_per_node(config)));
  const double images_per_second = step.images / (step.all() - step.input);
  row("", "a rank takes {:.3g} images/s while it does not wait for its loader", images_per_second);
  if (config.gpus_per_node > 0) {
    const plan::BatchShape& largest = run.workload().largest;
    const auto bytes = static_cast<double>(3 * largest.height * largest.width);  // of an image, before normalisation
    row("", "these are about {:.3g} GB/s to copy to each GPU", images_per_second * bytes / 1e9);
  }
  row("", "{}",
      speed.images_per_second == 0 ? "measured: a step does not wait for the loader"
                                   : fmt::format("{}: the loader of a rank makes {:.0f} images/s",
                                                 origin(measured, "measured"), speed.images_per_second));
}

plan::Calibration speed_of(const PlanConfig& config, const plan::Compute& compute, std::int64_t loader_threads) {
  if (config.calibration.empty()) return plan::assumed(compute, cores_per_rank(config), loader_threads);
  if (fs::is_regular_file(config.calibration)) return plan::read_calibration(config.calibration);
  const plan::Calibration measured = jobs::calibrate(config.calibration);
  plan::write_calibration(fs::path(config.calibration) / "calibration.json", measured);
  return measured;
}

// Returns the folder of slurm/job.sh: PIXELBERT_ROOT, the tree this program was built in, or the working folder.
fs::path project_root() {
  const char* given = std::getenv("PIXELBERT_ROOT");
  const fs::path program = fs::read_symlink("/proc/self/exe");
  for (const fs::path& root :
       {fs::path(given ? given : ""), program.parent_path().parent_path().parent_path(), fs::current_path()}) {
    if (!root.empty() && fs::exists(root / "slurm" / "job.sh")) return fs::canonical(root);
  }
  throw UsageError(
      "--out: found no slurm/job.sh for the batch job to run: name the project's folder in PIXELBERT_ROOT");
}

// Returns "--nodes", "--ranks-per-node", ...: no training knows these.
std::vector<std::string> own_options() {
  PlanConfig unused;
  std::vector<std::string> own;
  describe(unused, [&](const char* name, auto&, const char*) { own.push_back(fmt::format("--{}", name)); });
  return own;
}

// Returns the arguments without those of `plan` itself.
Arguments arguments_of_job(const Arguments& arguments) {
  const std::vector<std::string> own = own_options();
  Arguments kept;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string name = arguments[i].substr(0, arguments[i].find('='));
    if (std::ranges::find(own, name) == own.end()) {
      kept.push_back(arguments[i]);
    } else if (name == arguments[i]) {
      ++i;  // its value
    }
  }
  return kept;
}

// The job reads the same --config files, but would refuse these keys.
void find_own_options_in_files(const Arguments& arguments, Problems& problems) {
  const Arguments of_job = arguments_of_job(arguments);
  for (const std::string& own : own_options()) {
    const std::string key = own.substr(2);
    problems.require(
        config::early_value(of_job, key).empty(),
        fmt::format("--out: the job would refuse the key {} of a --config file: give {} on the command line instead",
                    key, own));
  }
}

// What is planned, once its options and files have been checked.
struct Request {
  PlanConfig options;
  bool finetuning = false;
  TrainingJob job;
  data::DataSets data;
  std::optional<text::WordPiece> tokenizer;
  plan::Compute compute;
  std::optional<plan::Calibration> speed;
  fs::path root;  // of slurm/job.sh, for --out
};

// Returns nothing after --help or --print-config. Throws UsageError that lists all problems.
std::optional<Request> read_request(const Arguments& arguments) {
  Request request;
  Problems problems;
  config::CommandLine line(
      "plan",
      "pixelbert plan: memory, time and disk of a training on given nodes; writes a file for sbatch.\n"
      "Takes the options of 'pixelbert pretrain' or, with --task, of 'pixelbert finetune'.");
  line.add(request.options);
  std::string task = config::early_value(arguments, "task");
  request.finetuning = !task.empty();
  const std::string help =
      fmt::format("{}: plans 'pixelbert finetune', which lists its own", tasks::finetuning_names());
  if (!request.finetuning) line.option("task", task, help.c_str());
  comm::SoloCommunicator alone;
  problems.collect([&] { jobs::read_start(arguments, line, request.job, alone); });
  const auto read = request.finetuning ? jobs::read_finetuning : jobs::read_pretraining;
  if (!read(arguments, line, request.job, problems)) return std::nullopt;

  const jobs::TrainingConfig& config = request.job.config;
  find_problems(request.options, config.compute, problems);
  request.data = jobs::check_data(request.job, problems);
  request.tokenizer = jobs::check_vocabulary(request.job, request.data, problems);
  request.compute = compute_of(request.options, config.compute);
  if (ranks_per_node(request.options) > 0) {
    problems.collect([&] { request.speed = speed_of(request.options, request.compute, config.loader.threads); });
  }
  if (!request.options.out.empty()) {
    find_own_options_in_files(arguments, problems);
    problems.collect([&] { request.root = project_root(); });
  }
  problems.collect([&] { jobs::check_output("out", request.options.out); });
  problems.throw_if_any();
  return request;
}

}  // namespace

int plan(const Arguments& arguments) {
  std::optional<Request> request = read_request(arguments);
  if (!request) return 0;
  const PlanConfig& options = request->options;
  const plan::Compute& compute = request->compute;
  const plan::Calibration& speed = *request->speed;
  const char* const command = request->finetuning ? "finetune" : "pretrain";
  const std::int64_t ranks = options.nodes * ranks_per_node(options);
  row(command, "{}: {} with {}{} each", counted(ranks, "rank"), counted(options.nodes, "node"),
      counted(ranks_per_node(options), compute.cuda ? "GPU" : "rank"),
      compute.cuda ? "" : " of " + counted(cores_per_rank(options), "core"));
  for (const std::string& identity : data::identity_of(request->data)) row("data", "{}", identity);
  const PlannedRun run(std::move(request->job), request->data, *request->tokenizer);
  row("model", "{:.1f} million weights, {:.1f} million trained", 1e-6 * static_cast<double>(run.size().weights),
      1e-6 * static_cast<double>(run.size().trained));
  const Steps steps = steps_of(run);
  print_steps(run, steps, ranks);
  const plan::Memory memory = print_memory(run, compute, ranks);
  Problems problems;
  check_disk(run.job().config, plan::checkpoint_bytes(run.size()), problems);
  const Times times = print_times(run, steps, speed, cluster_of(options, ranks));
  print_scaling(run, speed, options);
  print_assumptions(run, speed, options);
  std::cout << std::flush;
  problems.throw_if_any();
  if (options.out.empty()) return 0;

  write_file(options.out, plan::batch_script({.command = command,
                                              .arguments = arguments_of_job(arguments),
                                              .root = request->root,
                                              .folder = fs::current_path(),
                                              .nodes = options.nodes,
                                              .ranks_per_node = ranks_per_node(options),
                                              .gpus_per_node = options.gpus_per_node,
                                              .cores_per_rank = cores_per_rank(options),
                                              .bytes_per_node = plan::total(memory.host) *
                                                                static_cast<double>(ranks_per_node(options)),
                                              .expected_seconds = times.all,
                                              .saving_seconds = times.save + 2 * times.step}));
  log::info("{}: ready for sbatch", options.out);
  return 0;
}

}  // namespace pixelbert::apps

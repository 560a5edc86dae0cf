#include "jobs/plan_request.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "comm/solo_communicator.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "jobs/planned_run.h"
#include "model/autocast.h"
#include "tasks/task.h"

namespace pixelbert::jobs {
namespace {

namespace fs = std::filesystem;

void find_problems(const PlanConfig& config, const ComputeConfig& compute, Problems& problems) {
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
plan::Compute compute_of(const PlanConfig& config, const ComputeConfig& compute) {
  const model::Precision precision = model::available(compute.precision, config.cuda() ? torch::kCUDA : torch::kCPU);
  if (precision != compute.precision) {
    log::warn(
        "--train.precision bf16: LibTorch multiplies bfloat16 slowly on this kind of processor (x86 needs AVX-512), so "
        "ranks compute in float32, and that is planned");
  }
  return {.cuda = config.cuda(), .bf16 = precision == model::Precision::Bf16};
}

plan::Calibration speed_of(const PlanConfig& config, const plan::Compute& compute, std::int64_t loader_threads) {
  if (config.calibration.empty()) return plan::assumed(compute, config.cores_per_rank(), loader_threads);
  if (fs::is_regular_file(config.calibration)) return plan::read_calibration(config.calibration);
  const plan::Calibration measured = calibrate(config.calibration);
  try {
    plan::write_calibration(fs::path(config.calibration) / "calibration.json", measured);
  } catch (const Error& error) {  // of someone else's run
    log::warn("the calibration is not kept: {}", error.what());
  }
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

// The job reads the same --config files, but would refuse these keys.
void find_own_options_in_files(const config::Arguments& of_job, Problems& problems) {
  for (const std::string& own : own_options()) {
    const std::string key = own.substr(2);
    problems.require(
        config::early_value(of_job, key).empty(),
        fmt::format("--out: the job would refuse the key {} of a --config file: give {} on the command line instead",
                    key, own));
  }
}

}  // namespace

std::int64_t PlanConfig::cores_per_rank() const {
  const std::int64_t cores = cores_per_node > 0 ? cores_per_node : std::max(1u, std::thread::hardware_concurrency());
  return std::max<std::int64_t>(1, cores / ranks_on_node());
}

double PlanConfig::gbit() const {
  return network_gbit > 0 ? network_gbit : cuda() ? 100 : 10;
}

// On CPUs a rank looks every 50 us for the message with which a collective begins (meet() in
// comm/mpi_communicator.cpp), and the kernel adds as much.
double PlanConfig::latency_us() const {
  return network_latency_us > 0 ? network_latency_us : cuda() ? 20 : 100;
}

plan::Cluster cluster_of(const PlanConfig& config, std::int64_t ranks) {
  const std::int64_t per_node = std::min(ranks, config.ranks_on_node());
  return {.ranks = static_cast<int>((ranks + per_node / 2) / per_node * per_node),
          .ranks_per_node = static_cast<int>(per_node),
          .network = config.gbit() * 1e9 / 8,
          .latency = config.latency_us() * 1e-6};
}

config::Arguments arguments_of_job(const config::Arguments& arguments) {
  const std::vector<std::string> own = own_options();
  config::Arguments kept;
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

std::optional<PlanRequest> read_plan_request(const config::Arguments& arguments) {
  PlanRequest request;
  Problems problems;
  config::CommandLine line(
      "plan",
      "pixelbert plan: memory, time and disk of a training on given nodes; writes a file for sbatch.\n"
      "Takes the options of 'pixelbert pretrain' or, with --task, of 'pixelbert finetune'.");
  line.add(request.options);
  std::string task = config::early_value(arguments, "task");
  request.finetuning = !task.empty();
  const std::string help = fmt::format(
      "{}: plans 'pixelbert finetune' and takes its options ('pixelbert plan --task TASK --help' "
      "lists them)",
      tasks::finetuning_names());
  if (!request.finetuning) line.option("task", task, help.c_str());
  comm::SoloCommunicator alone;
  problems.collect([&] { read_start(arguments, line, request.job, alone); });
  const auto read = request.finetuning ? read_finetuning : read_pretraining;
  if (!read(arguments, line, request.job, problems)) return std::nullopt;

  const PlanConfig& options = request.options;
  const TrainingConfig& config = request.job.config;
  find_problems(options, config.compute, problems);
  request.data = check_data(request.job, problems);
  request.tokenizer = check_vocabulary(request.job, request.data, problems);
  request.compute = compute_of(options, config.compute);
  if (options.ranks_on_node() > 0) {
    problems.collect([&] {
      request.speed = speed_of(options, request.compute, std::min(config.loader.threads, config.loader.queue()));
    });
  }
  request.job_arguments = arguments_of_job(arguments);
  if (!options.out.empty()) {
    find_own_options_in_files(request.job_arguments, problems);
    problems.collect([&] { request.root = project_root(); });
  }
  problems.collect([&] { check_output("out", options.out); });
  problems.throw_if_any();
  return request;
}

}  // namespace pixelbert::jobs

#include "jobs/plan_report.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <system_error>
#include <vector>

#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/counted.h"
#include "core/files.h"
#include "train/train_loop.h"

namespace pixelbert::jobs {
namespace {

namespace fs = std::filesystem;

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
void row(std::ostream& out, const char* name, fmt::format_string<Values...> format, Values&&... values) {
  out << fmt::format("{:<13}", name) << fmt::format(format, std::forward<Values>(values)...) << "\n";
}

Disk disk_of(const TrainingConfig& config, double checkpoint) {
  const fs::path run = config.run_dir;
  Disk disk{.folder = nearest_existing(run)};
  std::error_code error;
  disk.free = static_cast<double>(fs::space(disk.folder, error).available);
  PB_CHECK(!error, "cannot read the free space of {}: {}", disk.folder.string(), error.message());
  // A new checkpoint is whole before the oldest is removed.
  const auto keep = static_cast<double>(config.checkpoint.keep);
  const auto kept = static_cast<double>(checkpoint::steps_in(run / checkpoint::kCheckpointsName).size());
  disk.needed = checkpoint * (keep + 1 - std::min(keep, kept));
  return disk;
}

plan::Memory memory_of(const PlannedRun& run, const plan::Compute& compute, std::int64_t ranks) {
  const TrainingConfig& config = run.job().config;
  const plan::BatchShape& shape = run.workload().largest;
  const plan::HeadMemory head = run.job().task->head_memory(config.model, shape, compute.bf16);
  const plan::Cut cut = run.cut(ranks);
  return plan::memory_of_rank(run.size(), plan::activations(config.model, head, shape, compute), shape,
                              {.ranks = ranks,
                               .micro_batches = cut.most,
                               .gradients = cut.gradients,
                               .queue = config.loader.queue(),
                               .sizes_vary = run.workload().sizes_vary},
                              compute);
}

void print_steps(std::ostream& out, const PlannedRun& run, const Estimate& found, std::int64_t ranks) {
  const TrainingConfig& config = run.job().config;
  const data::SampleStream& stream = run.stream();
  const plan::Cut cut = run.cut(ranks);
  row(out, "step", "{} pairs in {} micro-batches of {}: {} on a rank", stream.pairs_in_step({0, 0}), cut.micro_batches,
      config.stream.micro_batch,
      cut.least == cut.most ? fmt::to_string(cut.most) : fmt::format("{} to {}", cut.least, cut.most));
  if (cut.idle > 0) {
    row(out, "", "note: {} of {} ranks have none and wait; lower --data.micro-batch, or take fewer ranks", cut.idle,
        ranks);
  } else if (cut.least < cut.most) {
    row(out, "", "note: a rank with {} waits for one with {}", cut.least, cut.most);
  }
  const std::int64_t last = stream.pairs_in_step({0, stream.steps_per_epoch() - 1});
  row(out, "epoch", "{} pairs in {} steps, the last one of {} pairs on {} ranks", stream.pairs_per_epoch(),
      stream.steps_per_epoch(), last, ranks - plan::cut(last, config.stream.micro_batch, ranks).idle);
  row(out, "training", "{} steps, {:.2f} epochs{}", found.steps,
      static_cast<double>(found.steps) / static_cast<double>(stream.steps_per_epoch()),
      found.steps_done > 0 ? fmt::format("; {} are done, {} left", found.steps_done, found.steps_left()) : "");
}

void print_parts(std::ostream& out, const char* name, const std::vector<plan::Part>& parts) {
  row(out, name, "{} at most", readable_bytes(plan::total(parts)));
  for (const plan::Part& part : parts) {
    if (part.bytes > 0) row(out, "", "  {:>8}  {}", readable_bytes(part.bytes), part.name);
  }
}

void print_memory(std::ostream& out, const PlannedRun& run, const Estimate& found, std::int64_t ranks) {
  const plan::BatchShape& shape = run.workload().largest;
  row(out, "micro-batch", "up to {} images of {} x {}, {} rows of {} + {} tokens, {} masked", shape.images, shape.width,
      shape.height, shape.rows, shape.text_tokens, shape.pixel_tokens, shape.masked);
  if (const data::Padding padding = run.padding(ranks); padding.sizes > 1) {
    row(out, "padding", "{:.3f} times the pixels of the images, on the busiest rank {:.3f} times its share; {} sizes",
        padding.padded, padding.busiest, padding.sizes);
  }
  if (!found.memory.device.empty()) print_parts(out, "GPU", found.memory.device);
  print_parts(out, "memory", found.memory.host);
}

void print_disk(std::ostream& out, const TrainingConfig& config, const Estimate& found) {
  const double all = found.checkpoint_bytes * (static_cast<double>(config.checkpoint.keep) + 1);
  row(out, "disk", "a checkpoint is {}, {} and one more take {}; {} are free in {}",
      readable_bytes(found.checkpoint_bytes), config.checkpoint.keep, readable_bytes(all),
      readable_bytes(found.disk.free), found.disk.folder.string());
}

void print_times(std::ostream& out, const plan::Calibration& speed, const Estimate& found) {
  const plan::StepTime& step = found.step;
  row(out, "work", "{:.3g} flops a step on the busiest rank, {:.3g} flops a second",
      (step.compute + step.uneven + step.shapes) * speed.flops_per_second, speed.flops_per_second);
  row(out, "time", "{}: {} a step, {} saves of {} ({})", readable_time(found.seconds), readable_time(step.all()),
      found.saves, readable_time(found.save_seconds), speed.origin);
}

// Returns the job's cluster and larger and smaller ones, by ranks.
std::vector<plan::Cluster> clusters_of(const PlanConfig& config) {
  std::vector<plan::Cluster> clusters = {cluster_of(config, config.ranks())};
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

void print_scaling_row(std::ostream& out, const PlannedRun& run, const plan::Cluster& cluster,
                       const plan::StepTime& step, double alone) {
  const plan::Cut cut = run.cut(cluster.ranks);
  std::string percents;
  for (const StepPart& part : kStepParts) {
    percents += fmt::format(" {:>{}.1f}", 100 * step.*part.seconds / step.all(), part.width);
  }
  const StepPart& longest =
      *std::ranges::max_element(kStepParts, {}, [&](const StepPart& part) { return step.*part.seconds; });
  row(out, "", "{:>5} {:>5} {:>13} {:>8} {:>8.0f} {:>10.3f} {}  {}", cluster.ranks, cluster.nodes(),
      cut.least == cut.most ? fmt::to_string(cut.most) : fmt::format("{} to {}", cut.least, cut.most),
      readable_time(step.all()), run.work().pairs / step.all(), alone / cluster.ranks / step.all(), percents,
      cut.idle > 0 && step.uneven > step.network ? fmt::format("{} ranks idle", cut.idle) : longest.name);
}

// Prints how the step's time depends on the number of ranks.
void print_scaling(std::ostream& out, const PlanRequest& request, const PlannedRun& run) {
  row(out, "scaling",
      "the same global batch on more ranks; efficiency: pairs per second of a rank, as a part of those of one");
  row(out, "", "rank that trains the same steps alone; then the parts of a step in percent");
  std::string names;
  for (const StepPart& part : kStepParts) names += fmt::format(" {:>{}}", part.name, part.width);
  row(out, "", "{:>5} {:>5} {:>13} {:>8} {:>8} {:>10} {}  limit", "ranks", "nodes", "micro-batches", "step", "pairs/s",
      "efficiency", names);
  const double alone = plan::replay(run.work(), request.speed, {}).all();
  for (const plan::Cluster& cluster : clusters_of(request.options)) {
    print_scaling_row(out, run, cluster, plan::replay(run.work(), request.speed, cluster), alone);
  }
}

// Prints what the times were computed from, and what the loader and the copies must deliver.
void print_assumptions(std::ostream& out, const PlanRequest& request, const PlannedRun& run, const Estimate& found) {
  const auto origin = [](bool known, const char* how) { return known ? how : "assumed"; };
  const PlanConfig& options = request.options;
  const plan::Calibration& speed = request.speed;
  const bool measured = !options.calibration.empty();
  row(out, "", "{}: a node's link has {:g} Gbit/s in each direction", origin(options.network_gbit > 0, "given"),
      options.gbit());
  row(out, "", "{}: a round of messages takes {:g} us", origin(options.network_latency_us > 0, "given"),
      options.latency_us());
  row(out, "", "{}: a rank gives and takes {:.3g} GB/s within a node", origin(measured, "measured"),
      speed.exchange_per_second / 1e9);
  row(out, "", "{}",
      speed.ready.empty() ? "assumed: buckets of gradients become ready evenly over the last backward"
                          : "measured: when buckets of gradients become ready in the last backward");
  const double images_per_second = found.step.images / (found.step.all() - found.step.input);
  row(out, "", "a rank takes {:.3g} images/s while it does not wait for its loader", images_per_second);
  if (options.cuda()) {
    const plan::BatchShape& largest = run.workload().largest;
    const auto bytes = static_cast<double>(3 * largest.height * largest.width);  // of an image, before normalisation
    row(out, "", "these are about {:.3g} GB/s to copy to each GPU", images_per_second * bytes / 1e9);
  }
  row(out, "", "{}",
      speed.images_per_second == 0 ? "measured: a step does not wait for the loader"
                                   : fmt::format("{}: the loader of a rank makes {:.0f} images/s",
                                                 origin(measured, "measured"), speed.images_per_second));
}

}  // namespace

Estimate estimate(const PlanRequest& request, const PlannedRun& run) {
  const TrainingConfig& config = run.job().config;
  const plan::Cluster cluster = cluster_of(request.options, request.options.ranks());
  Estimate found{.steps = train::total_steps(config.loop, run.stream()),
                 .memory = memory_of(run, request.compute, request.options.ranks()),
                 .checkpoint_bytes = plan::checkpoint_bytes(run.size()),
                 .step = plan::replay(run.work(), request.speed, cluster),
                 .save_seconds = plan::save_seconds(run.work(), request.speed, cluster)};
  const std::vector<std::int64_t> saved = checkpoint::steps_in(fs::path(config.run_dir) / checkpoint::kCheckpointsName);
  if (!saved.empty()) found.steps_done = std::min(saved.front(), found.steps);
  found.disk = disk_of(config, found.checkpoint_bytes);
  const auto left = static_cast<double>(found.steps_left());
  const double step = found.step.all();
  if (left == 0) return found;
  // The last step saves in any case.
  found.saves = std::max(1.0, std::ceil(left * plan::saves_per_step(run.work(), step) - 1e-9));
  found.seconds = left * step + found.save_seconds;  // only the last save is waited for
  return found;
}

void find_problems(const Estimate& estimate, const TrainingConfig& config, Problems& problems) {
  const Disk& disk = estimate.disk;
  problems.require(::access(disk.folder.c_str(), W_OK) == 0,
                   fmt::format("--run.dir {}: {} cannot be written to", config.run_dir, disk.folder.string()));
  problems.require(
      disk.free >= disk.needed,
      fmt::format("--run.dir {}: {} free, {} needed for checkpoints: lower --checkpoint.keep {}, or take "
                  "another disk",
                  config.run_dir, readable_bytes(disk.free), readable_bytes(disk.needed), config.checkpoint.keep));
}

void print_plan(std::ostream& out, const PlanRequest& request, const PlannedRun& run, const Estimate& estimate) {
  const PlanConfig& options = request.options;
  row(out, request.command(), "{}: {} with {}{} each", counted(options.ranks(), "rank"), counted(options.nodes, "node"),
      counted(options.ranks_on_node(), request.compute.cuda ? "GPU" : "rank"),
      request.compute.cuda ? "" : " of " + counted(options.cores_per_rank(), "core"));
  for (const std::string& identity : data::identity_of(request.data)) row(out, "data", "{}", identity);
  row(out, "model", "{:.1f} million weights, {:.1f} million trained", 1e-6 * static_cast<double>(run.size().weights),
      1e-6 * static_cast<double>(run.size().trained));
  print_steps(out, run, estimate, options.ranks());
  print_memory(out, run, estimate, options.ranks());
  print_disk(out, run.job().config, estimate);
  print_times(out, request.speed, estimate);
  print_scaling(out, request, run);
  print_assumptions(out, request, run, estimate);
  out.flush();
}

}  // namespace pixelbert::jobs

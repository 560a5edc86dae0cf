#include "plan/calibration.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/check.h"
#include "core/counted.h"
#include "core/files.h"
#include "core/json_text.h"
#include "data/sample_stream.h"
#include "plan/replay.h"

namespace pixelbert::plan {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kWarmUp = 2;   // steps in which memory and threads are new
constexpr std::size_t kEnough = 10;  // steps to measure
constexpr double kNotice = 0.02;     // part of a step that is more than noise

// Bytes that a rank can give and take in a second, without a measurement: through NVLink of an H100 (450 GB/s in each
// direction, of which sends and receives between single GPUs reach less); through the memory of a host.
constexpr double kExchangeOfGpu = 200e9, kExchangeOfCpu = 2e9;

// Images that a thread of the loader decodes and resizes in a second: measured with photographs of COCO and Flickr at
// 800 x 1333 (benchmarks/results, two cores of a Xeon). Smaller ones are faster.
constexpr double kImagesOfThread = 190;

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What rank 0 has of a mean step.
MicroBatchWork of_rank_0(const RunWork& work, int ranks) {
  MicroBatchWork mean;
  for (const std::vector<MicroBatchWork>& step : work.steps) {
    const std::int64_t own = data::run_bounds(std::ssize(step), ranks)[1];
    for (std::int64_t i = 0; i < own; ++i) {
      mean.flops += step[i].flops / static_cast<double>(work.steps.size());
      mean.images += step[i].images / static_cast<double>(work.steps.size());
    }
  }
  return mean;
}

// What the steps of metrics.jsonl took, in seconds.
struct Measured {
  std::vector<double> forward, backward, other, data, all, waiting, updating, gathering, saving;
  std::vector<std::vector<double>> ready;  // of each bucket
  std::size_t steps = 0;
};

// Adds a line of metrics.jsonl.
void add(const json& stats, std::size_t buckets, Measured& measured) {
  const json& phases = stats.at("phase_seconds");
  const auto seconds = [&](const char* phase) { return phases.at(phase).get<double>(); };
  if (stats.contains("checkpoint_seconds")) {
    for (const json& save : stats.at("checkpoint_seconds")) measured.saving.push_back(save.get<double>());
  } else if (seconds("checkpoint") > 1e-3) {  // until 0.1 a step ended with its save; others spend microseconds there
    measured.saving.push_back(seconds("checkpoint"));
  }
  if (measured.steps++ < kWarmUp) return;
  measured.forward.push_back(seconds("forward"));
  measured.backward.push_back(seconds("backward"));
  measured.other.push_back(seconds("other"));
  measured.data.push_back(seconds("data"));
  measured.waiting.push_back(seconds("reduce_wait"));
  measured.updating.push_back(seconds("optimizer"));
  measured.all.push_back(seconds("data") + seconds("forward") + seconds("backward") + seconds("other") +
                         seconds("reduce_wait") + seconds("optimizer"));
  // Earlier versions did not tell the two halves of a reduction apart, which move the same bytes.
  measured.gathering.push_back(stats.value("gather_seconds", seconds("reduce_wait") / 2));
  if (!stats.contains("bucket_ready") || stats.at("bucket_ready").size() != buckets) return;
  measured.ready.resize(buckets);
  for (std::size_t i = 0; i < buckets; ++i) measured.ready[i].push_back(stats.at("bucket_ready")[i].get<double>());
}

std::vector<std::pair<double, double>> ready_curve(const std::vector<std::vector<double>>& ready,
                                                   const std::vector<double>& bytes) {
  std::vector<std::pair<double, double>> curve;
  double all = 0, until = 0, latest = 0;
  for (const double bucket : bytes) all += bucket;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    until += bytes[i];
    latest = std::max(latest, median(ready[i]));  // a bucket waits for those before it
    curve.emplace_back(until / all, latest);
  }
  return curve;
}

}  // namespace

Calibration measure(const std::filesystem::path& run, std::int64_t since, const RunWork& work, int ranks) {
  const std::filesystem::path path = run / "metrics.jsonl";
  std::ifstream in(path);
  PB_CHECK(in, "--calibration: cannot open {}: expected a run folder", path.string());
  Measured measured;
  std::int64_t number = 0;
  try {
    for (std::string line; std::getline(in, line);) {
      ++number;
      const json stats = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!stats.is_object() || !stats.contains("step")) continue;  // a note, or what a power failure left
      if (stats.at("step").get<std::int64_t>() > since) add(stats, work.buckets.size(), measured);
    }
  } catch (const json::exception& error) {
    fail(fmt::format("--calibration: line {} of {}: {}", number, path.string(), error.what()));
  }
  PB_CHECK(measured.all.size() >= kEnough, "--calibration: expected at least {} steps in {}, found {}",
           kWarmUp + kEnough, path.string(), measured.steps);
  PB_CHECK(!measured.saving.empty(), "--calibration: expected a step in which a save ended in {}", path.string());

  const MicroBatchWork own = of_rank_0(work, ranks);
  const double forward = median(measured.forward), backward = median(measured.backward);
  const double computing = forward + backward + median(measured.other), all = median(measured.all);
  double gradients = 0;
  for (const double bytes : work.buckets) gradients += bytes;
  Calibration speed{
      .flops_per_second = own.flops / computing,
      .backward_share = backward / computing,
      .updates_per_second = work.weights / ranks / median(measured.updating),
      .exchange_per_second = kExchangeOfCpu,
      .saved_per_second = work.checkpoint_bytes / median(measured.saving),
      .ready = ready_curve(measured.ready, work.buckets),
      .origin = fmt::format("{} steps on {} of {}", measured.steps, counted(ranks, "rank"), run.string())};
  if (median(measured.data) > kNotice * all) speed.images_per_second = own.images / all;
  if (ranks == 1) return speed;
  speed.exchange_per_second = gradients * comm::all_gather_traffic(ranks, ranks).in_host / median(measured.gathering);
  // What the replay of these steps does not explain.
  const StepTime replayed = replay(work, speed, {.ranks = ranks, .ranks_per_node = ranks});
  speed.waiting_share = std::max(0.0, median(measured.waiting) - replayed.network) / computing;
  return speed;
}

Calibration assumed(const Compute& compute, std::int64_t cores, std::int64_t loader_threads) {
  Calibration speed{.backward_share = 2.0 / 3,
                    .images_per_second = kImagesOfThread * static_cast<double>(loader_threads)};
  if (compute.cuda) {
    speed.flops_per_second = compute.bf16 ? 150e12 : 30e12;
    speed.updates_per_second = 5e9;
    speed.exchange_per_second = kExchangeOfGpu;
    speed.saved_per_second = 500e6;
    speed.origin = "assumed for an H100-class GPU";
  } else {
    speed.flops_per_second = 25e9 * static_cast<double>(cores);
    speed.updates_per_second = 200e6;
    speed.exchange_per_second = kExchangeOfCpu;
    speed.saved_per_second = 300e6;
    speed.origin = fmt::format("assumed for {} cores per rank", cores);
  }
  return speed;
}

Calibration read_calibration(const std::filesystem::path& path) {
  try {
    const json root = json::parse(read_file(path));
    const auto from = [&](double least, const char* name) {
      const double value = root.at(name);
      PB_CHECK(value >= least, "--calibration: {}: expected a '{}' {}, found {}", path.string(), name,
               least > 0 ? "above 0" : "of at least 0", value);
      return value;
    };
    constexpr double kPositive = std::numeric_limits<double>::min();
    PB_CHECK(!root.contains("weights_per_second"),
             "--calibration: {} was written by an earlier version: give the run folder instead", path.string());
    return {.flops_per_second = from(kPositive, "flops_per_second"),
            .backward_share = from(0, "backward_share"),
            .updates_per_second = from(kPositive, "updates_per_second"),
            .exchange_per_second = from(kPositive, "exchange_per_second"),
            .waiting_share = from(0, "waiting_share"),
            .saved_per_second = from(kPositive, "saved_per_second"),
            .images_per_second = from(0, "images_per_second"),
            .ready = root.at("ready"),
            .origin = root.at("origin")};
  } catch (const json::exception& error) {
    fail(fmt::format("--calibration: {} is not a calibration: {}", path.string(), error.what()));
  }
}

void write_calibration(const std::filesystem::path& path, const Calibration& calibration) {
  const json root = {{"flops_per_second", calibration.flops_per_second},
                     {"backward_share", calibration.backward_share},
                     {"updates_per_second", calibration.updates_per_second},
                     {"exchange_per_second", calibration.exchange_per_second},
                     {"waiting_share", calibration.waiting_share},
                     {"saved_per_second", calibration.saved_per_second},
                     {"images_per_second", calibration.images_per_second},
                     {"ready", calibration.ready},
                     {"origin", calibration.origin}};
  write_file(path, json_text(root, 2) + "\n");
}

}  // namespace pixelbert::plan

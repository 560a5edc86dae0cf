#include "plan/replay.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "comm/sum_tree.h"
#include "core/check.h"
#include "data/sample_stream.h"

namespace pixelbert::plan {
namespace {

constexpr double kMessage = 5e-6;  // to begin one, between hosts

// Sums of a few bytes after the gradients: the statistics of BatchNorm and their gathering, losses, the norm.
constexpr double kSmallSums = 4;

double rounds_of(const Cluster& cluster) {
  return std::bit_width(static_cast<unsigned>(cluster.ranks - 1)) * cluster.latency;
}

// How far the last backward has come when `part` of the gradients is ready; evenly, if that was not measured.
double ready_at(const std::vector<std::pair<double, double>>& curve, double part) {
  std::pair<double, double> before = {0, 0};
  for (const auto& point : curve) {
    if (part <= point.first) {
      const double width = point.first - before.first;
      return width > 0 ? before.second + (point.second - before.second) * (part - before.first) / width : point.second;
    }
    before = point;
  }
  return curve.empty() ? part : before.second;
}

std::vector<BucketTime> bucket_times(const RunWork& work, const comm::Traffic& traffic, const Calibration& speed,
                                     const Cluster& cluster) {
  double all = 0, until = 0;
  for (const double bytes : work.buckets) all += bytes;
  std::vector<BucketTime> buckets;
  for (const double bytes : work.buckets) {
    until += bytes;
    buckets.push_back(
        {.ready = ready_at(speed.ready, until / all), .seconds = collective_seconds(bytes, traffic, speed, cluster)});
  }
  return buckets;
}

double gather_seconds(const RunWork& work, const Calibration& speed, const Cluster& cluster) {
  const comm::Traffic traffic = comm::all_gather_traffic(cluster.ranks, cluster.ranks_per_node);
  double seconds = 0;
  for (const double bytes : work.buckets) seconds += collective_seconds(bytes, traffic, speed, cluster);
  return seconds;
}

// A step without input and saves.
StepTime replay_step(const std::vector<MicroBatchWork>& step, const RunWork& work, const Calibration& speed,
                     const Cluster& cluster) {
  const std::vector<std::int64_t> bounds = data::run_bounds(std::ssize(step), cluster.ranks);
  std::vector<RankTime> ranks;
  double flops = 0, busiest = 0, images = 0;
  std::int64_t most = 0;
  for (int rank = 0; rank < cluster.ranks; ++rank) {
    double own = 0, own_images = 0;
    for (std::int64_t i = bounds[rank]; i < bounds[rank + 1]; ++i) {
      own += step[i].flops;
      own_images += step[i].images;
    }
    RankTime& time = ranks.emplace_back();
    if (bounds[rank + 1] > bounds[rank]) {
      time = {.end = own / speed.flops_per_second,
              .last_backward = step[bounds[rank + 1] - 1].flops / speed.flops_per_second * speed.backward_share};
    }
    flops += own;
    busiest = std::max(busiest, own);
    images = std::max(images, own_images);
    most = std::max(most, bounds[rank + 1] - bounds[rank]);
  }

  const double all = busiest / speed.flops_per_second;
  const double of_most = static_cast<double>(most) * flops / static_cast<double>(step.size()) / speed.flops_per_second;
  StepTime time{.compute = flops / cluster.ranks / speed.flops_per_second,
                .update = work.weights / cluster.ranks / speed.updates_per_second,
                .images = images};
  time.shapes = std::max(0.0, all - std::max(of_most, time.compute));
  time.uneven = all - time.compute - time.shapes;
  if (cluster.ranks == 1) return time;

  const comm::Traffic traffic = comm::reduce_scatter_traffic(comm::SumTree(bounds), cluster.ranks_per_node);
  time.waiting = speed.waiting_share * all;
  time.network = reduced_at(ranks, bucket_times(work, traffic, speed, cluster)) - all +
                 kSmallSums * rounds_of(cluster) + gather_seconds(work, speed, cluster);
  return time;
}

}  // namespace

double collective_seconds(double bytes, const comm::Traffic& traffic, const Calibration& speed,
                          const Cluster& cluster) {
  if (cluster.ranks == 1) return 0;
  double seconds = rounds_of(cluster) + bytes * traffic.in_host / speed.exchange_per_second;
  if (cluster.nodes() > 1) {
    const double link = bytes * traffic.network;
    // A rank's own part of the work hardly overlaps with the link (benchmarks/replay.py).
    seconds += link / cluster.network + link / cluster.ranks_per_node / speed.exchange_per_second +
               kMessage * static_cast<double>(traffic.messages);
  }
  return seconds;
}

double reduced_at(const std::vector<RankTime>& ranks, const std::vector<BucketTime>& buckets) {
  double now = 0;
  for (const BucketTime& bucket : buckets) {
    for (const RankTime& rank : ranks) now = std::max(now, rank.end - (1 - bucket.ready) * rank.last_backward);
    now += bucket.seconds;
  }
  for (const RankTime& rank : ranks) now = std::max(now, rank.end);
  return now;
}

// A save, whatever its reason, begins the time to the next one anew (train/checkpointer.cpp).
double saves_per_step(const RunWork& work, double step_seconds) {
  double saves = 0;
  if (work.steps_between_saves > 0) saves = 1 / work.steps_between_saves;
  if (work.seconds_between_saves > 0) saves = std::max(saves, std::min(1.0, step_seconds / work.seconds_between_saves));
  return saves;
}

double save_seconds(const RunWork& work, const Calibration& speed, const Cluster& cluster) {
  const double network = cluster.nodes() > 1 ? cluster.network : speed.saved_per_second;
  return work.checkpoint_bytes / std::min(speed.saved_per_second, network);
}

StepTime replay(const RunWork& work, const Calibration& speed, const Cluster& cluster) {
  PB_CHECK(!work.steps.empty() && cluster.ranks % cluster.ranks_per_node == 0,
           "replay: expected steps and a multiple of {} ranks, found {} steps and {} ranks", cluster.ranks_per_node,
           work.steps.size(), cluster.ranks);
  StepTime mean;
  const auto steps = static_cast<double>(work.steps.size());
  for (const std::vector<MicroBatchWork>& step : work.steps) {
    const StepTime time = replay_step(step, work, speed, cluster);
    mean.compute += time.compute / steps;
    mean.uneven += time.uneven / steps;
    mean.shapes += time.shapes / steps;
    mean.waiting += time.waiting / steps;
    mean.network += time.network / steps;
    mean.update += time.update / steps;
    mean.images += time.images / steps;
  }
  if (speed.images_per_second > 0) mean.input = std::max(0.0, mean.images / speed.images_per_second - mean.all());

  // The next step's forward, backward and reduction go on beside a save (train/background_save.h).
  const double beside = mean.all() - mean.update - (cluster.ranks > 1 ? gather_seconds(work, speed, cluster) : 0);
  mean.saves = saves_per_step(work, mean.all()) * std::max(0.0, save_seconds(work, speed, cluster) - beside);
  return mean;
}

}  // namespace pixelbert::plan

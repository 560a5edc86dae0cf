#include "plan/replay.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/check.h"
#include "data/sample_stream.h"

namespace pixelbert::plan {
namespace {

constexpr double kInfinite = 1e30;

// Micro-batches of one size, a flop a second, nothing but forward and backward costs anything.
RunWork even_work(std::size_t micro_batches) {
  return {.steps = {std::vector<MicroBatchWork>(micro_batches, {.flops = 3, .images = 2})},
          .pairs = 8,
          .buckets = {100, 200, 100},
          .weights = 100,
          .checkpoint_bytes = 1000};
}

Calibration ideal() {
  return {.flops_per_second = 1,
          .backward_share = 2.0 / 3,
          .updates_per_second = kInfinite,
          .exchange_per_second = kInfinite,
          .saved_per_second = kInfinite,
          .ready = {},
          .origin = ""};
}

Cluster nodes(int ranks, double network, int ranks_per_node = 1) {
  return {.ranks = ranks, .ranks_per_node = ranks_per_node, .network = network, .latency = 100e-6};
}

TEST(ReducedAt, WaitsForTheSlowestRankAndTheBucketBefore) {
  // Ready at 8 and 10 on the first rank, at 2 and 4 on the other.
  const std::vector<RankTime> ranks = {{.end = 10, .last_backward = 4}, {.end = 4, .last_backward = 4}};
  EXPECT_DOUBLE_EQ(reduced_at(ranks, {{.ready = 0.5, .seconds = 1}, {.ready = 1, .seconds = 1}}), 11);
  EXPECT_DOUBLE_EQ(reduced_at(ranks, {{.ready = 0.5, .seconds = 5}, {.ready = 1, .seconds = 1}}), 14);
}

TEST(ReducedAt, IsTheWholeReductionAfterBackwardIfAllIsReadyAtTheEnd) {
  EXPECT_DOUBLE_EQ(
      reduced_at({{.end = 10, .last_backward = 4}}, {{.ready = 1, .seconds = 2}, {.ready = 1, .seconds = 3}}), 15);
  EXPECT_DOUBLE_EQ(reduced_at({{.end = 10, .last_backward = 4}}, {{.ready = 0, .seconds = 2}}), 10) << "hidden";
}

TEST(ReducedAt, LiesBetweenItsBoundsForAnyBuckets) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int trial = 0; trial < 1000; ++trial) {
    std::vector<RankTime> ranks(1 + random() % 5);
    double end = 0;
    for (RankTime& rank : ranks) {
      rank.last_backward = uniform(random);
      rank.end = rank.last_backward + uniform(random);
      end = std::max(end, rank.end);
    }
    std::vector<BucketTime> buckets(1 + random() % 8);
    double sum = 0;
    for (BucketTime& bucket : buckets) {
      bucket = {.ready = uniform(random), .seconds = uniform(random) / 4};
      sum += bucket.seconds;
    }
    const double at = reduced_at(ranks, buckets);
    EXPECT_GE(at, std::max(end, sum));
    EXPECT_LE(at, end + sum + 1e-12);
    for (BucketTime& bucket : buckets) bucket.seconds *= 2;
    EXPECT_GE(reduced_at(ranks, buckets), at) << "slower reductions end no earlier";
  }
}

TEST(Replay, IsForwardAndBackwardIfTheNetworkIsInfinite) {
  const StepTime step = replay(even_work(8), ideal(), nodes(4, kInfinite));
  EXPECT_DOUBLE_EQ(step.compute, 6);
  EXPECT_EQ(step.uneven, 0);
  EXPECT_EQ(step.shapes, 0);
  EXPECT_NEAR(step.all(), 6, 0.01) << "rounds of messages";
}

TEST(Replay, IsTheBytesOverTheBandwidthIfTheNetworkIsSlow) {
  // Two nodes: half of the 400 bytes to the other, as sums and again as weights.
  const StepTime step = replay(even_work(8), ideal(), nodes(2, 1e-2));
  EXPECT_NEAR(step.all() / (400 / 1e-2), 1, 1e-3);
}

TEST(Replay, TakesBackwardFromTheNetworkIfBucketsBecomeReadyEarly) {
  Calibration speed = ideal();
  speed.ready = {{0.25, 0}, {1, 0.5}};  // of a last backward of 2 s, of 12 s: the first bucket when it begins
  const RunWork work = even_work(8);
  const Cluster cluster = nodes(2, 100);
  // 0.5 s for the first bucket, from 10 s on; 1 s for the second, ready at 10.67 s; the third ends at 12.17 s. Then 2
  // s.
  EXPECT_NEAR(replay(work, speed, cluster).network, 12 + 1.0 / 6 - 12 + 2, 0.01);
  speed.ready = {{1, 1}};
  EXPECT_GT(replay(work, speed, cluster).network, 2.5);
}

TEST(Replay, TakesTheRoundsOfMessagesForEachCollective) {
  const RunWork work = even_work(8);
  Cluster late = nodes(8, 1e9), soon = late;
  late.latency = 2e-3;
  soon.latency = 1e-3;
  // log2(8) rounds each: for the sums of a bucket and for its weights, and four sums of a few numbers. The sums of all
  // buckets but the last are hidden behind backward.
  const auto buckets = static_cast<double>(work.buckets.size());
  EXPECT_NEAR(replay(work, ideal(), late).network - replay(work, ideal(), soon).network, 3e-3 * (1 + buckets + 4),
              1e-6);
}

TEST(Replay, IsNoSlowerOnAFasterNetwork) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 100; ++trial) {
    RunWork work = even_work(1 + random() % 20);
    for (MicroBatchWork& batch : work.steps[0]) batch.flops = static_cast<double>(1 + random() % 9);
    const int per_node = static_cast<int>(1 + random() % 4), ranks = per_node * static_cast<int>(2 + random() % 4);
    double before = std::numeric_limits<double>::infinity();
    for (double network = 1; network < 1e6; network *= 10) {
      const double now = replay(work, ideal(), nodes(ranks, network, per_node)).all();
      EXPECT_LE(now, before);
      before = now;
    }
  }
}

TEST(Replay, SaysWhatTheStepsOfAnyJobAddUpTo) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 100; ++trial) {
    RunWork work = even_work(1 + random() % 20);
    for (MicroBatchWork& batch : work.steps[0]) batch.flops = static_cast<double>(1 + random() % 9);
    const int ranks = static_cast<int>(1 + random() % 8);
    const StepTime step = replay(work, ideal(), nodes(ranks, kInfinite));
    double all = 0, busiest = 0;
    const std::vector<std::int64_t> bounds = data::run_bounds(std::ssize(work.steps[0]), ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      double own = 0;
      for (std::int64_t i = bounds[rank]; i < bounds[rank + 1]; ++i) own += work.steps[0][i].flops;
      all += own;
      busiest = std::max(busiest, own);
    }
    EXPECT_DOUBLE_EQ(step.compute, all / ranks);
    EXPECT_NEAR(step.compute + step.uneven + step.shapes, busiest, 1e-9);
    EXPECT_GE(step.shapes, 0);
    EXPECT_GE(step.uneven, 0);
  }
}

TEST(Replay, CallsRanksWithoutAMicroBatchUneven) {
  const StepTime step = replay(even_work(8), ideal(), nodes(32, kInfinite));
  EXPECT_DOUBLE_EQ(step.compute, 0.75);
  EXPECT_DOUBLE_EQ(step.uneven, 2.25);
  EXPECT_EQ(step.shapes, 0);
}

TEST(Replay, CallsLargerImagesShapes) {
  RunWork work = even_work(4);
  work.steps[0][2].flops = 9;
  const StepTime step = replay(work, ideal(), nodes(4, kInfinite));
  EXPECT_DOUBLE_EQ(step.compute, 4.5);
  EXPECT_EQ(step.uneven, 0);
  EXPECT_DOUBLE_EQ(step.shapes, 4.5);
}

TEST(Replay, WaitsForASlowLoader) {
  Calibration speed = ideal();
  speed.images_per_second = 1;  // two micro-batches of two images and three flops
  EXPECT_NEAR(replay(even_work(8), speed, nodes(4, kInfinite)).input, 0, 1e-9);
  speed.images_per_second = 0.5;
  EXPECT_NEAR(replay(even_work(8), speed, nodes(4, kInfinite)).all(), 8, 1e-9);
}

TEST(Replay, WaitsForASaveThatIsLongerThanTheNextStep) {
  RunWork work = even_work(8);
  work.steps_between_saves = 10;
  Calibration speed = ideal();
  speed.saved_per_second = 1000.0 / 26;
  EXPECT_NEAR(replay(work, speed, nodes(1, 0)).saves, 0.2, 1e-9) << "26 s beside a step of 24 s, every 10 steps";
  speed.saved_per_second = 1000;
  EXPECT_EQ(replay(work, speed, nodes(1, 0)).saves, 0);
}

TEST(Replay, DividesTheUpdate) {
  Calibration speed = ideal();
  speed.updates_per_second = 10;
  EXPECT_DOUBLE_EQ(replay(even_work(8), speed, nodes(1, 0)).update, 10);
  EXPECT_DOUBLE_EQ(replay(even_work(8), speed, nodes(4, 1)).update, 2.5);
}

TEST(CollectiveSeconds, IsThatOfTheRanksAndOfTheLink) {
  Calibration speed = ideal();
  const comm::Traffic traffic{.in_host = 0.5, .network = 1, .messages = 0};
  const Cluster cluster = nodes(4, 10, 2);
  EXPECT_NEAR(collective_seconds(1000, traffic, speed, cluster), 100, 0.01);
  speed.exchange_per_second = 2;  // 500 bytes within the node, and then 500 for each rank between nodes
  EXPECT_NEAR(collective_seconds(1000, traffic, speed, cluster), 250 + 100 + 250, 0.01);
  EXPECT_EQ(collective_seconds(1000, {}, speed, nodes(1, 0)), 0);
}

}  // namespace
}  // namespace pixelbert::plan

// Replays steps of a training on paper, at any number of ranks. It follows train_step (train/train_loop.cpp): forward
// and backward of each rank's micro-batches; the reduction of each bucket of gradients, one after another, when every
// rank has filled it (comm/gradient_reducer.h; comm/traffic.h counts its bytes); the update of a rank's slice; the
// gathering of the weights.
#pragma once

#include <vector>

#include "comm/traffic.h"
#include "plan/calibration.h"
#include "plan/workload.h"

namespace pixelbert::plan {

// Nodes with equal numbers of ranks. The bandwidth is that of a node's link, in each direction.
struct Cluster {
  int ranks = 1;
  int ranks_per_node = 1;
  double network = 0;  // bytes per second
  double latency = 0;  // seconds of a round of small messages
  int nodes() const { return ranks / ranks_per_node; }
};

// Returns the seconds that a collective of `bytes` takes.
double collective_seconds(double bytes, const comm::Traffic& traffic, const Calibration& speed, const Cluster& cluster);

// A rank's forward and backward, in seconds from the beginning of the step. A rank without a micro-batch has zeros.
struct RankTime {
  double end = 0;            // of its last backward
  double last_backward = 0;  // its length
};
struct BucketTime {
  double ready = 0;    // part of the last backward
  double seconds = 0;  // of its reduction
};
// Returns when the last bucket is reduced. A reduction begins when the one before has ended and all ranks are ready.
double reduced_at(const std::vector<RankTime>& ranks, const std::vector<BucketTime>& buckets);

// The seconds of a mean step, by what causes them. They add up to the step.
struct StepTime {
  double compute = 0;  // all flops, divided equally among the ranks
  double uneven = 0;   // because ranks have different numbers of micro-batches, or none
  double shapes = 0;   // because some micro-batches have more or larger images
  double waiting = 0;  // for each other, as in the calibration
  double network = 0;  // sums of gradients after the last backward, and the gathering of weights
  double update = 0;
  double input = 0;   // the loader is slower than all of these
  double saves = 0;   // the state is still being read when it should be updated
  double images = 0;  // of the rank that has most, which its loader must make
  double all() const { return compute + uneven + shapes + waiting + network + update + input + saves; }
};
StepTime replay(const RunWork& work, const Calibration& speed, const Cluster& cluster);

// Returns how many saves a training begins in a step of `step_seconds`, on average.
double saves_per_step(const RunWork& work, double step_seconds);

// Returns the seconds of a save. Ranks of other nodes send their part to those of the first.
double save_seconds(const RunWork& work, const Calibration& speed, const Cluster& cluster);

}  // namespace pixelbert::plan

// When a GPU came to each phase of a step. The host runs ahead of it, so the host's clock does not tell. On a CPU the
// host is the device: then nothing is recorded, and there is nothing to wait for.
#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <vector>

#include "core/activity.h"

namespace pixelbert::train {

class DeviceTimes {
 public:
  explicit DeviceTimes(torch::Device device) : device_(device) {}

  void begin_step() { marks_.clear(); }

  // What is put on the device's stream from now on belongs to this phase.
  void mark(activity::Phase phase);

  // Returns when the device has done what belongs to the phase, up to the mark that follows.
  void wait_for_end_of(activity::Phase phase) const;

  struct Span {
    activity::Phase phase;
    double seconds;
  };
  // Returns the time from each mark to the next. The device must have come to the last one.
  std::vector<Span> spans() const;

 private:
  struct Mark {
    activity::Phase phase;
    c10::Event event;
  };

  torch::Device device_;
  std::vector<Mark> marks_;
};

}  // namespace pixelbert::train

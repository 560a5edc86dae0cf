// The progress line on stderr: one line that is updated on a terminal, occasional log lines elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "metrics/sink.h"

namespace pixelbert::metrics {

class ProgressSink final : public Sink {
 public:
  explicit ProgressSink(std::int64_t total_steps, double every_seconds = 10);

  // `write` receives each line, and whether it is the last. Time is that of the recorded steps.
  using Write = std::function<void(const std::string& line, bool last)>;
  ProgressSink(std::int64_t total_steps, double every_seconds, Write write);

  void record(const StepStats& stats) override;

 private:
  std::string line(const StepStats& stats) const;

  std::int64_t total_steps_;
  double every_seconds_;
  Write write_;
  bool first_ = true;

  // Since the last line.
  std::int64_t steps_ = 0;
  std::int64_t samples_ = 0;
  double seconds_ = 0;
  double flops_ = 0;
  PhaseSeconds phase_seconds_{};
};

}  // namespace pixelbert::metrics

// One HTTP endpoint per rank for Prometheus. monitoring/README.md explains the metrics.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "metrics/metrics_config.h"
#include "metrics/sink.h"

namespace pixelbert::metrics {

// Where a job starts, and where it will end.
struct Progress {
  std::int64_t step = 0;
  std::int64_t epoch = 0;
  std::int64_t planned_steps = 0;
};

class PrometheusSink final : public Sink {
 public:
  // Serves /metrics at `config.port` + `local_rank`, which is not 0. Throws Error when the port is taken. `build` has
  // the labels of pixelbert_build_info.
  PrometheusSink(const MetricsConfig& config, int local_rank, const Progress& progress,
                 const std::map<std::string, std::string>& build);
  ~PrometheusSink() override;

  void record(const StepStats& stats) override;

 private:
  struct Metrics;
  std::unique_ptr<Metrics> metrics_;
};

}  // namespace pixelbert::metrics

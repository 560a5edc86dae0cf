// The output of a running training: metrics.jsonl, progress lines, Prometheus.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "comm/mpi_session.h"
#include "jobs/ranks.h"
#include "jobs/training_config.h"
#include "metrics/sink.h"
#include "metrics/targets.h"

namespace pixelbert::jobs {

class Reports {
 public:
  // Collective. `steps` is the total number; `run` is where the training stands.
  Reports(const TrainingConfig& config, const comm::MpiSession& session, Ranks& ranks,
          const checkpoint::Description& run, std::int64_t steps);

  std::vector<metrics::Sink*> sinks() const;

 private:
  void announce(const TrainingConfig& config, const comm::MpiSession& session, comm::Communicator& control);

  std::vector<std::unique_ptr<metrics::Sink>> sinks_;
  std::optional<metrics::TargetsFile> targets_;
};

}  // namespace pixelbert::jobs

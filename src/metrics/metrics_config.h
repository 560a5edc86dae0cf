// The options of the metrics.
#pragma once

#include <cstdint>
#include <string>

namespace pixelbert::metrics {

struct MetricsConfig {
  std::int64_t port = 0;
  std::string address = "127.0.0.1";
  double progress_every_seconds = 10;
};

template <class Visitor>
void describe(MetricsConfig& config, Visitor&& field) {
  field("metrics.port", config.port, "each rank serves Prometheus at this port + its local rank; 0: no endpoint");
  field("metrics.address", config.address, "network address of the endpoints; 0.0.0.0: all of the host's");
  field("metrics.progress-every-seconds", config.progress_every_seconds,
        "time between progress lines; a terminal shows one line that is updated");
}

}  // namespace pixelbert::metrics

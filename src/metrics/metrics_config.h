// The options of the metrics.
#pragma once

#include <cstdint>
#include <string>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::metrics {

struct MetricsConfig {
  std::int64_t port = 0;
  std::string address = "127.0.0.1";
  double progress_every_seconds = 10;
};

template <class Field>
void describe(MetricsConfig& config, Field&& field) {
  field("metrics.port", config.port, "each rank serves Prometheus at this port + its local rank; 0: no endpoint",
        OnResume::Free);
  field("metrics.address", config.address, "network address of the endpoints; 0.0.0.0: all of the host's",
        OnResume::Free);
  field("metrics.progress-every-seconds", config.progress_every_seconds,
        "time between progress lines; a terminal shows one line that is updated", OnResume::Free);
}

inline void find_problems(const MetricsConfig& config, Problems& problems) {
  problems.between("metrics.port", config.port, 0, 65535);
  // The server takes commas, blanks and what is behind them for further addresses and options.
  problems.require(!config.address.empty() && config.address.find_first_of(" ,\t\r\n") == std::string::npos,
                   fmt::format("--metrics.address must be one address, found '{}'", config.address));
  problems.require(
      config.progress_every_seconds >= 0,
      fmt::format("--metrics.progress-every-seconds must be at least 0, found {}", config.progress_every_seconds));
}

}  // namespace pixelbert::metrics

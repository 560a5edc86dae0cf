#include "jobs/reports.h"

#include <torch/version.h>

#include <filesystem>
#include <map>
#include <string>

#include "comm/texts.h"
#include "core/log.h"
#include "jobs/version.h"
#include "metrics/jsonl_sink.h"
#include "metrics/progress_sink.h"
#include "metrics/prometheus_sink.h"

namespace pixelbert::jobs {

Reports::Reports(const TrainingConfig& config, const comm::MpiSession& session, Ranks& ranks,
                 const checkpoint::Description& run, std::int64_t steps) {
  const std::filesystem::path dir = config.run_dir;
  if (session.rank() == 0) {
    sinks_.push_back(std::make_unique<metrics::JsonlSink>(dir / "metrics.jsonl", run.step, run.metrics_line));
    sinks_.push_back(std::make_unique<metrics::ProgressSink>(steps, config.metrics.progress_every_seconds));
  }
  if (config.metrics.port == 0) return;
  sinks_.push_back(std::make_unique<metrics::PrometheusSink>(
      config.metrics, session.local_rank(), metrics::Progress{run.step, run.epoch, steps},
      std::map<std::string, std::string>{{"version", version()},
                                         {"commit", git_commit()},
                                         {"libtorch", TORCH_VERSION},
                                         {"device", ranks.device().str()},
                                         {"world_size", fmt::to_string(session.world_size())}}));
  announce(config, session, ranks.control());
}

std::vector<metrics::Sink*> Reports::sinks() const {
  std::vector<metrics::Sink*> sinks;
  for (const auto& sink : sinks_) sinks.push_back(sink.get());
  return sinks;
}

// Rank 0 writes the addresses of all ranks for Prometheus.
void Reports::announce(const TrainingConfig& config, const comm::MpiSession& session, comm::Communicator& control) {
  std::vector<metrics::Target> targets;
  const std::vector<std::string> hosts = comm::gather_texts(session.host(), control);
  const std::vector<std::string> addresses =
      comm::gather_texts(metrics::scrape_address(config.metrics, session.host(), session.local_rank()), control);
  if (session.rank() != 0) return;
  for (int rank = 0; rank < session.world_size(); ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    // On this host, the same address and port are those of another rank.
    if (metrics::is_loopback(addresses[at]) && hosts[at] != session.host()) continue;
    targets.push_back({addresses[at], rank, hosts[at]});
  }
  if (std::ssize(targets) < session.world_size()) {
    log::warn(
        "--metrics.address: some ranks on other hosts than {} listen at a loopback address, which Prometheus does not "
        "get: give 0.0.0.0",
        session.host());
  }
  const std::filesystem::path dir = std::filesystem::weakly_canonical(config.run_dir);
  targets_.emplace(dir / "monitoring" / "targets.json", dir.filename().string(), targets);
}

}  // namespace pixelbert::jobs

// <run>/monitoring/targets.json: where Prometheus finds the ranks of a job (its file_sd format).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "metrics/metrics_config.h"

namespace pixelbert::metrics {

// Returns where Prometheus reaches a rank on `host`: at the host itself when the endpoint listens on all addresses.
std::string scrape_address(const MetricsConfig& config, const std::string& host, int local_rank);

// Whether only processes of the same host reach the endpoint at this address.
bool is_loopback(const std::string& address);

struct Target {
  std::string address;  // "node7:9400"
  int rank = 0;
  std::string host;
};

// Rank 0 keeps one while the job runs. The file is replaced in one piece, so Prometheus never reads half of it.
class TargetsFile {
 public:
  TargetsFile(std::filesystem::path path, const std::string& run, const std::vector<Target>& targets);
  TargetsFile(const TargetsFile&) = delete;
  TargetsFile& operator=(const TargetsFile&) = delete;
  ~TargetsFile();  // empties the list: Prometheus stops scraping

 private:
  std::filesystem::path path_;
};

}  // namespace pixelbert::metrics

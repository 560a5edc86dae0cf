#include "metrics/targets.h"

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/log.h"

namespace pixelbert::metrics {

std::string scrape_address(const MetricsConfig& config, const std::string& host, int local_rank) {
  const bool everywhere = config.address == "0.0.0.0" || config.address == "[::]";
  return fmt::format("{}:{}", everywhere ? host : config.address, config.port + local_rank);
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address.starts_with("localhost:") || address.starts_with("[::1]");
}

TargetsFile::TargetsFile(std::filesystem::path path, const std::string& run, const std::vector<Target>& targets)
    : path_(std::move(path)) {
  auto list = nlohmann::ordered_json::array();
  for (const Target& target : targets) {
    list.push_back({{"targets", {target.address}},
                    {"labels", {{"run", run}, {"rank", std::to_string(target.rank)}, {"host", target.host}}}});
  }
  std::filesystem::create_directories(path_.parent_path());
  write_file(path_, json_text(list, 1) + "\n");
}

TargetsFile::~TargetsFile() {
  try {
    write_file(path_, "[]\n");
  } catch (const std::exception& error) {
    log::warn("cannot empty the list of Prometheus targets: {}", error.what());
  }
}

}  // namespace pixelbert::metrics

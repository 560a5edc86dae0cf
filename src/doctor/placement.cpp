#include "doctor/placement.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/cores.h"
#include "core/json_text.h"
#include "core/rank_list.h"

namespace pixelbert::doctor {
namespace {

using json = nlohmann::json;

}  // namespace

Placement own_placement(const std::string& host, int ranks_on_host) {
  const std::vector<int> cores = own_cores();
  return {.host = host,
          .cores = {cores.begin(), cores.end()},
          .threads = compute_threads(ranks_on_host),
          .host_cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN))};
}

std::string to_text(const Placement& placement) {
  return json_text(json({placement.host, placement.cores, placement.threads, placement.host_cores}));
}

Placement placement_from_text(const std::string& text) {
  const json list = json::parse(text);
  return {.host = list[0], .cores = list[1].get<std::set<int>>(), .threads = list[2], .host_cores = list[3]};
}

Finding check_placement(const std::vector<Placement>& placements, int rank) {
  const Placement& own = placements[rank];
  // The ranks that share cores with this one, and the cores of all of them.
  std::vector<int> sharing;
  std::set<int> cores = own.cores;
  int threads = 0;
  for (int other = 0; other < static_cast<int>(placements.size()); ++other) {
    const Placement& placement = placements[other];
    const bool overlaps = std::ranges::any_of(placement.cores, [&](int core) { return own.cores.contains(core); });
    if (placement.host != own.host || !overlaps) continue;
    sharing.push_back(other);
    threads += placement.threads;
    cores.insert(placement.cores.begin(), placement.cores.end());
  }
  const auto available = static_cast<int>(cores.size());
  const std::string who = fmt::format("{} on {}", rank_list(sharing), own.host);
  const std::string found =
      fmt::format("{}: {} of the host's {} cores for {} threads", who, available, own.host_cores, threads);
  if (std::ssize(sharing) > available && available < own.host_cores) {
    return {"binding", Level::Failure, found,
            "start the ranks with launch/ or slurm/, or give mpirun --bind-to none, so that each has cores of its own"};
  }
  if (threads > available) {
    return {"binding", Level::Warning, found,
            std::ssize(sharing) > available
                ? "start fewer ranks on a host"
                : fmt::format("set OMP_NUM_THREADS to {}", available / static_cast<int>(sharing.size()))};
  }
  if (2 * threads < available) {
    return {"binding", Level::Warning, found,
            fmt::format("most cores have nothing to do: set OMP_NUM_THREADS to {}",
                        available / static_cast<int>(sharing.size()))};
  }
  return {"binding", Level::Ok, found, ""};
}

}  // namespace pixelbert::doctor

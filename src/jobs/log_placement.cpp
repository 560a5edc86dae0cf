#include "jobs/log_placement.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "comm/texts.h"
#include "core/cores.h"
#include "core/counted.h"
#include "core/log.h"
#include "core/rank_list.h"

namespace pixelbert::jobs {

void log_placement(torch::Device device, const comm::MpiSession& session, comm::Communicator& control) {
  const std::string mine = fmt::format("cores {}, {}, {}", ranges(own_cores()),
                                       counted(at::get_num_threads(), "compute thread"), device.str());
  std::vector<std::string> hosts;                                        // in the order of their first rank
  std::map<std::string, std::map<std::string, std::vector<int>>> ranks;  // host -> what it has -> ranks
  const std::vector<std::string> host_of = comm::gather_texts(session.host(), control);
  const std::vector<std::string> place_of = comm::gather_texts(mine, control);
  for (std::size_t rank = 0; rank < host_of.size(); ++rank) {
    if (!ranks.contains(host_of[rank])) hosts.push_back(host_of[rank]);
    ranks[host_of[rank]][place_of[rank]].push_back(static_cast<int>(rank));
  }
  for (const std::string& host : hosts) {
    std::vector<std::string> groups;
    for (const auto& [place, same] : ranks[host]) {
      const bool one = same.size() == 1;
      groups.push_back(fmt::format("{}{}: {}", rank_list(same), one ? "" : " each", place));
    }
    log::info("host {}, {}", host, fmt::join(groups, "; "));
  }
  if (hosts.size() > 1) {
    const char* interface = std::getenv("PIXELBERT_TCP_INTERFACE");
    log::info("between hosts: {}",
              interface ? fmt::format("{} (PIXELBERT_TCP_INTERFACE)", interface)
                        : "the network that MPI and NCCL find first; PIXELBERT_TCP_INTERFACE chooses one");
  }
}

}  // namespace pixelbert::jobs

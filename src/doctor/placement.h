// Which cores the ranks of a host may use, and whether they compete for them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "doctor/finding.h"

namespace pixelbert::doctor {

struct Placement {
  std::string host;
  std::set<int> cores;  // this rank may run on
  int threads = 1;      // it computes with
  int host_cores = 1;
};

Placement own_placement(const std::string& host, int ranks_on_host);

std::string to_text(const Placement& placement);
Placement placement_from_text(const std::string& text);

// The finding of rank `rank`, given the placements of all ranks.
Finding check_placement(const std::vector<Placement>& placements, int rank);

}  // namespace pixelbert::doctor

#include "core/rank_list.h"

#include <spdlog/fmt/fmt.h>

namespace pixelbert {

std::string ranges(const std::vector<int>& ascending) {
  std::vector<std::string> runs;
  for (std::size_t first = 0, last = 0; first < ascending.size(); first = last + 1) {
    last = first;
    while (last + 1 < ascending.size() && ascending[last + 1] == ascending[last] + 1) ++last;
    runs.push_back(first == last ? fmt::to_string(ascending[first])
                                 : fmt::format("{}-{}", ascending[first], ascending[last]));
  }
  return fmt::to_string(fmt::join(runs, ","));
}

std::string rank_list(const std::vector<int>& ascending) {
  return fmt::format("{} {}", ascending.size() == 1 ? "rank" : "ranks", ranges(ascending));
}

}  // namespace pixelbert

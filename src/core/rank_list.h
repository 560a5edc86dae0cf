// Lists of ranks and of cores, for messages.
#pragma once

#include <string>
#include <vector>

namespace pixelbert {

// "0-3,8" for {0, 1, 2, 3, 8}.
std::string ranges(const std::vector<int>& ascending);

// "rank 5", "ranks 0-3,8".
std::string rank_list(const std::vector<int>& ascending);

}  // namespace pixelbert

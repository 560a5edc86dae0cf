// One event per line on stderr, "time level rank message"; spdlog does the work.
#pragma once

#include <spdlog/spdlog.h>

namespace pixelbert::log {

using spdlog::error;
using spdlog::info;
using spdlog::warn;

// Before the first line; again when the rank is known. In a job of several ranks each line names its rank; ranks other
// than 0 speak only from warnings up, so that a job says each thing once.
void start(int rank, int world_size);

}  // namespace pixelbert::log

// One event per line on stderr, "time level rank message"; spdlog does the work.
#pragma once

#include <spdlog/spdlog.h>

namespace pixelbert::log {

using spdlog::error;
using spdlog::info;
using spdlog::warn;

// Call before the first line, and again once the rank is known. In a job of several ranks each line names its rank;
// ranks other than 0 log only warnings and errors, so that a job logs each event once.
void start(int rank, int world_size);

}  // namespace pixelbert::log

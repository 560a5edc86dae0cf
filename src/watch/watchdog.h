// Ends a job in which nothing moves, and says whose fault it is.
//
// A thread on every rank tells rank 0 what the rank is doing (core/activity.h), over TCP connections of its own:
// neither MPI nor NCCL, which are what usually hangs. Rank 0 decides when nothing has moved on any rank for the limit,
// asks all for their stacks, writes <run>/watchdog/report.json, says one message, and every rank ends with exit code 1
// without asking MPI. Time in which the job was suspended as a whole does not count (core/running_clock.h). A rank that
// no longer hears rank 0, or outlives it, decides by itself. Rank 0 keeps <run>/watchdog/ranks.json, so that `pixelbert
// diagnose` has something to tell of a job that was killed.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/option.h"
#include "core/problems.h"

namespace pixelbert::watch {

struct WatchdogConfig {
  double seconds = 300;  // 0: no watchdog
};

template <class Field>
void describe(WatchdogConfig& config, Field&& field) {
  field("watchdog.seconds", config.seconds,
        "when nothing moves on any rank for so long, name the culprit and end the job; 0: no watchdog (MPI still gives "
        "up after half an hour without a rank, NCCL after ten minutes)",
        OnResume::Free);
}

void find_problems(const WatchdogConfig& config, Problems& problems);

struct Place {
  int rank = 0;
  int world_size = 1;
  std::string host;
};

class Watchdog {
 public:
  // Collective. `share` gives rank 0's text to all ranks.
  Watchdog(const WatchdogConfig& config, Place place, const std::function<std::string(const std::string&)>& share);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();  // tells the others that this rank ends well; waits for nobody

  // Reports go to `folder` from now on, when it can be written: once it is this job's.
  void report_to(std::filesystem::path folder);

  // This rank cannot go on, and says why itself. Returns when the report is written, after two seconds at most.
  void failed(const std::string& error);

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;  // none without a limit
};

}  // namespace pixelbert::watch

// Ends a job in which nothing moves, and names the rank at fault.
//
// A thread on every rank reports to rank 0 what the rank is doing (core/activity.h), over TCP connections of its own:
// MPI and NCCL are what usually hangs. When nothing has moved on any rank for the limit, rank 0 collects the stacks of
// all ranks, writes <run>/watchdog/report.json and logs one message; then every rank ends with exit code 1, without
// MPI. Time in which the whole job was suspended does not count (core/running_clock.h). A rank that has lost rank 0
// decides by itself. Rank 0 keeps <run>/watchdog/ranks.json up to date, so that `pixelbert diagnose` can also show a
// job that was killed.
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
        "when nothing moves on any rank for this many seconds, name the rank at fault and end the job; 0: no watchdog "
        "(the others still give up after half an hour without a rank, in evaluate after a day)",
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
  ~Watchdog();  // informs the others that this rank ends normally; does not wait for them

  // Writes reports to `folder` from now on. Call once the folder belongs to this job.
  void report_to(std::filesystem::path folder);

  // Call on a rank that cannot continue; it logs the reason itself. Returns once the report is written, after two
  // seconds at most.
  void failed(const std::string& error);

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;  // null without a limit
};

}  // namespace pixelbert::watch

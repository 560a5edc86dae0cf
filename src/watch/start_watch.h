// Watches the start of a process, where it may hang before the ranks can talk: MPI_Init, a configuration file.
//
// A thread that knows this process only. Once the Watchdog of all ranks runs, that one decides what is a hang; this one
// still ends a start that is asked to stop and does not come to where it would.
#pragma once

#include <atomic>
#include <thread>

namespace pixelbert::watch {

class StartWatch {
 public:
  // From main()'s first lines; `seconds` as WatchdogConfig's, 0: no limit. When nothing moves for so long in the phase
  // "start" (core/activity.h) of the main thread, says what it does and ends the process with exit code 1; with
  // kStoppedOnRequest five seconds after a request to stop.
  explicit StartWatch(double seconds);
  ~StartWatch();

  void set_limit(double seconds) { limit_ = seconds; }

  static void hand_over();  // the Watchdog of all ranks runs

 private:
  void run(const std::stop_token& stop);

  std::atomic<double> limit_;
  std::jthread thread_;  // last: it uses the above
};

}  // namespace pixelbert::watch

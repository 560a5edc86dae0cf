// Watches the start of a process, which may hang before ranks can communicate: in MPI_Init, in a configuration file.
//
// A thread that knows only this process. Once the Watchdog of all ranks runs, the Watchdog decides what is a hang. This
// one still ends a start that has been asked to stop but does not reach a place where it would.
#pragma once

#include <atomic>
#include <thread>

namespace pixelbert::watch {

class StartWatch {
 public:
  // Create in main()'s first lines; `seconds` is as in WatchdogConfig, 0: no limit. If the main thread makes no
  // progress for so long in the phase "start" (core/activity.h), logs what it does and ends the process with exit code
  // 1. Five seconds after a request to stop, ends it with kStoppedOnRequest.
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

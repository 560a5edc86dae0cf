// A clock for timeouts. It stands still while this process is stopped.
//
// A job may be suspended as a whole for hours (scontrol suspend, Ctrl-Z, a frozen container) before it continues. No
// rank is late then, because none has run.
#pragma once

#include <chrono>
#include <thread>

namespace pixelbert {

class RunningClock {
 public:
  using duration = std::chrono::steady_clock::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<RunningClock>;
  static constexpr bool is_steady = true;

  // Like std::chrono::steady_clock, but while a Ticker exists, at most a second of a time in which the process did not
  // run counts.
  static time_point now();

  // A thread that notices by its own delay that the process was stopped. One per process.
  class Ticker {
   public:
    Ticker();
    ~Ticker();

   private:
    std::jthread thread_;
  };
};

}  // namespace pixelbert

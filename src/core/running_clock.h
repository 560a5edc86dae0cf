// A clock for limits on waiting: it stands still while this process does.
//
// A job may be suspended as a whole for hours (scontrol suspend, Ctrl-Z, a frozen container), and goes on as if nothing
// had been: no rank is late, for none has run.
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

  // As std::chrono::steady_clock, without the time in which the process did not run: of that at most a second counts.
  // Only while there is a Ticker; otherwise all time counts.
  static time_point now();

  // A thread that knows from its own delay that the process has stood still. One per process.
  class Ticker {
   public:
    Ticker();
    ~Ticker();

   private:
    std::jthread thread_;
  };
};

}  // namespace pixelbert

#include "core/running_clock.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace pixelbert {
namespace {

using Steady = std::chrono::steady_clock;

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr auto kMostOfATick = std::chrono::seconds(1);  // a busy machine runs a thread late, but not that late

struct State {
  std::mutex mutex;
  RunningClock::time_point then{Steady::now().time_since_epoch()};  // at the last tick
  Steady::time_point last = Steady::now();                          // when that was
  bool ticks = false;

  RunningClock::time_point at(Steady::time_point now) const {
    const RunningClock::duration passed = now - last;
    return then + (ticks ? std::min<RunningClock::duration>(passed, kMostOfATick) : passed);
  }

  void tick() {
    const Steady::time_point now = Steady::now();
    then = at(now);
    last = now;
  }
};

State& state() {
  static auto* const state = new State;  // never destroyed: threads may outlive main()
  return *state;
}

void tick_until(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "clock");
  std::condition_variable_any never;
  std::unique_lock lock(state().mutex);
  while (!stop.stop_requested()) {
    state().tick();
    never.wait_for(lock, stop, kTick, [] { return false; });
  }
}

}  // namespace

RunningClock::time_point RunningClock::now() {
  const std::lock_guard lock(state().mutex);
  return state().at(Steady::now());
}

RunningClock::Ticker::Ticker() {
  const std::lock_guard lock(state().mutex);
  state().tick();
  state().ticks = true;
  thread_ = std::jthread(tick_until);
}

RunningClock::Ticker::~Ticker() {
  thread_.request_stop();
  thread_.join();
  const std::lock_guard lock(state().mutex);
  state().tick();
  state().ticks = false;
}

}  // namespace pixelbert

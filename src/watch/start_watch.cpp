#include "watch/start_watch.h"

#include <pthread.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "core/activity.h"
#include "core/host.h"
#include "core/log.h"
#include "core/running_clock.h"
#include "core/stop_signal.h"
#include "watch/launcher.h"

namespace pixelbert::watch {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr auto kStopPatience = std::chrono::seconds(5);

std::atomic<bool> handed_over = false;

// Reads the rank from the environment that the launcher has set; MPI may not have started.
int rank_by_environment() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::atoi(rank);
  }
  return 0;
}

std::string name_of_this_process() {
  return fmt::format("rank {} on host {} (pid {})", rank_by_environment(), host_name(), ::getpid());
}

// A process that waits for other ranks lets them report first why they are late.
std::chrono::seconds waits_for(const activity::Activity& main) {
  return std::chrono::seconds(main.wait == activity::Wait::None ? 0 : 3);
}

void end_if_it_hangs(const activity::Activity& main, double limit) {
  if (limit <= 0 || main.seconds < limit + static_cast<double>(waits_for(main).count())) return;
  log::error("watchdog: nothing has moved for {:.0f} s (watchdog.seconds): {} has spent {:.0f} s in start, {}", limit,
             name_of_this_process(), main.seconds, main.doing);
  end_rank(1);
}

}  // namespace

StartWatch::StartWatch(double seconds) : limit_(seconds) {
  handed_over = false;
  activity::doing(activity::Phase::Start, "beginning");  // from here on time counts
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

StartWatch::~StartWatch() = default;

void StartWatch::hand_over() {
  handed_over = true;
}

void StartWatch::run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "start watch");
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  RunningClock::time_point not_asked = RunningClock::now();
  for (; !stop.stop_requested(); never.wait_for(lock, stop, kTick, [] { return false; })) {
    const std::vector<activity::Activity> all = activity::all();
    if (all.empty() || all[0].phase != activity::Phase::Start) continue;
    if (!handed_over) end_if_it_hangs(all[0], limit_);
    if (!stop_signalled()) not_asked = RunningClock::now();
    if (RunningClock::now() - not_asked < kStopPatience + waits_for(all[0])) continue;
    log::warn("{}: stopped on request in start, {}; nothing is saved: run the same command again",
              name_of_this_process(), all[0].doing);
    end_rank(kStoppedOnRequest);
  }
}

}  // namespace pixelbert::watch

// What each thread of this process is doing now. Global, like the log: the loader, the loop and the checkpointer report
// here. The watchdog reads it (watch/watchdog.h), and the metrics' clock (metrics/phase_clock.h).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/option.h"

namespace pixelbert::activity {

// Every instant of a training step belongs to exactly one of them; Start is what comes before the first step.
enum class Phase { Data, Forward, Backward, ReduceWait, Optimizer, Checkpoint, Other, Start };
constexpr auto names(Phase) {
  return std::to_array<std::string_view>(
      {"data", "forward", "backward", "reduce_wait", "optimizer", "checkpoint", "other", "start"});
}
constexpr std::size_t kPhases = names(Phase()).size();

// Places where ranks wait for each other, in the order in which every rank reaches them in a step.
enum class Wait { None, Start, Counts, Gradients, Statistics, Norm, Weights, Sums, Culprit, Save };

struct Activity {
  std::string thread;     // "main", "loader 1"
  std::int64_t step = 0;  // optimizer steps since the start of training, the current one included
  Phase phase = Phase::Start;
  std::string doing;       // "micro-batch 3", "gradients"; empty before the first report
  Wait wait = Wait::None;  // for other ranks: it is not this rank's fault
  double seconds = 0;      // since this thread began it, counted while the process runs (core/running_clock.h)
};

// Records that the calling thread begins to work on this step.
void begin_step(std::int64_t step);

// Records what the calling thread begins to do. The first thread to report is "main"; name_thread() names the others.
void doing(Phase phase, std::string what);

// Records that the calling thread waits for every other rank to reach the same place. The phase becomes Start,
// Checkpoint (Save) or ReduceWait.
void waiting(Wait place, std::string what);

// As long as it lives, the calling thread waits in Start for every other rank. Then it goes on with what it did before.
// In other phases, and where the thread waits already, this does nothing.
class WaitInStart {
 public:
  explicit WaitInStart(std::string what);
  ~WaitInStart();
  WaitInStart(const WaitInStart&) = delete;
  WaitInStart& operator=(const WaitInStart&) = delete;

 private:
  std::optional<std::string> before_;
};

// Records that the calling thread reads a file. It becomes the description only in Start, where there is no better one.
void reading(const std::filesystem::path& path);

// Records progress of what the calling thread already does, so that a large file on a slow disk is not a hang.
void moved();

// Names the calling thread, also for top and gdb.
void name_thread(const std::string& name);

// Returns the activities of all living threads, main first.
std::vector<Activity> all();

// Wall time that the calling thread has spent in each phase since its first report.
using Spent = std::array<std::chrono::steady_clock::duration, kPhases>;
Spent spent();

// Calls `hook` whenever a thread begins a step or waits for other ranks, in that thread (core/faults.h).
void set_hook(void (*hook)(const Activity&));

}  // namespace pixelbert::activity

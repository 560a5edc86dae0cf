// What each thread of this process is doing now. Global, like the log: the loader, the loop and the checkpointer report
// here. The watchdog reads it (watch/watchdog.h), and the metrics' clock (metrics/phase_clock.h).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
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

// Where ranks wait for each other, in the order in which every rank comes to them in a step.
enum class Wait { None, Start, Counts, Gradients, Statistics, Sums, Culprit, Checksums, Save };

struct Activity {
  std::string thread;     // "main", "loader 1"
  std::int64_t step = 0;  // optimizer steps since the start of training, the current one included
  Phase phase = Phase::Start;
  std::string doing;       // "micro-batch 3", "gradients"; empty before the first report
  Wait wait = Wait::None;  // for other ranks: it is not this rank's fault
  double seconds = 0;      // since this thread began it, in which the process ran (core/running_clock.h)
};

// The calling thread begins to work for this step.
void begin_step(std::int64_t step);

// The calling thread begins something. The first thread to report is "main"; others are named by name_thread().
void doing(Phase phase, std::string what);

// The calling thread waits for every other rank to come to the same place: the phase is Start, Checkpoint (Checksums
// and Save) or ReduceWait.
void waiting(Wait place, std::string what);

// The calling thread reads a file. What it does has this name only in Start, where a file is all there is to say.
void reading(const std::filesystem::path& path);

// The calling thread goes on with what it does, and it moves: a large file on a slow disk is no hang.
void moved();

// Also what top and gdb show.
void name_thread(const std::string& name);

// Of all threads alive, main first.
std::vector<Activity> all();

// The wall time that the calling thread has spent in each phase since its first report.
using Spent = std::array<std::chrono::steady_clock::duration, kPhases>;
Spent spent();

// Calls `hook` whenever a thread begins a step or waits for other ranks, in that thread (core/faults.h).
void set_hook(void (*hook)(const Activity&));

}  // namespace pixelbert::activity

// What each thread of this process is doing, for whoever asks why nothing moves (watch/watchdog.h). Like the log it
// belongs to the process: everything from the loader to the checkpoints says a line, and one reader asks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::activity {

// Where ranks wait for each other, in the order in which every rank comes to them in a step.
enum class Wait { None, Start, Counts, Gradients, Statistics, Sums, Culprit, Checksums, Save };

struct Activity {
  std::string thread;      // "main", "loader 1"
  std::int64_t step = 0;   // optimizer steps since the start of training, the current one included
  std::string phase;       // of metrics::Phase: "data", "forward", ...; "start" before the first step
  std::string doing;       // "micro-batch 3", "gradients"
  Wait wait = Wait::None;  // for other ranks: it is not this rank's fault
  double seconds = 0;      // since this thread began it, in which the process ran (core/running_clock.h)
};

// The step that the main thread makes.
void begin_step(std::int64_t step);

// The calling thread begins something. The first thread to say so is "main"; others are named by name_thread().
void doing(std::string_view phase, std::string what);

// As doing(); it needs every other rank to come to the same place.
void waiting(std::string_view phase, Wait place, std::string what);

// The calling thread reads a file. What it does has this name only in "start", where a file is all there is to say.
void reading(const std::filesystem::path& path);

// The calling thread goes on with what it does, and it moves: a large file on a slow disk is no hang.
void moved();

// Also what top and gdb show.
void name_thread(const std::string& name);

// Of all threads alive, main first.
std::vector<Activity> all();

}  // namespace pixelbert::activity

// What all ranks were doing when a job stopped, and which rank is at fault.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/activity.h"
#include "core/option.h"
#include "watch/stacks.h"

namespace pixelbert::watch {

// Gone: its connection has closed unexpectedly.
enum class State { Running, Stopped, Gone, Failed };
constexpr auto names(State) {
  return std::to_array<std::string_view>({"running", "stopped", "gone", "failed"});
}

// The state of one rank, as reported by it or seen from outside.
struct RankStatus {
  int rank = 0;
  std::string host{};
  int pid = 0;
  activity::Activity main{};                 // the training thread
  std::vector<activity::Activity> others{};  // loaders, saver
  double seconds_since_progress = 0;         // at its last message
  double silent_seconds = 0;                 // since its last message
  State state = State::Running;
  std::string error{};  // the error, if it failed
  std::vector<Stack> stacks{};
};

enum class Reason { Stalled, Died, Failed };
constexpr auto names(Reason) {
  return std::to_array<std::string_view>({"stalled", "died", "failed"});
}

struct Report {
  Reason reason = Reason::Stalled;
  double unix_time = 0;
  double limit_seconds = 0;
  int reporter = 0;  // the rank that wrote this
  std::vector<RankStatus> ranks{};
};

// ranks.json: what rank 0 knows while no report is needed.
struct RankTable {
  double started = 0, unix_time = 0;  // of the watchdog, and of this table
  bool ended = false;                 // the job has ended by itself
  std::vector<RankStatus> ranks{};
};

// The culprits' ranks, with one sentence each for users. A pure function.
struct Verdict {
  std::vector<int> culprits;
  std::string summary;             // "rank 1 on host n0 (pid 12) has been in data, decoding ..., for 31 s"
  std::vector<std::string> waits;  // "ranks 0,2 wait for rank 1: gradients, step 7"
};
Verdict verdict_of(const Report& report);

// Returns the summary, and a line for each place at which ranks wait.
std::string text_of(const Report& report);

nlohmann::ordered_json to_json(const RankStatus& status);
nlohmann::ordered_json to_json(const RankTable& table);
nlohmann::ordered_json to_json(const Report& report);

// These throw Error or nlohmann's exceptions for anything else.
RankStatus rank_status_from(const nlohmann::json& json);
RankTable rank_table_from(const nlohmann::json& json);
Report report_from(const nlohmann::json& json);

// Returns how long a rank has made no progress: its main thread, or, while that waits for data, its loader threads.
double seconds_since_progress(const std::vector<activity::Activity>& all);

}  // namespace pixelbert::watch

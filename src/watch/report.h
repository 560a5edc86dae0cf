// What all ranks were doing when a job came to a halt, and whose fault that is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/activity.h"
#include "watch/stacks.h"

namespace pixelbert::watch {

// One rank, as it told or was seen.
struct RankStatus {
  int rank = 0;
  std::string host{};
  int pid = 0;
  activity::Activity main{};                 // of the thread that trains
  std::vector<activity::Activity> others{};  // the loader's threads
  double seconds_since_progress = 0;         // when it last told
  double silent_seconds = 0;                 // since it last told
  std::string state = "running";             // or "stopped", "gone", "failed"
  std::string error{};                       // what it failed with
  std::vector<Stack> stacks{};
};

enum class Reason { Stalled, Died, Failed };

struct Report {
  Reason reason = Reason::Stalled;
  double unix_time = 0;
  double limit_seconds = 0;
  int reporter = 0;  // the rank that wrote this
  std::vector<RankStatus> ranks{};
};

// The culprits' ranks, and one sentence each for people. Pure.
struct Verdict {
  std::vector<int> culprits;
  std::string summary;             // "rank 1 on host n0 (pid 12) has been in data, decoding ..., for 31 s"
  std::vector<std::string> waits;  // "ranks 0,2 wait for rank 1: gradients, step 7"
};
Verdict verdict_of(const Report& report);

// The summary, and a line for each place at which ranks wait.
std::string text_of(const Report& report);

nlohmann::ordered_json to_json(const RankStatus& status);
RankStatus rank_status_from(const nlohmann::json& json);
nlohmann::ordered_json to_json(const Report& report);
Report report_from(const nlohmann::json& json);  // Error or nlohmann's exceptions when it is not a report

// How long a rank has made no progress: what its main thread does, or, while that waits for data, what the loader does.
double seconds_since_progress(const std::vector<activity::Activity>& all);

}  // namespace pixelbert::watch

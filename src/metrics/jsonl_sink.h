// metrics.jsonl of a run folder: one JSON object per step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "metrics/sink.h"

namespace pixelbert::metrics {

std::string jsonl_line(const StepStats& stats);  // without its end

class JsonlSink final : public Sink {
 public:
  // Goes on behind the line of `resumed_step` (0: a new run): what an interrupted run wrote after its last checkpoint,
  // and a last line cut in the middle, are removed. `last_line` is that of `resumed_step`, as the checkpoint has it: it
  // is written where a run was killed between its checkpoint and its line. So the file has every step once.
  JsonlSink(std::filesystem::path path, std::int64_t resumed_step, const std::string& last_line = "");

  // Numbers that are not finite become null. Flushed to the system; Error when the disk is full.
  void record(const StepStats& stats) override;

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace pixelbert::metrics

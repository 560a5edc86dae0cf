// metrics.jsonl of a run folder: one JSON object per step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "metrics/sink.h"

namespace pixelbert::metrics {

std::string jsonl_line(const StepStats& stats);  // without its end

// The first line of `path` whose step ended with a checkpoint: it spent time on it. Empty when there is none.
std::string first_saved_line(const std::filesystem::path& path);

class JsonlSink final : public Sink {
 public:
  // Goes on behind the line of `resumed_step` (0: a new run). The file then has the lines of steps up to that one, in
  // their order and each once: later ones, which an interrupted run wrote after its last checkpoint, are removed.
  // `last_line` is that of `resumed_step`, as the checkpoint has it: it is written where a run was killed between its
  // checkpoint and its line.
  //
  // Lines that are no step's (a note, half a line, NULs after a power failure) and a second line of a step are kept in
  // `path`.odd, with a warning. What an attempt without a checkpoint left is `path`.old, when the run begins anew. At
  // any moment a kill loses nothing. Error when `path` is no file that can be read and written.
  JsonlSink(std::filesystem::path path, std::int64_t resumed_step, const std::string& last_line = "");

  // Numbers that are not finite become null. Flushed to the system; Error when the disk is full.
  void record(const StepStats& stats) override;

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace pixelbert::metrics

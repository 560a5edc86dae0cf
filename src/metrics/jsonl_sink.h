// metrics.jsonl of a run folder: one JSON object per step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "metrics/sink.h"

namespace pixelbert::metrics {

std::string jsonl_line(const StepStats& stats);  // without the line's end

// The first line of `path` in whose step a save ended. Empty when there is none.
std::string first_saved_line(const std::filesystem::path& path);

class JsonlSink final : public Sink {
 public:
  // Continues after the line of `resumed_step` (0: a new run). The file then has the lines of the steps up to that one,
  // in order and each once: removes later lines, which an interrupted run wrote after its last checkpoint. `last_line`
  // is the line of `resumed_step` in the checkpoint: it is written if a run was killed between its checkpoint and its
  // line.
  //
  // Moves lines of no step (a note, half a line, NULs after a power failure) and second lines of a step to `path`.odd,
  // with a warning. When a run starts again without a checkpoint, moves the metrics of the last attempt to `path`.old.
  // A kill at any moment loses nothing. Throws Error when `path` is not a file that can be read and written.
  JsonlSink(std::filesystem::path path, std::int64_t resumed_step, const std::string& last_line = "");

  // Writes numbers that are not finite as null, and flushes to the system. While the disk is full, keeps the lines,
  // after a warning, and writes them when there is room again, at the latest at the end.
  void record(const StepStats& stats) override;

  ~JsonlSink() override;  // warns of lines that are lost
  JsonlSink(const JsonlSink&) = delete;
  JsonlSink& operator=(const JsonlSink&) = delete;

 private:
  bool write_waiting();

  std::filesystem::path path_;
  std::ofstream out_;
  std::string waiting_;  // lines that are not on the disk
};

}  // namespace pixelbert::metrics

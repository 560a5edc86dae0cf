// Checkpoints on the disk: whole or absent, whenever a save is interrupted.
//
//   <folder>/step-000001000/   model.safetensors optimizer.safetensors trainer.json vocab.txt manifest.json
//   <folder>/latest            symbolic link to the last one saved, for users; nothing here depends on it
//   <folder>/.saving-*         being written, or left by a killed save; the next save removes it
//
// manifest.json holds the format's version and the size and CRC-32C of each file. Only one process at a time may save.
//
// Imported weights are one such folder, anywhere, without the optimizer's file: a run can start from them but not
// resume.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint.h"

namespace pixelbert::checkpoint {

// A save. The caller writes the tensors' files (train/background_save.h). After an Error (a full disk) nothing
// half-written is left, and the older checkpoints are untouched.
class UnfinishedSave {
 public:
  // Makes the folder aside; removes what killed saves have left.
  UnfinishedSave(std::filesystem::path folder, std::int64_t step);

  // Removes the folder aside, unless finish() has returned.
  ~UnfinishedSave();
  UnfinishedSave(const UnfinishedSave&) = delete;
  UnfinishedSave& operator=(const UnfinishedSave&) = delete;

  // Where the files are written.
  const std::filesystem::path& aside() const { return aside_; }

  // Writes the other files and gives the folder its final name, which it returns. The tensors' files must be on the
  // disk (flushed), and `files` has their digests. Removes all but the newest `keep` checkpoints up to this step (at
  // least this one stays); if one cannot be removed, logs a warning.
  std::filesystem::path finish(const Description& description, std::map<std::string, Digest> files, std::int64_t keep);

 private:
  std::filesystem::path folder_, aside_;
  std::int64_t step_;
};

// Returns the message of a save that has failed for this reason.
std::string save_error(std::int64_t step, const std::string& reason);

// Writes `folder` itself, which must be missing or empty, without the optimizer's file.
void save_weights(const std::filesystem::path& folder, const Weights& weights);

// describe(), load() and load_weights() read. `path` is a step folder, or a folder of them; from these they take the
// newest that is whole. A damaged one is skipped with a warning that names file and reason; if a running training
// removes one meanwhile, the newest is chosen again. They return nothing if there never was a checkpoint. They throw
// Error if the step folder or all of them are damaged (with file and reason: a size, a checksum, the content, a value
// that is not finite, no optimizer's state), if `latest` shows that there were some, and if the folder cannot be listed
// (steps_in): no run starts over silently.
//
// describe() reads no tensor: options, data and vocabulary are the same in every step of a run.
std::optional<Description> describe(const std::filesystem::path& path);
std::optional<Checkpoint> load(const std::filesystem::path& path);

// Also takes a run folder with checkpoints/, a folder of save_weights() or a file of write_checkpoint_file(). Does not
// read the optimizer's file. Throws Error if there is no checkpoint.
Weights load_weights(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint

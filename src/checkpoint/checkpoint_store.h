// Checkpoints on the disk: whole or absent, whatever happens in between.
//
//   <folder>/step-000001000/   model.safetensors optimizer.safetensors trainer.json vocab.txt manifest.json
//   <folder>/latest            symbolic link to the last one saved
//   <folder>/.saving-*         being written, or left by a killed save; the next save removes it
//
// manifest.json holds the format's version and the size and CRC-32C of each file. One process at a time saves.
//
// Weights that were imported are one such folder, anywhere, without the optimizer's file: they start a run, and no run
// resumes from them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint.h"

namespace pixelbert::checkpoint {

// Returns the new folder. Then removes all but the newest `keep` checkpoints up to this step (at least this one). On an
// Error (a full disk) nothing half-written stays and the older checkpoints are untouched.
std::filesystem::path save(const std::filesystem::path& folder, const Checkpoint& checkpoint, std::int64_t keep);

// Writes `folder` itself, which does not exist yet or is empty, without the optimizer's file.
void save_weights(const std::filesystem::path& folder, const Checkpoint& checkpoint);

// The newest checkpoint that is whole: sizes and checksums of all its files are read. A damaged one is passed over with
// a warning that names file and reason. Nothing when there is none; Error when there are some and all are damaged, so
// that no run starts over in silence.
std::optional<std::filesystem::path> newest_valid(const std::filesystem::path& folder);

// `path` is a step folder, a folder of them, or a run folder with checkpoints/; of several, the newest valid one. Error
// naming file and reason when a size, a checksum or the content is wrong, or the optimizer's state is not there.
Checkpoint load(const std::filesystem::path& path);

// Also from a folder of save_weights() or a file of write_checkpoint_file(); leaves `optimizer` empty and its file
// unread.
Checkpoint load_model(const std::filesystem::path& path);

// The folder or file that load_model() would take.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint

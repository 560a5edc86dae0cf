// Checkpoints on the disk: whole or absent, whatever happens in between.
//
//   <folder>/step-000001000/   model.safetensors optimizer.safetensors trainer.json vocab.txt manifest.json
//   <folder>/latest            symbolic link to the last one saved, for people: nothing here depends on it
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

// Returns the new folder. Then removes all but the newest `keep` checkpoints up to this step (at least this one); one
// that cannot be removed is left with a warning. On an Error (a full disk) nothing half-written stays and the older
// checkpoints are untouched.
std::filesystem::path save(const std::filesystem::path& folder, const Checkpoint& checkpoint, std::int64_t keep);

// Writes `folder` itself, which does not exist yet or is empty, without the optimizer's file.
void save_weights(const std::filesystem::path& folder, const Weights& weights);

// Three verbs to read. `path` is a step folder or a folder of them, of which it is the newest that is whole: a damaged
// one is passed over with a warning that names file and reason, and one that a running training removes meanwhile gives
// way to the newest then. Nothing when there never was one. Error when a step folder or all of them are damaged (file
// and reason: a size, a checksum, the content, a value that is not finite, no optimizer's state), when `latest` says
// that there were some, and when nobody can tell (steps_in): no run starts over in silence.
//
// describe() reads no tensor: every step of a run says the same of its options, data and vocabulary.
std::optional<Description> describe(const std::filesystem::path& path);
std::optional<Checkpoint> load(const std::filesystem::path& path);

// Also of a run folder with checkpoints/, a folder of save_weights() or a file of write_checkpoint_file(). The
// optimizer's file is unread. Error when there is none.
Weights load_weights(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint

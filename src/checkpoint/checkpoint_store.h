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
void save_weights(const std::filesystem::path& folder, const Checkpoint& checkpoint);

// All of the step folder `path`. Error naming file and reason when a size, a checksum or the content is wrong, a value
// is not finite, or the optimizer's state is not there.
Checkpoint load(const std::filesystem::path& path);

// The newest of `folder` that is whole. A damaged one is passed over with a warning that names file and reason; one
// that a running training removes meanwhile gives way to the newest then. Nothing when there never was one; Error when
// all are damaged, when `latest` says that there were some, and when nobody can tell (steps_in): no run starts over in
// silence.
std::optional<Checkpoint> load_newest(const std::filesystem::path& folder);

// What the newest of `folder` that can be read says about training, without a tensor: every step of a run says the same
// of its options, data and vocabulary. Otherwise as load_newest().
std::optional<Checkpoint> describe_newest(const std::filesystem::path& folder);

// The weights alone, `optimizer` empty and its file unread. `path` is a step folder, a folder of them, or a run folder
// with checkpoints/ (of several, the newest that is whole), a folder of save_weights() or a file of
// write_checkpoint_file().
Checkpoint load_model(const std::filesystem::path& path);

}  // namespace pixelbert::checkpoint

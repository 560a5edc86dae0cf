// Saves a checkpoint on one process in a single call. Training saves beside its steps, on all ranks
// (src/train/background_save.h), and makes the same bytes.
#pragma once

#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/faults.h"

namespace pixelbert::test {

// Returns the new folder. Throws Error as a save of the training does.
inline std::filesystem::path save(const std::filesystem::path& folder, const checkpoint::Checkpoint& run,
                                  std::int64_t keep) {
  try {
    checkpoint::UnfinishedSave unfinished(folder, run.step);
    std::map<std::string, checkpoint::Digest> files;
    const auto write = [&](const char* name, const checkpoint::NamedTensors& tensors) {
      files[name] = checkpoint::write_safetensors(unfinished.aside() / name, tensors, checkpoint::kTensorMetadata);
    };
    write(checkpoint::kModelName, run.model);
    faults::kill_if_wanted("kill-in-save", run.step, 0);
    write(checkpoint::kOptimizerName, run.optimizer);
    return unfinished.finish(run, std::move(files), keep);
  } catch (const std::exception& error) {
    fail(checkpoint::save_error(run.step, error.what()));
  }
}

}  // namespace pixelbert::test

// manifest.json of a checkpoint: what its folder, or its exported file, must hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace pixelbert::checkpoint {

inline constexpr const char* kCheckpointsName = "checkpoints";  // the folder of a run that has step-... folders
inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kModelName = "model.safetensors";
inline constexpr const char* kOptimizerName = "optimizer.safetensors";
inline constexpr const char* kTrainerName = "trainer.json";
inline constexpr const char* kVocabularyName = "vocab.txt";

constexpr std::int64_t kFormatVersion = 1;

// Of the tensors' files: Python reads them as PyTorch's.
inline const std::map<std::string, std::string> kTensorMetadata = {{"format", "pt"}};

// Limit on a manifest, a trainer.json or a vocabulary: a hundred times their usual size.
constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;

struct Manifest {
  std::int64_t step = 0;
  std::map<std::string, Digest> files;  // by name: the files above, perhaps without the optimizer's
};

// Print and parse manifest.json. parse_manifest() throws Error beginning with `where` that says what is wrong; it names
// the format if this build does not read it.
std::string format_manifest(const Manifest& manifest);
Manifest parse_manifest(const std::string& content, const std::string& where);

Manifest read_manifest(const std::filesystem::path& step_folder);
void write_manifest(const std::filesystem::path& step_folder, const Manifest& manifest);

// Reads the whole file. Throws Error if it is missing, or if its size or checksum differs from the manifest.
void check_file(const std::filesystem::path& step_folder, const std::string& name, const Manifest& manifest);

// "step-000001000"
std::string step_name(std::int64_t step);

// Returns the steps that have a folder, newest first; each folder was whole once. Returns none if `folder` does not
// exist. Throws Error if it cannot be listed, or if it is or lies behind a dangling link: the answer is unknown then.
std::vector<std::int64_t> steps_in(const std::filesystem::path& folder);

}  // namespace pixelbert::checkpoint

// manifest.json of a checkpoint: what its folder, or the one file that it was exported to, must hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace pixelbert::checkpoint {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kModelName = "model.safetensors";
inline constexpr const char* kOptimizerName = "optimizer.safetensors";
inline constexpr const char* kTrainerName = "trainer.json";
inline constexpr const char* kVocabularyName = "vocab.txt";

constexpr std::int64_t kFormatVersion = 1;

// The most that a manifest, a trainer.json or a vocabulary is read of: a hundred times what they have.
constexpr std::size_t kMaxTextBytes = std::size_t{16} << 20;

struct Manifest {
  std::int64_t step = 0;
  std::map<std::string, Digest> files;  // by name: those above, perhaps without the optimizer's
};

// The content of manifest.json, and back: Error beginning with `where` that says what is wrong, or names the format
// when it is not one this build reads.
std::string format_manifest(const Manifest& manifest);
Manifest parse_manifest(const std::string& content, const std::string& where);

Manifest read_manifest(const std::filesystem::path& step_folder);
void write_manifest(const std::filesystem::path& step_folder, const Manifest& manifest);

// Error when the file has another size or checksum than the manifest says, or is not there. Reads all of it.
void check_file(const std::filesystem::path& step_folder, const std::string& name, const Manifest& manifest);

// "step-000001000"
std::string step_name(std::int64_t step);

// The steps that have a folder, newest first; their folders were whole once. None where `folder` does not exist; Error
// when it cannot be listed, or is or lies behind a link that leads nowhere: then nobody knows.
std::vector<std::int64_t> steps_in(const std::filesystem::path& folder);

}  // namespace pixelbert::checkpoint

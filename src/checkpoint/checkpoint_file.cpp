#include "checkpoint/checkpoint_file.h"

#include "checkpoint/manifest.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;

void check_same(const fs::path& path, const std::string& name, const Digest& found, const Digest& expected) {
  PB_CHECK(found == expected, "{}: {} has {} bytes with checksum {:08x}, expected {} with {:08x}", path.string(), name,
           found.bytes, found.crc32c, expected.bytes, expected.crc32c);
}

}  // namespace

void write_checkpoint_file(const fs::path& path, const Weights& weights) {
  const std::string trainer = json_text(to_json(weights));
  const Manifest manifest{.step = weights.step,
                          .files = {{kModelName, digest_of(weights.model)},
                                    {kTrainerName, digest_of(trainer)},
                                    {kVocabularyName, digest_of(weights.vocabulary)}}};
  try {
    write_aside(path, [&](const fs::path& aside) {
      write_safetensors(aside, weights.model,
                        {{"format", "pt"},
                         {kManifestName, format_manifest(manifest)},
                         {kTrainerName, trainer},
                         {kVocabularyName, weights.vocabulary}});
    });
  } catch (const std::exception& error) {
    fail(fmt::format("cannot export to {}: {}", path.string(), error.what()));
  }
}

Weights read_checkpoint_file(const fs::path& path) {
  std::map<std::string, std::string> metadata = read_safetensors_metadata(path);
  for (const char* name : {kManifestName, kTrainerName, kVocabularyName}) {
    PB_CHECK(metadata.contains(name),
             "{} holds only weights, not a checkpoint: its metadata has no {}. Expected a file of 'pixelbert export'; "
             "'pixelbert import' makes a checkpoint of published weights",
             path.string(), name);
  }
  const Manifest manifest = parse_manifest(metadata[kManifestName], path.string() + ": " + kManifestName);
  check_same(path, kTrainerName, digest_of(metadata[kTrainerName]), manifest.files.at(kTrainerName));
  check_same(path, kVocabularyName, digest_of(metadata[kVocabularyName]), manifest.files.at(kVocabularyName));

  Weights weights;
  static_cast<Description&>(weights) = parse_description(metadata[kTrainerName], metadata[kVocabularyName],
                                                         manifest.step, path.string() + ": " + kTrainerName);
  weights.model = read_safetensors(path);
  check_same(path, kModelName, digest_of(weights.model), manifest.files.at(kModelName));
  check_finite(weights.model, path.string());
  return weights;
}

}  // namespace pixelbert::checkpoint

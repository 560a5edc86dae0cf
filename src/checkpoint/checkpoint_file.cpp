#include "checkpoint/checkpoint_file.h"

#include <span>

#include "checkpoint/manifest.h"
#include "checkpoint/trainer_state.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"

namespace pixelbert::checkpoint {
namespace {

namespace fs = std::filesystem;

Digest digest_of(const std::string& text) {
  return {static_cast<std::int64_t>(text.size()), crc32c(std::as_bytes(std::span(text)))};
}

// Of the tensors' bytes in the order of their names.
Digest digest_of(const NamedTensors& tensors) {
  Digest digest;
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor host = tensor.detach().cpu().contiguous();
    digest.bytes += static_cast<std::int64_t>(host.nbytes());
    digest.crc32c = crc32c({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}, digest.crc32c);
  }
  return digest;
}

void check_same(const fs::path& path, const std::string& name, const Digest& found, const Digest& expected) {
  PB_CHECK(found == expected, "{}: {} has {} bytes with checksum {:08x}, expected {} with {:08x}", path.string(), name,
           found.bytes, found.crc32c, expected.bytes, expected.crc32c);
}

}  // namespace

void write_checkpoint_file(const fs::path& path, const Checkpoint& checkpoint) {
  const std::string trainer = json_text(checkpoint.trainer);
  const Manifest manifest{.step = checkpoint.step,
                          .files = {{kModelName, digest_of(checkpoint.model)},
                                    {kTrainerName, digest_of(trainer)},
                                    {kVocabularyName, digest_of(checkpoint.vocabulary)}}};
  const fs::path aside = temporary_beside(path);
  try {
    write_safetensors(aside, checkpoint.model,
                      {{"format", "pt"},
                       {kManifestName, format_manifest(manifest)},
                       {kTrainerName, trainer},
                       {kVocabularyName, checkpoint.vocabulary}});
    rename_durably(aside, path);
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove(aside, ignored);
    fail(fmt::format("cannot export to {}: {}", path.string(), error.what()));
  }
}

Checkpoint read_checkpoint_file(const fs::path& path) {
  std::map<std::string, std::string> metadata = read_safetensors_metadata(path);
  for (const char* name : {kManifestName, kTrainerName, kVocabularyName}) {
    PB_CHECK(metadata.contains(name),
             "{} holds weights alone, no checkpoint: its metadata has no {}. Expected a file of 'pixelbert export'; "
             "'pixelbert import' makes a checkpoint of published weights",
             path.string(), name);
  }
  const Manifest manifest = parse_manifest(metadata[kManifestName], path.string() + ": " + kManifestName);
  check_same(path, kTrainerName, digest_of(metadata[kTrainerName]), manifest.files.at(kTrainerName));
  check_same(path, kVocabularyName, digest_of(metadata[kVocabularyName]), manifest.files.at(kVocabularyName));

  Checkpoint checkpoint{
      .step = manifest.step,
      .model = read_safetensors(path),
      .optimizer = {},
      .trainer = parse_trainer_state(metadata[kTrainerName], manifest.step, path.string() + ": " + kTrainerName),
      .vocabulary = metadata[kVocabularyName]};
  check_same(path, kModelName, digest_of(checkpoint.model), manifest.files.at(kModelName));
  check_finite(checkpoint.model, path.string());
  return checkpoint;
}

}  // namespace pixelbert::checkpoint

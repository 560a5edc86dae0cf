#include "checkpoint/manifest.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"

namespace pixelbert::checkpoint {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kFormat = "pixelbert-checkpoint";
constexpr std::string_view kStepPrefix = "step-";

}  // namespace

std::string format_manifest(const Manifest& manifest) {
  json files = json::object();
  for (const auto& [name, digest] : manifest.files) {
    files[name] = {{"bytes", digest.bytes}, {"crc32c", digest.crc32c}};
  }
  const json root = {{"format", kFormat}, {"version", kFormatVersion}, {"step", manifest.step}, {"files", files}};
  return root.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& content, const std::string& where) {
  try {
    const json root = json::parse(content);
    PB_CHECK(root.is_object() && root.value("format", "") == kFormat,
             "{} is no manifest of a checkpoint: expected \"format\": \"{}\"", where, kFormat);
    const std::int64_t version = root.at("version");
    PB_CHECK(version == kFormatVersion,
             "{} is format {}, this build reads {}: use the version of pixelbert that wrote it", where, version,
             kFormatVersion);
    Manifest manifest;
    root.at("step").get_to(manifest.step);
    for (const auto& [name, file] : root.at("files").items()) {
      manifest.files[name] = {.bytes = file.at("bytes"), .crc32c = file.at("crc32c")};
    }
    for (const char* name : {kModelName, kTrainerName, kVocabularyName}) {
      PB_CHECK(manifest.files.contains(name), "{} does not list {}", where, name);
    }
    return manifest;
  } catch (const json::exception& error) {
    fail(fmt::format("{} is damaged: {}", where, error.what()));
  }
}

Manifest read_manifest(const std::filesystem::path& step_folder) {
  const std::filesystem::path path = step_folder / kManifestName;
  return parse_manifest(read_file(path), path.string());
}

void write_manifest(const std::filesystem::path& step_folder, const Manifest& manifest) {
  write_file(step_folder / kManifestName, format_manifest(manifest));
}

void check_file(const std::filesystem::path& step_folder, const std::string& name, const Manifest& manifest) {
  const std::filesystem::path path = step_folder / name;
  const Digest& expected = manifest.files.at(name);
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path, error));
  PB_CHECK(!error, "cannot read {}: {}", path.string(), error.message());
  PB_CHECK(bytes == expected.bytes, "{} is {} bytes long, expected {}", path.string(), bytes, expected.bytes);
  const std::uint32_t crc = crc32c_of_file(path);
  PB_CHECK(crc == expected.crc32c, "{} has checksum {:08x}, expected {:08x}", path.string(), crc, expected.crc32c);
}

std::string step_name(std::int64_t step) {
  return fmt::format("{}{:09}", kStepPrefix, step);
}

std::vector<std::int64_t> steps_in(const std::filesystem::path& folder) {
  std::vector<std::int64_t> steps;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStepPrefix)) continue;
    std::int64_t step = 0;
    std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), step);
    if (step >= 0 && name == step_name(step)) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

}  // namespace pixelbert::checkpoint

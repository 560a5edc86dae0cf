#include "checkpoint/manifest.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"

namespace pixelbert::checkpoint {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFormat = "pixelbert-checkpoint";
constexpr std::string_view kStepPrefix = "step-";
constexpr std::array<std::string_view, 4> kFileNames = {kModelName, kOptimizerName, kTrainerName, kVocabularyName};

// A link to a disk that is not mounted must not be taken for an empty folder.
void check_no_dangling_link(const std::filesystem::path& folder) {
  std::error_code none;
  for (std::filesystem::path at = std::filesystem::absolute(folder); at.has_relative_path(); at = at.parent_path()) {
    PB_CHECK(!std::filesystem::is_symlink(at, none) || std::filesystem::exists(at, none),
             "cannot list {}: {} is a link to {}, which is not there. Is a disk not mounted?", folder.string(),
             at.string(), std::filesystem::read_symlink(at, none).string());
    if (std::filesystem::exists(at, none)) return;
  }
}

}  // namespace

std::string format_manifest(const Manifest& manifest) {
  ordered_json files = ordered_json::object();
  for (const auto& [name, digest] : manifest.files) {
    files[name] = {{"bytes", digest.bytes}, {"crc32c", digest.crc32c}};
  }
  const ordered_json root = {
      {"format", kFormat}, {"version", kFormatVersion}, {"step", manifest.step}, {"files", files}};
  return root.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& content, const std::string& where) {
  const ordered_json root = parse_json<ordered_json>(content, where);
  PB_CHECK(root.is_object() && root.contains("format") && root["format"] == kFormat,
           "{} is not the manifest of a checkpoint: expected \"format\": \"{}\"", where, kFormat);
  const std::int64_t version = json_integer(root, "version", where);
  PB_CHECK(version == kFormatVersion,
           "{} is format {}, this build reads {}: use the version of pixelbert that wrote it", where, version,
           kFormatVersion);
  Manifest manifest{.step = json_integer(root, "step", where), .files = {}};
  const ordered_json& files = json_member(root, "files", where);
  PB_CHECK(files.is_object(), "{}: 'files' is not an object", where);
  for (const auto& [name, file] : files.items()) {
    PB_CHECK(std::ranges::find(kFileNames, name) != kFileNames.end(), "{} lists '{:.100}', expected only {}", where,
             name, fmt::join(kFileNames, ", "));
    const std::string place = fmt::format("{}: {}", where, name);
    manifest.files[name] = {.bytes = json_integer(file, "bytes", place),
                            .crc32c = static_cast<std::uint32_t>(
                                json_integer(file, "crc32c", place, 0, std::numeric_limits<std::uint32_t>::max()))};
  }
  for (const char* name : {kModelName, kTrainerName, kVocabularyName}) {
    PB_CHECK(manifest.files.contains(name), "{} does not list {}", where, name);
  }
  return manifest;
}

Manifest read_manifest(const std::filesystem::path& step_folder) {
  const std::filesystem::path path = step_folder / kManifestName;
  return parse_manifest(read_file(path, kMaxTextBytes), path.string());
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
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  if (error == std::errc::no_such_file_or_directory) {
    check_no_dangling_link(folder);
    return steps;
  }
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kStepPrefix)) continue;
    std::int64_t step = 0;
    std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), step);
    if (step >= 0 && name == step_name(step)) steps.push_back(step);
  }
  PB_CHECK(!error, "cannot list {}: {}. It is unknown whether there are checkpoints", folder.string(), error.message());
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

}  // namespace pixelbert::checkpoint

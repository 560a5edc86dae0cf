#include "shards/manifest.h"

#include <array>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"

namespace pixelbert::shards {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kFormat = "pixelbert-shards";

ShardFile shard_file(const json& entry) {
  ShardFile file;
  entry.at("name").get_to(file.name);
  entry.at("bytes").get_to(file.bytes);
  entry.at("crc32c").get_to(file.crc32c);
  entry.at("images").get_to(file.images);
  entry.at("texts").get_to(file.texts);
  entry.at("block_texts").get_to(file.block_texts);
  std::int64_t texts = 0;
  for (const std::int64_t count : file.block_texts) texts += count;
  const auto blocks = static_cast<std::int64_t>(file.block_texts.size());
  PB_CHECK(texts == file.texts && blocks == (file.images + kImagesPerBlock - 1) / kImagesPerBlock,
           "{} has {} images and {} texts, but its block_texts are {} blocks of {} texts in all", file.name,
           file.images, file.texts, blocks, texts);
  return file;
}

json to_json(const ShardFile& file) {
  return {{"name", file.name},     {"bytes", file.bytes}, {"crc32c", file.crc32c},
          {"images", file.images}, {"texts", file.texts}, {"block_texts", file.block_texts}};
}

}  // namespace

std::int64_t Manifest::images() const {
  std::int64_t sum = 0;
  for (const ShardFile& file : files) sum += file.images;
  return sum;
}

std::int64_t Manifest::texts() const {
  std::int64_t sum = 0;
  for (const ShardFile& file : files) sum += file.texts;
  return sum;
}

std::uint32_t Manifest::identity() const {
  std::uint32_t crc = 0;
  for (const ShardFile& file : files) {
    std::array<std::byte, 4> bytes;  // little-endian, whatever the machine
    for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::byte>(file.crc32c >> (8 * i));
    crc = crc32c(bytes, crc);
  }
  return crc;
}

Manifest read_manifest(const std::filesystem::path& folder) {
  PB_CHECK(std::filesystem::is_directory(folder), "no shard folder {}: make one with 'pixelbert shard'",
           folder.string());
  PB_CHECK(std::filesystem::exists(folder / kManifestName),
           "{} has no {}: it is no shard folder, or its making was interrupted; run 'pixelbert shard' again",
           folder.string(), kManifestName);
  return read_manifest_file(folder / kManifestName);
}

Manifest read_manifest_file(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  try {
    const json root = json::parse(content);
    PB_CHECK(root.is_object() && root.value("format", "") == kFormat,
             "{} is no manifest of shards: expected \"format\": \"{}\"", path.string(), kFormat);
    Manifest manifest;
    root.at("version").get_to(manifest.version);
    PB_CHECK(manifest.version == kFormatVersion, "{} is format {}, this build reads {}: make the shards again",
             path.string(), manifest.version, kFormatVersion);
    root.at("source").get_to(manifest.source);
    root.at("task").get_to(manifest.task);
    root.at("options").get_to(manifest.options);
    root.at("skipped").get_to(manifest.skipped);
    root.at("repaired").get_to(manifest.repaired);
    for (const json& entry : root.at("files")) manifest.files.push_back(shard_file(entry));
    return manifest;
  } catch (const json::exception& error) {
    fail(fmt::format("{} is damaged: {}; make the shards again", path.string(), error.what()));
  }
}

void write_manifest_file(const std::filesystem::path& path, const Manifest& manifest) {
  json files = json::array();
  for (const ShardFile& file : manifest.files) files.push_back(to_json(file));
  const json root = {{"format", kFormat},
                     {"version", manifest.version},
                     {"source", manifest.source},
                     {"task", manifest.task},
                     {"options", manifest.options},
                     {"images", manifest.images()},
                     {"texts", manifest.texts()},
                     {"skipped", manifest.skipped},
                     {"repaired", manifest.repaired},
                     {"files", files}};
  write_file(path, root.dump(1) + "\n");
}

}  // namespace pixelbert::shards

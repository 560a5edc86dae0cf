#include "shards/shard_manifest.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/text_lines.h"

namespace pixelbert::shards {
namespace {

using json = nlohmann::ordered_json;

constexpr const char* kFormat = "pixelbert-shards";

// No folder has more, and sums of them do not overflow.
constexpr std::int64_t kMostRows = std::int64_t{1} << 40;
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;
constexpr std::int64_t kMostChecksum = std::numeric_limits<std::uint32_t>::max();

// A manifest takes some 10 bytes for 128 images, and 20 times its size in memory while it is read.
constexpr std::uintmax_t kMostManifestBytes = 50 << 20;

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

// `field` is the value's place: "files[3].images". Whole numbers may be written as 6.0.
std::int64_t whole_number(const json& value, const std::string& field, std::int64_t most) {
  std::optional<std::int64_t> number;
  if (value.is_number_unsigned()) {
    if (value.get<std::uint64_t>() <= static_cast<std::uint64_t>(most)) number = value.get<std::int64_t>();
  } else if (value.is_number_integer()) {
    number = value.get<std::int64_t>();
  } else if (value.is_number_float()) {
    const double real = value.get<double>();
    if (std::trunc(real) == real && std::abs(real) < 0x1p53) number = static_cast<std::int64_t>(real);
  }
  PB_CHECK(number && *number >= 0 && *number <= most, "{} is {}, expected a whole number from 0 to {}", field,
           shown(value), most);
  return *number;
}

std::string text(const json& value, const std::string& field) {
  PB_CHECK(value.is_string(), "{} is {}, expected a string", field, shown(value));
  return value.get<std::string>();
}

// An object of the manifest and its place: "files[3]", empty for the root.
class Object {
 public:
  Object(const json& value, std::string place) : value_(value), place_(std::move(place)) {
    PB_CHECK(value_.is_object(), "{} is {}, expected an object", place_, shown(value_));
  }

  const json& at(const char* key) const {
    const auto found = value_.find(key);
    PB_CHECK(found != value_.end(), "{} is missing", field(key));
    return *found;
  }
  const json& array(const char* key) const {
    const json& value = at(key);
    PB_CHECK(value.is_array(), "{} is {}, expected a list", field(key), shown(value));
    return value;
  }
  std::string field(const std::string& key) const { return place_.empty() ? key : place_ + "." + key; }
  std::int64_t number(const char* key, std::int64_t most) const { return whole_number(at(key), field(key), most); }
  std::uint32_t checksum(const char* key) const { return static_cast<std::uint32_t>(number(key, kMostChecksum)); }
  std::string string(const char* key) const { return text(at(key), field(key)); }

  // Returns the members of the object under `key`, each as read(value, field); none when an `optional` one is absent.
  template <class Value, class Read>
  std::map<std::string, Value> members(const char* key, Read read, bool optional = false) const {
    std::map<std::string, Value> result;
    if (optional && !value_.contains(key)) return result;
    const Object object(at(key), field(key));
    for (const auto& [name, value] : object.value_.items()) result[name] = read(value, object.field(name));
    return result;
  }

 private:
  const json& value_;
  std::string place_;
};

std::int64_t count(const json& value, const std::string& field) {
  return whole_number(value, field, kMostRows);
}

std::uint32_t checksum(const json& value, const std::string& field) {
  return static_cast<std::uint32_t>(whole_number(value, field, kMostChecksum));
}

// The name of a file directly in the folder.
void check_name(const std::string& name, const std::string& field) {
  const bool plain = std::ranges::none_of(name, [](unsigned char c) { return c < ' ' || c == '/' || c == 0x7f; });
  PB_CHECK(plain && !name.empty() && name != "." && name != "..", "{} is {}, expected the name of a file in the folder",
           field, shown(name));
}

OtherFile other_file(const json& entry, const std::string& field) {
  const Object object(entry, field);
  return {object.number("bytes", kMostBytes), object.checksum("crc32c")};
}

ShardFile shard_file(const json& entry, const std::string& place) {
  const Object object(entry, place);
  ShardFile file;
  file.name = object.string("name");
  check_name(file.name, object.field("name"));
  file.bytes = object.number("bytes", kMostBytes);
  file.crc32c = object.checksum("crc32c");
  file.images = object.number("images", kMostRows);
  file.texts = object.number("texts", kMostRows);
  const json& blocks = object.array("block_texts");
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    file.block_texts.push_back(count(blocks[i], fmt::format("{}[{}]", object.field("block_texts"), i)));
  }
  file.columns = object.members<std::uint32_t>("columns", checksum, /*optional=*/true);
  const std::int64_t texts = std::accumulate(file.block_texts.begin(), file.block_texts.end(), std::int64_t{0});
  PB_CHECK(texts == file.texts && std::ssize(file.block_texts) == (file.images + kImagesPerBlock - 1) / kImagesPerBlock,
           "{}: {} has {} images and {} texts, but its block_texts are {} blocks of {} texts in all", place, file.name,
           file.images, file.texts, file.block_texts.size(), texts);
  return file;
}

Manifest manifest_of(const json& value) {
  const Object root(value, "");
  Manifest manifest;
  manifest.source = root.string("source");
  manifest.task = root.string("task");
  constexpr std::array kTasks = {"pairs", "vqa", "nlvr2"};
  PB_CHECK(std::ranges::find(kTasks, manifest.task) != kTasks.end(), "task is {}, expected one of {}",
           shown(manifest.task), fmt::join(kTasks, ", "));
  manifest.options = root.members<std::string>("options", text);
  manifest.skipped = root.members<std::int64_t>("skipped", count);
  manifest.repaired = root.members<std::int64_t>("repaired", count);
  std::set<std::string> names;
  const json& files = root.array("files");
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string place = fmt::format("files[{}]", i);
    const ShardFile& file = manifest.files.emplace_back(shard_file(files[i], place));
    PB_CHECK(names.insert(file.name).second, "{}.name is {}, which is the name of an earlier file", place,
             shown(file.name));
  }
  manifest.other_files = root.members<OtherFile>("other_files", other_file, /*optional=*/true);
  for (const auto& [name, file] : manifest.other_files) check_name(name, "a key of other_files");
  const std::int64_t images = root.number("images", kMostRows), texts = root.number("texts", kMostRows);
  PB_CHECK(images == manifest.images() && texts == manifest.texts(),
           "images and texts are {} and {}, but those of its files are {} and {} in all", images, texts,
           manifest.images(), manifest.texts());
  return manifest;
}

// `why` already contains the place in this program.
[[noreturn]] void damaged(const std::filesystem::path& path, const char* why) {
  throw Error(fmt::format("{} is damaged (copy it again, or make the shards again): {}", path.string(), why));
}

json read_json(const std::filesystem::path& path) {
  try {
    return parse_json<json>(read_file(path, kMostManifestBytes), path.string());
  } catch (const Error& error) {
    throw Error(fmt::format("{}: copy it again, or make the shards again", error.what()));
  }
}

json to_json(const ShardFile& file) {
  json entry = {{"name", file.name},     {"bytes", file.bytes}, {"crc32c", file.crc32c},
                {"images", file.images}, {"texts", file.texts}, {"block_texts", file.block_texts}};
  if (!file.columns.empty()) entry["columns"] = file.columns;
  return entry;
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
           "{} has no {}: it is not a shard folder, or making it was interrupted; run 'pixelbert shard' again",
           folder.string(), kManifestName);
  return read_manifest_file(folder / kManifestName);
}

Manifest read_manifest_file(const std::filesystem::path& path) {
  const json root = read_json(path);
  PB_CHECK(root.is_object() && root.contains("format") && root["format"] == kFormat,
           "{} is not a manifest of shards: expected \"format\": \"{}\"", path.string(), kFormat);
  PB_CHECK(root.contains("version") && root["version"] == kFormatVersion,
           "{} is format {}, this build reads {}: make the shards again", path.string(),
           root.contains("version") ? shown(root["version"]) : "unknown", kFormatVersion);
  try {
    return manifest_of(root);
  } catch (const Error& error) {
    damaged(path, error.what());
  }
}

void write_manifest_file(const std::filesystem::path& path, const Manifest& manifest) {
  json files = json::array();
  for (const ShardFile& file : manifest.files) files.push_back(to_json(file));
  json root = {{"format", kFormat},         {"version", kFormatVersion},   {"source", manifest.source},
               {"task", manifest.task},     {"options", manifest.options}, {"images", manifest.images()},
               {"texts", manifest.texts()}, {"skipped", manifest.skipped}, {"repaired", manifest.repaired}};
  for (const auto& [name, file] : manifest.other_files) {
    root["other_files"][name] = {{"bytes", file.bytes}, {"crc32c", file.crc32c}};
  }
  root["files"] = std::move(files);
  write_file(path, json_text(root, 1) + "\n");
}

std::vector<std::string> answer_types(const Manifest& manifest) {
  std::vector<std::string> types;
  if (const auto found = manifest.options.find("answer-types"); found != manifest.options.end()) {
    std::istringstream in(found->second);
    for (std::string type; std::getline(in, type, ',');) types.push_back(type);
  }
  return types;
}

Limits limits_of(const std::filesystem::path& folder, const Manifest& manifest) {
  Limits limits;
  if (manifest.task == "nlvr2") limits.answers = 2;
  if (manifest.task != "vqa") return limits;
  if (const auto types = answer_types(manifest); !types.empty()) limits.groups = std::ssize(types);
  if (const std::filesystem::path answers = folder / kAnswersName; std::filesystem::exists(answers)) {
    limits.answers = std::ssize(lines_of(read_file(answers)));
  }
  return limits;
}

void check_other_file(const std::filesystem::path& folder, const Manifest& manifest, const std::string& name) {
  const auto expected = manifest.other_files.find(name);
  if (expected == manifest.other_files.end()) return;
  const std::filesystem::path path = folder / name;
  const std::uint32_t crc = crc32c_of_file(path);
  PB_CHECK(crc == expected->second.crc32c, "{}: expected checksum {:08x}, found {:08x}: copy the file again",
           path.string(), expected->second.crc32c, crc);
}

}  // namespace pixelbert::shards

// manifest.json of a shard folder: its content without opening an .h5 file. data_shards/README.md specifies the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace pixelbert::shards {

constexpr int kFormatVersion = 1;
constexpr std::int64_t kImagesPerBlock = 128;  // the unit of shuffling: neighbours, read together

struct ShardFile {
  std::string name;  // "shard-00000.h5", relative to the folder
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;
  std::int64_t images = 0;
  std::int64_t texts = 0;
  std::vector<std::int64_t> block_texts;  // texts of each run of kImagesPerBlock images; the last may be shorter
  std::map<std::string, std::uint32_t> columns = {};  // "images/offset" -> CRC-32C; empty in old manifests
};

// Another file of the folder: answers.txt, vocab.txt.
struct OtherFile {
  std::int64_t bytes = 0;
  std::uint32_t crc32c = 0;
};

struct Manifest {
  std::string source;  // "scenes", "coco", "karpathy", "visual-genome", "vqa", "nlvr2"
  std::string task = "pairs";
  std::map<std::string, std::string> options;    // how it was made: splits, seed, vg.exclude, ...
  std::map<std::string, std::int64_t> skipped;   // reason -> images or texts of the source that were left out
  std::map<std::string, std::int64_t> repaired;  // reason -> inputs that were altered
  std::vector<ShardFile> files;
  std::map<std::string, OtherFile> other_files;  // name -> what it must hold

  std::int64_t images() const;
  std::int64_t texts() const;
  std::uint32_t identity() const;  // a checksum over the files' checksums: the same data gives the same number
};

constexpr const char* kManifestName = "manifest.json";
constexpr const char* kAnswersName = "answers.txt";  // vqa: the answer vocabulary, one a line

// Reads the manifest of a folder. Throws Error with the path when the folder or its manifest is missing, when the
// manifest is not JSON or of another version, or, naming the field, when a field cannot be true.
Manifest read_manifest(const std::filesystem::path& folder);

// The same for a file of any name.
Manifest read_manifest_file(const std::filesystem::path& path);
void write_manifest_file(const std::filesystem::path& path, const Manifest& manifest);

// What the task allows in the columns of the files.
struct Limits {
  std::int64_t groups = std::numeric_limits<std::int64_t>::max();   // texts/group is less
  std::int64_t answers = std::numeric_limits<std::int64_t>::max();  // answers/index is less
};

// For VQA they come from the option "answer-types" and the lines of answers.txt.
Limits limits_of(const std::filesystem::path& folder, const Manifest& manifest);

// Returns the parts of the option "answer-types".
std::vector<std::string> answer_types(const Manifest& manifest);

// Throws Error when a file beside the shards is not what the manifest says. Accepts a file that it does not name.
void check_other_file(const std::filesystem::path& folder, const Manifest& manifest, const std::string& name);

}  // namespace pixelbert::shards

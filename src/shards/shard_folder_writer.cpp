#include "shards/shard_folder_writer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "shards/shard_file.h"

namespace pixelbert::shards {
namespace {

namespace fs = std::filesystem;

// The names of all files of a part start with this: "shard-" alone, or "shard-2of8-".
std::string file_prefix(const Part& part) {
  return part.count == 1 ? "shard-" : fmt::format("shard-{}of{}-", part.number, part.count);
}

std::string manifest_name(const Part& part) {
  return part.count == 1 ? kManifestName : fmt::format("manifest.part-{}-of-{}.json", part.number, part.count);
}

std::string lock_name(const Part& part) {
  return file_prefix(part) + "lock";
}

fs::path made(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  PB_CHECK(!error, "cannot make the folder {}: {}", folder.string(), error.message());
  return folder;
}

// The parts of one set are filled side by side; no other process may write to the folder.
void check_nobody_else_fills(const fs::path& folder, const Part& part) {
  std::vector<fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool lock = name.starts_with("shard-") && name.ends_with("lock") && name != lock_name(part);
    const bool same_set = part.count > 1 && name.ends_with(fmt::format("of{}-lock", part.count));
    if (lock && !same_set) others.push_back(entry.path());
  }
  for (const fs::path& other : others) const FolderLock lock(other);  // also removes what a crash has left
}

void clear_leftovers(const fs::path& folder, const Part& part) {
  fs::remove(folder / manifest_name(part));
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.ends_with(".h5") || name.ends_with(".h5.tmp");
    if (ours && name.starts_with(file_prefix(part))) leftovers.push_back(entry.path());
    const bool other_set =
        name.starts_with("manifest.part-") && !name.ends_with(fmt::format("-of-{}.json", part.count));
    PB_CHECK(!other_set,
             "{} holds {}, but this run makes part {} of {}: remove the folder, or use the same number of parts",
             folder.string(), name, part.number, part.count);
  }
  if (leftovers.empty()) return;
  log::info("removing {} files of an interrupted run from {}", leftovers.size(), folder.string());
  for (const fs::path& path : leftovers) fs::remove(path);
}

constexpr const char* kRecords = "records-of-all-parts";  // an option that only manifests of parts have

// Returns nothing while a part is missing.
std::optional<Manifest> join_parts(const fs::path& folder, int count) {
  std::optional<Manifest> whole;
  for (int number = 1; number <= count; ++number) {
    const fs::path path = folder / manifest_name({number, count});
    if (!fs::exists(path)) return std::nullopt;
    Manifest part = read_manifest_file(path);
    if (!whole) {
      whole = std::move(part);
      continue;
    }
    PB_CHECK(
        part.source == whole->source && part.task == whole->task && part.options == whole->options,
        "part {} of {} in {} was made with other options or from other data than part 1, or by another version: make "
        "both again",
        number, count, folder.string());
    for (const auto& [reason, number_skipped] : part.skipped) whole->skipped[reason] += number_skipped;
    for (const auto& [reason, number_repaired] : part.repaired) whole->repaired[reason] += number_repaired;
    whole->other_files.merge(part.other_files);
    std::move(part.files.begin(), part.files.end(), std::back_inserter(whole->files));
  }
  PB_CHECK(whole->images() > 0, "none of the images could be used");
  whole->options.erase(kRecords);
  return whole;
}

}  // namespace

void check_not_finished(const fs::path& folder) {
  PB_CHECK(!fs::exists(folder / kManifestName),
           "{} is a finished shard folder already: remove it, or give another --out", folder.string());
}

ShardFolderWriter::ShardFolderWriter(WriterOptions options, Manifest header)
    : options_(std::move(options)),
      lock_(made(options_.folder) / lock_name(options_.part)),
      manifest_(std::move(header)) {
  const Part& part = options_.part;
  check_nobody_else_fills(options_.folder, part);
  PB_CHECK(part.count >= 1 && part.number >= 1 && part.number <= part.count, "there is no part {} of {}", part.number,
           part.count);
  PB_CHECK(options_.shard_mib >= 1, "expected shards of at least 1 MiB, found {}", options_.shard_mib);
  check_not_finished(options_.folder);
  clear_leftovers(options_.folder, part);
  manifest_.files.clear();
  if (part.count > 1) manifest_.options[kRecords] = fmt::to_string(options_.records);
}

void ShardFolderWriter::append(Record record) {
  PB_CHECK(record.images.size() == 1 || record.images.size() == 2, "a record has 1 or 2 images, found {}",
           record.images.size());
  for (const StoredImage& image : record.images) pending_bytes_ += static_cast<std::int64_t>(image.encoded.size());
  pending_.push_back(std::move(record));
  if (pending_bytes_ >= options_.shard_mib << 20) write_file_of_pending();
}

void ShardFolderWriter::write_other_file(const std::string& name, std::string_view content) {
  write_file(options_.folder / name, content);
  manifest_.other_files[name] = {static_cast<std::int64_t>(content.size()), crc32c(std::as_bytes(std::span(content)))};
}

void ShardFolderWriter::write_file_of_pending() {
  const std::string name = fmt::format("{}{:05}.h5", file_prefix(options_.part), manifest_.files.size());
  manifest_.files.push_back(write_shard_file(options_.folder / name, pending_));
  const ShardFile& file = manifest_.files.back();
  log::info("{}: {} images, {} texts, {} MiB", name, file.images, file.texts, file.bytes >> 20);
  pending_.clear();
  pending_bytes_ = 0;
}

std::optional<Manifest> ShardFolderWriter::finish() {
  if (!pending_.empty()) write_file_of_pending();
  write_manifest_file(options_.folder / manifest_name(options_.part), manifest_);
  if (options_.part.count == 1) return manifest_;

  std::optional<Manifest> whole = join_parts(options_.folder, options_.part.count);
  if (whole) {
    // Two parts that end at the same time may both get here: each first writes the same content under a name of its
    // own.
    const fs::path joined = options_.folder / fmt::format("manifest.joined-by-{}.json", options_.part.number);
    write_manifest_file(joined, *whole);
    rename_durably(joined, options_.folder / kManifestName);
  }
  return whole;
}

}  // namespace pixelbert::shards

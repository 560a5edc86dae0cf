#include "shards/verify_shards.h"

#include "core/check.h"
#include "core/files.h"
#include "shards/shard_reader.h"
#include "shards/shard_set.h"

namespace pixelbert::shards {
namespace {

std::string summary_of(const std::filesystem::path& folder, const Manifest& manifest) {
  std::int64_t bytes = 0;
  for (const ShardFile& file : manifest.files) bytes += file.bytes;
  std::string text = fmt::format(
      "shard folder  {}\nsource        {}, task {}, format {}\ncontent       {} images, {} texts, {} files, {:.1f} "
      "MiB\n"
      "identity      {:08x}\n",
      folder.string(), manifest.source, manifest.task, kFormatVersion, manifest.images(), manifest.texts(),
      manifest.files.size(), static_cast<double>(bytes) / (1 << 20), manifest.identity());
  for (const auto& [name, value] : manifest.options) text += fmt::format("option        {} = {}\n", name, value);
  for (const auto& [reason, count] : manifest.skipped) text += fmt::format("left out      {} {}\n", count, reason);
  for (const auto& [reason, count] : manifest.repaired) text += fmt::format("repaired      {} {}\n", count, reason);
  return text;
}

void verify_records(const ShardReader& reader, std::vector<std::string>& problems) {
  const auto check = [&](auto read) {
    try {
      read();
    } catch (const CorruptRecord& error) {
      problems.push_back(error.what());
    }
  };
  for (std::int64_t row = 0; row < reader.images(); ++row) check([&] { reader.image(row); });
  for (std::int64_t row = 0; row < reader.texts(); ++row) check([&] { reader.text(row); });
}

void verify_file(const std::filesystem::path& path, const ShardFile& file, const Limits& limits,
                 std::vector<std::string>& problems) {
  try {
    verify_records(ShardReader(path, file, limits), problems);
  } catch (const DamagedIndex& error) {
    problems.insert(problems.end(), error.problems.begin(), error.problems.end());
  }
  const std::uint32_t crc = crc32c_of_file(path);
  PB_CHECK(crc == file.crc32c, "{}: expected checksum {:08x}, found {:08x}: copy the file again", path.string(),
           file.crc32c, crc);
}

}  // namespace

Inspection verify(const std::filesystem::path& folder) {
  const Manifest manifest = read_manifest(folder);
  Inspection report{summary_of(folder, manifest), {}};
  const auto check = [&](auto run) {
    try {
      run();
    } catch (const Error& error) {
      report.problems.push_back(error.what());
    }
  };
  for (const auto& [name, file] : manifest.other_files) check([&] { check_other_file(folder, manifest, name); });
  const Limits limits = limits_of(folder, manifest);
  for (const ShardFile& file : manifest.files) {
    check([&] { verify_file(folder / file.name, file, limits, report.problems); });
  }
  return report;
}

}  // namespace pixelbert::shards

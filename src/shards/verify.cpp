#include "shards/verify.h"

#include <algorithm>

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
      folder.string(), manifest.source, manifest.task, manifest.version, manifest.images(), manifest.texts(),
      manifest.files.size(), static_cast<double>(bytes) / (1 << 20), manifest.identity());
  for (const auto& [name, value] : manifest.options) text += fmt::format("option        {} = {}\n", name, value);
  for (const auto& [reason, count] : manifest.skipped) text += fmt::format("left out      {} {}\n", count, reason);
  for (const auto& [reason, count] : manifest.repaired) text += fmt::format("repaired      {} {}\n", count, reason);
  return text;
}

void verify_answers(const ShardReader& reader, const ShardFile& file, std::int64_t text) {
  for (const Answer& answer : reader.answers(text)) {
    const auto is_share = [](float value) { return value >= 0 && value <= 1; };
    if (answer.index >= 0 && is_share(answer.score) && is_share(answer.accuracy)) continue;
    throw CorruptRecord(fmt::format("{}: text {} has answer {} with score {} and accuracy {}: make the shards again",
                                    file.name, text, answer.index, answer.score, answer.accuracy));
  }
}

void verify_records(const ShardReader& reader, const ShardFile& file, std::vector<std::string>& problems) {
  const auto check = [&](auto read) {
    try {
      read();
    } catch (const CorruptRecord& error) {
      problems.push_back(error.what());
    }
  };
  for (std::int64_t row = 0; row < reader.images(); ++row) check([&] { reader.image(row); });
  for (std::int64_t row = 0; row < reader.texts(); ++row) check([&] { reader.text(row); });
  for (std::int64_t row = 0; row < reader.texts(); ++row) check([&] { verify_answers(reader, file, row); });
  for (std::size_t block = 0; block < file.block_texts.size(); ++block) {
    const std::int64_t first = static_cast<std::int64_t>(block) * kImagesPerBlock;
    const std::int64_t last = std::min(first + kImagesPerBlock, reader.images());
    const std::int64_t texts = reader.first_text(last) - reader.first_text(first);
    if (texts == file.block_texts[block]) continue;
    problems.push_back(fmt::format("{}: images {} to {} have {} texts, the manifest says {}", file.name, first, last,
                                   texts, file.block_texts[block]));
  }
}

}  // namespace

Report verify(const std::filesystem::path& folder) {
  const Manifest manifest = read_manifest(folder);
  Report report{summary_of(folder, manifest), {}};
  for (const ShardFile& file : manifest.files) {
    try {
      const ShardReader reader(folder / file.name, file);
      const std::uint32_t crc = crc32c_of_file(folder / file.name);
      if (crc != file.crc32c) {
        report.problems.push_back(fmt::format("{}: expected checksum {:08x}, found {:08x}: copy the file again",
                                              (folder / file.name).string(), file.crc32c, crc));
      }
      verify_records(reader, file, report.problems);
    } catch (const Error& error) {
      report.problems.push_back(error.what());
    }
  }
  return report;
}

}  // namespace pixelbert::shards

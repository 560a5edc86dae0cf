#include "shards/index_check.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace pixelbert::shards {
namespace {

std::string summary_of(const std::vector<std::string>& problems) {
  std::string text = problems.front();
  if (problems.size() > 1) text += fmt::format(", and {} more columns are damaged", problems.size() - 1);
  return text +
         ": 'pixelbert inspect' on the folder lists what is broken; copy the file again, or make the shards again";
}

}  // namespace

DamagedIndex::DamagedIndex(std::vector<std::string> found) : Error(summary_of(found)), problems(std::move(found)) {}

IndexCheck::IndexCheck(std::filesystem::path path, const ShardFile& expected)
    : path_(std::move(path)), expected_(expected) {}

void IndexCheck::compare_checksum(const std::string& column, std::span<const std::byte> values) {
  static_assert(std::endian::native == std::endian::little);  // as the numbers in the file
  if (expected_.columns.empty()) return;                      // made before the manifest had checksums of columns
  const auto known = expected_.columns.find(column);
  if (known == expected_.columns.end()) return add(column, "the manifest has no checksum of it");
  const std::uint32_t crc = crc32c(values);
  if (crc != known->second) add(column, fmt::format("expected checksum {:08x}, found {:08x}", known->second, crc));
}

void IndexCheck::expect_read(const std::string& column) {
  if (read_.contains(column) || !expected_.columns.contains(column)) return;
  add(column, "it is not there, but the manifest has its checksum");
}

void IndexCheck::add(const std::string& column, const std::string& problem) {
  columns_.push_back(column);
  problems_.push_back(fmt::format("{}: {}: {}", path_.string(), column, problem));
}

bool IndexCheck::sound(const std::string& column) const {
  return std::ranges::find(columns_, column) == columns_.end();
}

void IndexCheck::throw_if_any() {
  if (!problems_.empty()) throw DamagedIndex(std::move(problems_));
}

}  // namespace pixelbert::shards

// Checks that the index columns of a shard file are what the writer wrote, and can be true.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "shards/column.h"
#include "shards/shard_manifest.h"

namespace pixelbert::shards {

// Index columns that are not what was written, or cannot be true: the file is unusable. what() names the first problem.
struct DamagedIndex : Error {
  explicit DamagedIndex(std::vector<std::string> found);
  std::vector<std::string> problems;  // one line per damaged column
};

// Collects the problems of one file.
class IndexCheck {
 public:
  // `expected` must outlive the check.
  IndexCheck(std::filesystem::path path, const ShardFile& expected);

  // Returns all rows, compared with the manifest's checksum if it has one. Throws Error unless there are `rows`.
  template <class T>
  std::vector<T> read(const Column<T>& column, int fd, std::int64_t rows) {
    PB_CHECK(column.size() == rows, "{}: {} has {} rows, expected {}: make the shards again", path_.string(),
             column.name(), column.size(), rows);
    std::vector<T> values = column.all(fd);
    read_.insert(column.name());
    compare_checksum(column.name(), std::as_bytes(std::span(values)));
    return values;
  }

  // Adds a problem when the manifest has a checksum of a column that was not read.
  void expect_read(const std::string& column);

  // Adds a problem when right(row) is false for some row. Skips a column that has a problem: one per column is enough.
  template <class T, class Right>
  void rows(const Column<T>& column, const std::vector<T>& values, const std::string& expected, Right right) {
    if (!sound(column.name())) return;
    std::size_t wrong = 0, first = 0;
    for (std::size_t row = 0; row < values.size(); ++row) {
      if (right(row)) continue;
      if (wrong++ == 0) first = row;
    }
    if (wrong > 0) {
      add(column.name(), fmt::format("row {} is {}, expected {} ({} of {} rows are wrong)", first, values[first],
                                     expected, wrong, values.size()));
    }
  }

  void add(const std::string& column, const std::string& problem);
  bool sound(const std::string& column) const;  // no problem so far

  void throw_if_any();  // DamagedIndex

 private:
  void compare_checksum(const std::string& column, std::span<const std::byte> values);

  std::filesystem::path path_;
  const ShardFile& expected_;
  std::set<std::string> read_;
  std::vector<std::string> columns_, problems_;  // side by side
};

}  // namespace pixelbert::shards

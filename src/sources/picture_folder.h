// Pictures of a data set as its users unpack them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "shards/record.h"

namespace pixelbert::sources {

class PictureFolder {
 public:
  // UsageError when there is no such folder.
  explicit PictureFolder(std::filesystem::path folder);

  // The file `name` in the folder or one of its sub-folders (train2014, val2014, VG_100K, ...), read and decoded once
  // to be sure of it. BadImage with the name; "missing" when there is no such file. Thread-safe.
  shards::Picture read(std::int64_t id, const std::string& name) const;

 private:
  std::filesystem::path find(const std::string& name) const;

  std::vector<std::filesystem::path> folders_;
};

}  // namespace pixelbert::sources

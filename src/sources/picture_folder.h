// Pictures of a data set as its users unpack them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "shards/record.h"

namespace pixelbert::sources {

class PictureFolder {
 public:
  // UsageError when there is no such folder.
  explicit PictureFolder(std::filesystem::path folder);

  // The file `name` in the folder or one of its sub-folders (train2014, VG_100K, train/17, ...), read and decoded once
  // to be sure of it. BadImage with the name; "missing" when there is no such file. Thread-safe.
  shards::Picture read(std::int64_t id, const std::string& name) const;

 private:
  struct DeepFiles;  // what lies further down than one sub-folder

  std::filesystem::path find(const std::string& name) const;

  std::vector<std::filesystem::path> folders_;
  std::shared_ptr<DeepFiles> deep_files_;
};

}  // namespace pixelbert::sources

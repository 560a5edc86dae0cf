// Pictures of a data set as its users unpack them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "shards/record.h"

namespace pixelbert::sources {

// Where a picture may lie that its folders do not lead to.
enum class Elsewhere { Nowhere, InTheFolder, InAnySubfolder };

struct PictureName {
  std::string path;  // as the annotations have it: "0001.jpg", "val2014/COCO_val2014_000000000042.jpg"

  // Not Nowhere only where the file name holds the picture's own id, so that no other picture has it. Two names of one
  // picture are then the same if their last parts are.
  Elsewhere elsewhere = Elsewhere::Nowhere;

  bool is_same_as(const PictureName& other) const;
};

class PictureFolder {
 public:
  // UsageError when there is no such folder.
  explicit PictureFolder(std::filesystem::path folder);

  // The picture, read and decoded once to be sure of it. BadImage with the name; "missing" when there is no such file.
  // Error that lists them when there are several. Thread-safe.
  //
  // It is the file that the name leads to from the folder; else the file whose whole path ends in the name: "1.jpg" and
  // "17/1.jpg" are train/17/1.jpg; "val2014/1.jpg" is 1.jpg of a folder that is itself val2014; "b/1.jpg" is never
  // a/1.jpg. A name that leads out of the folder is missing.
  shards::Picture read(std::int64_t id, const PictureName& name) const;

 private:
  struct Listing;

  std::filesystem::path find(const PictureName& name) const;

  std::filesystem::path folder_;  // absolute
  std::shared_ptr<Listing> listing_;
};

}  // namespace pixelbert::sources

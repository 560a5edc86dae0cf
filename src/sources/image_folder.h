// Finds the images of a data set as users unpack them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "shards/record.h"

namespace pixelbert::sources {

// Where else to look for an image that is not at its path.
enum class Elsewhere { Nowhere, InTheFolder, InAnySubfolder };

struct ImageName {
  std::string path;  // as in the annotations: "0001.jpg", "val2014/COCO_val2014_000000000042.jpg"

  // Other than Nowhere only if the file name contains the image's own id, so that no other image has that name. Two
  // names are then of the same image if their last parts are equal.
  Elsewhere elsewhere = Elsewhere::Nowhere;

  bool is_same_as(const ImageName& other) const;
};

class ImageFolder {
 public:
  // Throws UsageError when there is no such folder.
  explicit ImageFolder(std::filesystem::path folder);

  // Reads the image, and decodes it once as a check. Throws BadImage with the name ("missing" when there is no such
  // file), and Error with a list when several files match. Thread-safe.
  //
  // Takes the file at that path in the folder, or else the one whose whole path ends with it: "1.jpg" and "17/1.jpg"
  // find train/17/1.jpg; "val2014/1.jpg" finds 1.jpg in a folder that is itself val2014; "b/1.jpg" never finds a/1.jpg.
  // A name that leads out of the folder is missing.
  shards::StoredImage read(std::int64_t id, const ImageName& name) const;

 private:
  struct Listing;

  std::filesystem::path find(const ImageName& name) const;

  std::filesystem::path folder_;  // absolute
  std::shared_ptr<Listing> listing_;
};

}  // namespace pixelbert::sources

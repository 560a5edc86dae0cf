// Images and the texts about them, collected from annotation files in any order.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "shards/record.h"
#include "sources/corpus.h"
#include "sources/image_folder.h"

namespace pixelbert::sources {

// Counts in the manifest what it leaves out: "empty-text" (it has no token), "duplicate-text-id" (the same text of the
// same image again), "unknown-image" (texts), "no-text" (images). Throws Error, naming both, when two images have one
// id, or when two texts have one id in a task whose results are matched by text id: an image would get texts of
// another.
class AnnotatedImages {
 public:
  explicit AnnotatedImages(shards::Manifest header) : header_(std::move(header)) {}

  // Call before adding what the annotation file at `path` contains.
  void begin_file(const std::string& path) { files_.push_back(path); }

  void add_image(std::int64_t id, ImageName name);  // the same image twice is merged

  // For texts about two images, whose own ids are 2 * id and 2 * id + 1.
  void add_two_images(std::int64_t id, ImageName left, ImageName right);

  // Leaves out the image and all its texts; counts the image as `reason`.
  void exclude_image(std::int64_t id, ImageName name, const std::string& reason);

  // Call before or after its image or its two images are added. Trims blanks at both ends.
  void add_text(std::int64_t image_id, shards::Text text);

  void count_repaired(std::int64_t invalid_utf8);

  // Returns the images that have texts, in the order in which they were first named.
  Corpus corpus(ImageFolder folder) &&;

 private:
  struct Image {
    std::int64_t id = 0;
    enum : std::int32_t { Unknown, Kept, Excluded } state = Unknown;
    std::int32_t file = 0;         // the first that names it, in files_
    std::vector<ImageName> names;  // one or two
    std::vector<shards::Text> texts;
  };
  Image& image(std::int64_t id);
  Image& add(std::int64_t id, std::vector<ImageName> names);
  static shards::Record read(const ImageFolder& folder, Image& image);
  void drop_repeated_texts();
  void check_text_ids() const;

  shards::Manifest header_;
  std::vector<std::string> files_;
  std::vector<Image> images_;
  std::unordered_map<std::int64_t, std::size_t> row_of_id_;
};

// "train, restval" -> {"train", "restval"}
std::vector<std::string> split_list(const std::string& text);

// "captions_train2014.json,captions_val2014.json", for the manifest.
std::string joined_names(const std::vector<std::string>& files);

// Throws UsageError naming the option unless it is given.
void require_option(const std::string& source, const char* option, bool given);

}  // namespace pixelbert::sources

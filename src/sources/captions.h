// Pictures and the texts about them, collected from annotation files in whatever order they come.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "shards/record.h"
#include "sources/corpus.h"
#include "sources/picture_folder.h"

namespace pixelbert::sources {

// What is left out is counted in the manifest: "empty-text", "duplicate-text-id" (that of the image named first is
// kept), "unknown-image" (texts), "duplicate-image-id" (another file under a known id), "no-text" (pictures).
class Captions {
 public:
  explicit Captions(shards::Manifest header) : header_(std::move(header)) {}

  void add_image(std::int64_t id, std::string file_name);  // twice the same: merged

  // Texts may be about two pictures; their own ids are 2 * id and 2 * id + 1.
  void add_pair(std::int64_t id, std::string left_name, std::string right_name);

  // Leaves the image and all its texts out, counted as `reason`.
  void exclude_image(std::int64_t id, const std::string& reason);

  // Before or after its image or pair. Blanks at both ends go.
  void add_text(std::int64_t image_id, shards::Text text);

  void count_repaired(std::int64_t invalid_utf8);

  // Pictures with texts, in the order in which they were first named.
  Corpus corpus(PictureFolder folder) &&;

 private:
  struct Image {
    std::int64_t id = 0;
    enum { Unknown, Kept, Excluded } state = Unknown;
    std::vector<std::string> file_names;
    std::vector<shards::Text> texts;
  };
  Image& image(std::int64_t id);
  void add(std::int64_t id, std::vector<std::string> file_names);
  static shards::Record read(const PictureFolder& folder, Image& image);
  void drop_duplicate_texts();

  shards::Manifest header_;
  std::vector<Image> images_;
  std::unordered_map<std::int64_t, std::size_t> row_of_id_;
};

// "train, restval" -> {"train", "restval"}
std::vector<std::string> split_list(const std::string& text);

// "captions_train2014.json,captions_val2014.json", for the manifest.
std::string joined_names(const std::vector<std::string>& files);

// UsageError that names the option when its value is missing.
void require_option(const std::string& source, const char* option, bool given);

}  // namespace pixelbert::sources

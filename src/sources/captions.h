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

  // Leaves the image and all its texts out, counted as `reason`.
  void exclude_image(std::int64_t id, const std::string& reason);

  // Before or after its image. Blanks at both ends go.
  void add_text(std::int64_t image_id, std::int64_t text_id, std::string_view text);

  void count_repaired(std::int64_t invalid_utf8);

  // Pictures with texts, in the order in which they were first named.
  Corpus corpus(PictureFolder folder) &&;

 private:
  struct Image {
    std::int64_t id = 0;
    enum { Unknown, Kept, Excluded } state = Unknown;
    std::string file_name;
    std::vector<shards::Text> texts;
  };
  Image& image(std::int64_t id);
  void drop_duplicate_texts();

  shards::Manifest header_;
  std::vector<Image> images_;
  std::unordered_map<std::int64_t, std::size_t> row_of_id_;
};

// "train, restval" -> {"train", "restval"}
std::vector<std::string> split_list(const std::string& text);

// UsageError that names the option when its value is missing.
void require_option(const std::string& source, const char* option, bool given);

}  // namespace pixelbert::sources

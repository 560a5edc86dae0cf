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

// What is left out is counted in the manifest: "empty-text" (it gives no token), "duplicate-text-id" (the same text of
// the same picture again), "unknown-image" (texts), "no-text" (pictures). What would give a picture another's texts is
// an Error that names both: two pictures with one id, and in tasks whose results go by it two texts with one id.
class AnnotatedImages {
 public:
  explicit AnnotatedImages(shards::Manifest header) : header_(std::move(header)) {}

  // The annotation file that what follows comes from.
  void begin_file(const std::string& path) { files_.push_back(path); }

  void add_image(std::int64_t id, PictureName name);  // twice the same: merged

  // Texts may be about two pictures; their own ids are 2 * id and 2 * id + 1.
  void add_pair(std::int64_t id, PictureName left, PictureName right);

  // Leaves the image and all its texts out, counted as `reason`.
  void exclude_image(std::int64_t id, PictureName name, const std::string& reason);

  // Before or after its image or pair. Blanks at both ends go.
  void add_text(std::int64_t image_id, shards::Text text);

  void count_repaired(std::int64_t invalid_utf8);

  // Pictures with texts, in the order in which they were first named.
  Corpus corpus(PictureFolder folder) &&;

 private:
  struct Image {
    std::int64_t id = 0;
    enum : std::int32_t { Unknown, Kept, Excluded } state = Unknown;
    std::int32_t file = 0;  // that names it first, in files_
    std::vector<PictureName> pictures;
    std::vector<shards::Text> texts;
  };
  Image& image(std::int64_t id);
  Image& add(std::int64_t id, std::vector<PictureName> pictures);
  static shards::Record read(const PictureFolder& folder, Image& image);
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

// UsageError that names the option when its value is missing.
void require_option(const std::string& source, const char* option, bool given);

}  // namespace pixelbert::sources

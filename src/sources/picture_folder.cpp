#include "sources/picture_folder.h"

#include <algorithm>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/files.h"
#include "images/codec.h"

namespace pixelbert::sources {

namespace fs = std::filesystem;

// Listed when the first file is found in none of the nearer folders: a listing of all is cheaper than a question to
// each of NLVR2's hundred folders for each of its 200,000 files.
struct PictureFolder::DeepFiles {
  std::once_flag listed;
  std::unordered_map<std::string, fs::path> path_of_name;  // of several, the first in order of paths

  void list(std::span<const fs::path> folders) {
    constexpr auto kSkipped = fs::directory_options::skip_permission_denied;
    for (const fs::path& folder : folders) {
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder, kSkipped)) {
        if (entry.path().parent_path() == folder || !entry.is_regular_file()) continue;
        const auto [known, is_new] = path_of_name.try_emplace(entry.path().filename(), entry.path());
        if (!is_new && entry.path() < known->second) known->second = entry.path();
      }
    }
  }
};

PictureFolder::PictureFolder(fs::path folder) {
  if (!fs::is_directory(folder)) {
    throw UsageError(fmt::format("--images: expected a folder of pictures, found none at '{}'", folder.string()));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory()) folders_.push_back(entry.path());
  }
  std::sort(folders_.begin(), folders_.end());
  folders_.insert(folders_.begin(), std::move(folder));
  deep_files_ = std::make_shared<DeepFiles>();
}

fs::path PictureFolder::find(const std::string& name) const {
  // "val2014/COCO_val2014_000000000042.jpg" may also lie where the last part alone says.
  for (const fs::path& wanted : {fs::path(name), fs::path(name).filename()}) {
    for (const fs::path& folder : folders_) {
      std::error_code ignored;
      if (fs::is_regular_file(folder / wanted, ignored)) return folder / wanted;
    }
  }
  std::call_once(deep_files_->listed, [&] { deep_files_->list(std::span(folders_).subspan(1)); });
  const auto found = deep_files_->path_of_name.find(fs::path(name).filename());
  if (found != deep_files_->path_of_name.end()) return found->second;
  throw images::BadImage("missing", fmt::format("no such file in {} or its sub-folders", folders_.front().string()));
}

shards::Picture PictureFolder::read(std::int64_t id, const std::string& name) const {
  try {
    const std::string content = read_file(find(name));
    shards::Picture picture{id, {content.begin(), content.end()}, 0, 0};
    const images::Size size = images::probe(picture.encoded);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * size.height * size.width));
    images::decode_into(picture.encoded, size, pixels.data());
    picture.height = static_cast<std::int32_t>(size.height);
    picture.width = static_cast<std::int32_t>(size.width);
    return picture;
  } catch (const images::BadImage& bad) {
    throw images::BadImage(bad.reason, fmt::format("{} (id {}): {}", name, id, bad.what()));
  }
}

}  // namespace pixelbert::sources

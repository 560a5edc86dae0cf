#include "sources/picture_folder.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text_lines.h"
#include "images/codec.h"
#include "sources/json_fields.h"

namespace pixelbert::sources {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// Through hard and symbolic links.
bool are_one_file(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

// Whether `inner` is `outer` or lies in it.
bool contains(const fs::path& outer, const fs::path& inner) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// Without "." and "..", from `folder` on. Nothing when it leads out of it.
std::optional<fs::path> within(const fs::path& folder, const std::string& name) {
  if (name.find('\0') != name.npos) return {};  // the system would read it to there only
  fs::path path = fs::path(name).lexically_normal();
  if (path.is_absolute()) path = path.lexically_relative(folder);
  const bool leads_out = !path.empty() && *path.begin() == "..";
  return leads_out ? std::nullopt : std::optional(path);
}

constexpr std::size_t kShown = 5;

std::string listed(const std::vector<fs::path>& files) {
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.string());
  if (names.size() > kShown) {
    names.resize(kShown);
    names.push_back(fmt::format("... ({} in all)", files.size()));
  }
  return fmt::to_string(fmt::join(names, ", "));
}

}  // namespace

// All files of the folder, listed when the first one is not where its name says: NLVR2 has a hundred folders with
// 200,000 files. A linked folder counts as one.
struct PictureFolder::Listing {
  std::once_flag listed;
  std::vector<fs::path> folders;
  std::unordered_multimap<std::string, std::size_t> folder_of_name;

  // `above`: without links, the folders that lead to it.
  void list(const fs::path& folder, std::vector<fs::path>& above) {
    std::error_code unreadable;
    const fs::path here = fs::canonical(folder, unreadable);
    // A link to a folder above would go round and round.
    if (std::ranges::any_of(above, [&](const fs::path& other) { return contains(here, other); })) return;
    above.push_back(here);
    const std::size_t row = folders.size();
    folders.push_back(folder);
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      std::error_code ignored;  // of a link to nowhere
      if (entry->is_directory(ignored)) {
        list(entry->path(), above);
      } else if (entry->is_regular_file(ignored)) {
        folder_of_name.emplace(entry->path().filename(), row);
      }
    }
    if (error) log::warn("cannot list {} ({}): its pictures count as missing", folder.string(), error.message());
    above.pop_back();
  }

  // In order of paths.
  std::vector<fs::path> named(const std::string& name) const {
    std::vector<fs::path> files;
    const auto [first, last] = folder_of_name.equal_range(name);
    for (auto entry = first; entry != last; ++entry) files.push_back(folders[entry->second] / name);
    std::ranges::sort(files);
    return files;
  }
};

bool PictureName::is_same_as(const PictureName& other) const {
  if (path == other.path) return true;
  if (elsewhere == Elsewhere::Nowhere || other.elsewhere == Elsewhere::Nowhere) return false;
  return fs::path(path).filename() == fs::path(other.path).filename();
}

PictureFolder::PictureFolder(fs::path folder) : listing_(std::make_shared<Listing>()) {
  if (!fs::is_directory(folder)) {
    throw UsageError(fmt::format("--images: expected a folder of pictures, found none at '{}'", folder.string()));
  }
  folder_ = fs::absolute(folder).lexically_normal();
  if (!folder_.has_filename() && folder_.has_relative_path()) folder_ = folder_.parent_path();  // "images/"
}

fs::path PictureFolder::find(const PictureName& name) const {
  const auto missing = [&](const std::string& why) {
    throw images::BadImage("missing", fmt::format("{} {}", why, folder_.string()));
  };
  const std::optional<fs::path> inside = within(folder_, name.path);
  if (!inside) missing("the name leads out of");
  const fs::path& path = *inside;
  if (is_file(folder_ / path)) return folder_ / path;

  std::call_once(listing_->listed, [&] {
    std::vector<fs::path> above;
    listing_->list(folder_, above);
  });
  const std::vector<fs::path> of_this_name = listing_->named(path.filename());
  std::vector<fs::path> files;
  for (const fs::path& file : of_this_name) {
    if (file.string().ends_with("/" + path.string())) files.push_back(file);
  }
  if (files.empty() && name.elsewhere == Elsewhere::InAnySubfolder) files = of_this_name;
  if (files.empty() && name.elsewhere == Elsewhere::InTheFolder && is_file(folder_ / path.filename())) {
    files = {folder_ / path.filename()};
  }
  if (files.empty() && !of_this_name.empty()) {
    const bool may_be = name.elsewhere == Elsewhere::InTheFolder;
    missing(fmt::format("{} lies in another folder than the name says{}, and there is no such file in",
                        listed(of_this_name), may_be ? " (if it is the one, give --images its folder)" : ""));
  }
  if (files.empty()) missing("no such file in");
  const bool is_one =
      std::all_of(files.begin() + 1, files.end(), [&](const fs::path& file) { return are_one_file(file, files[0]); });
  PB_CHECK(is_one,
           "{}: {} files have this name: {}; give --images the folder of the right ones, or the annotations names with "
           "folders",
           one_line(name.path), files.size(), listed(files));
  return files[0];
}

shards::Picture PictureFolder::read(std::int64_t id, const PictureName& name) const {
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
    throw images::BadImage(bad.reason, fmt::format("{} (id {}): {}", one_line(name.path), id, bad.what()));
  }
}

}  // namespace pixelbert::sources

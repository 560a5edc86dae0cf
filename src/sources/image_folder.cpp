#include "sources/image_folder.h"

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

// Follows hard and symbolic links.
bool are_one_file(const fs::path& a, const fs::path& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

// Whether `inner` is `outer` or is inside it.
bool contains(const fs::path& outer, const fs::path& inner) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// The path relative to `folder`, without "." and "..". Empty when it leads out of the folder.
std::optional<fs::path> within(const fs::path& folder, const std::string& name) {
  if (name.find('\0') != name.npos) return {};  // system calls would read it only up to there
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

// All files of the folder, listed when the first image is not at its path: NLVR2 has a hundred folders with 200,000
// files. Follows links to folders.
struct ImageFolder::Listing {
  std::once_flag listed;
  std::vector<fs::path> folders;
  std::unordered_multimap<std::string, std::size_t> folder_of_name;

  // `above`: the folders above it, with links resolved.
  void list(const fs::path& folder, std::vector<fs::path>& above) {
    std::error_code unreadable;
    const fs::path here = fs::canonical(folder, unreadable);
    // A link to a folder above would never end.
    if (std::ranges::any_of(above, [&](const fs::path& other) { return contains(here, other); })) return;
    above.push_back(here);
    const std::size_t row = folders.size();
    folders.push_back(folder);
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      std::error_code ignored;  // of a broken link
      if (entry->is_directory(ignored)) {
        list(entry->path(), above);
      } else if (entry->is_regular_file(ignored)) {
        folder_of_name.emplace(entry->path().filename(), row);
      }
    }
    if (error) log::warn("cannot list {} ({}): its images count as missing", folder.string(), error.message());
    above.pop_back();
  }

  // Sorted by path.
  std::vector<fs::path> named(const std::string& name) const {
    std::vector<fs::path> files;
    const auto [first, last] = folder_of_name.equal_range(name);
    for (auto entry = first; entry != last; ++entry) files.push_back(folders[entry->second] / name);
    std::ranges::sort(files);
    return files;
  }
};

bool ImageName::is_same_as(const ImageName& other) const {
  if (path == other.path) return true;
  if (elsewhere == Elsewhere::Nowhere || other.elsewhere == Elsewhere::Nowhere) return false;
  return fs::path(path).filename() == fs::path(other.path).filename();
}

ImageFolder::ImageFolder(fs::path folder) : listing_(std::make_shared<Listing>()) {
  if (!fs::is_directory(folder)) {
    throw UsageError(fmt::format("--images: expected a folder of images, found none at '{}'", folder.string()));
  }
  folder_ = fs::absolute(folder).lexically_normal();
  if (!folder_.has_filename() && folder_.has_relative_path()) folder_ = folder_.parent_path();  // "images/"
}

fs::path ImageFolder::find(const ImageName& name) const {
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
    missing(fmt::format("{} is in another folder than the name says{}, and there is no such file in",
                        listed(of_this_name), may_be ? " (if it is the right one, give --images its folder)" : ""));
  }
  if (files.empty()) missing("no such file in");
  const bool is_one =
      std::all_of(files.begin() + 1, files.end(), [&](const fs::path& file) { return are_one_file(file, files[0]); });
  PB_CHECK(is_one,
           "{}: {} files have this name: {}; give --images the folder of the right ones, or put the folders into the "
           "annotations' names",
           one_line(name.path), files.size(), listed(files));
  return files[0];
}

shards::StoredImage ImageFolder::read(std::int64_t id, const ImageName& name) const {
  try {
    const std::string content = read_file(find(name));
    shards::StoredImage image{id, {content.begin(), content.end()}, 0, 0};
    const images::Size size = images::probe(image.encoded);
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * size.height * size.width));
    images::decode_into(image.encoded, size, pixels.data());
    image.height = static_cast<std::int32_t>(size.height);
    image.width = static_cast<std::int32_t>(size.width);
    return image;
  } catch (const images::BadImage& bad) {
    throw images::BadImage(bad.reason, fmt::format("{} (id {}): {}", one_line(name.path), id, bad.what()));
  }
}

}  // namespace pixelbert::sources

// Configuration files: `[section]`, `key = value`, comments from '#' to the end of the line.
//
// A value stands without the blanks around it. One that begins with a double quote ends at the next: inside, a
// backslash makes the quote or the backslash behind it a character like any other, and '#' and blanks stand for
// themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::config {

struct IniValue {
  std::string name;  // section.key
  std::string value;
  std::int64_t line = 0;  // from 1
};

// All of a file, in its order. UsageError with the file and the line of the first one that cannot be read.
std::vector<IniValue> read_ini(const std::filesystem::path& path);

// As it stands behind `key = `, quoted where it has to be. A file cannot hold a line break.
std::string ini_text(std::string_view value);

}  // namespace pixelbert::config

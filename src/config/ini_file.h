// Configuration files: `[section]`, `key = value`, comments from '#' to the end of the line.
//
// Blanks around a value are dropped. A value that begins with a double quote ends at the next one. Within it, \\ and \"
// stand for a backslash and a quote, and '#' and blanks are ordinary characters.
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

// Reads a file, in its order. Throws UsageError with the file and the first line that cannot be read.
std::vector<IniValue> read_ini(const std::filesystem::path& path);

// Returns the value as it is written after `key = `, with quotes if necessary. It must not contain a line break.
std::string ini_text(std::string_view value);

}  // namespace pixelbert::config

// Lines of text files that people edit.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert {

// Windows programs put it before UTF-8.
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

inline std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

// Splits text at LF or CRLF; the last line may lack it. Skips a byte order mark.
inline std::vector<std::string> lines_of(std::string_view text) {
  text = without_byte_order_mark(text);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Returns `text` for a message, whatever a file holds: without control characters, cut after `most` bytes.
std::string one_line(std::string_view text, std::size_t most = 1000);

}  // namespace pixelbert

#include "core/text_lines.h"

namespace pixelbert {

std::string one_line(std::string_view text, std::size_t most) {
  std::size_t end = std::min(text.size(), most);
  while (end < text.size() && end > 0 && (text[end] & 0xC0) == 0x80) --end;  // not within a character
  std::string line(text.substr(0, end));
  std::ranges::replace_if(line, [](unsigned char c) { return c < ' ' || c == 0x7F; }, '?');
  return end < text.size() ? line + "..." : line;
}

}  // namespace pixelbert

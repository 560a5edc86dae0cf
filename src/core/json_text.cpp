#include "core/json_text.h"

namespace pixelbert {

std::string json_reason(std::string_view message) {
  constexpr std::size_t kShown = 200;  // a message quotes what was read last, which may be most of a file
  for (const std::string_view prefix : {"] ", "parse error at "}) {
    const std::size_t at = message.find(prefix);
    if (at < 60) message.remove_prefix(at + prefix.size());
  }
  std::string reason(message.substr(0, kShown));
  for (char& byte : reason) {
    const auto value = static_cast<unsigned char>(byte);
    if (value < 0x20 || value >= 0x7f) byte = '?';
  }
  return message.size() > kShown ? reason + "..." : reason;
}

}  // namespace pixelbert

// JSON is UTF-8; paths and the messages of libraries may hold any bytes.
#pragma once

#include <string>

namespace pixelbert {

// As nlohmann's dump(), which throws where this writes U+FFFD.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace pixelbert

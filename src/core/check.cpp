#include "core/check.h"

#include <filesystem>

namespace pixelbert {

void fail(const std::string& message, std::source_location at) {
  throw Error(fmt::format("{} [{}:{}]", message, std::filesystem::path(at.file_name()).filename().string(), at.line()));
}

}  // namespace pixelbert

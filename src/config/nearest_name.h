// What a misspelt name may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::config {

// Returns the known name with the fewest edits, or "" if none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace pixelbert::config

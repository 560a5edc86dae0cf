// What `pixelbert inspect` finds in a folder or a file.
#pragma once

#include <string>
#include <vector>

namespace pixelbert {

struct Inspection {
  std::string summary;                // a few lines for users: counts, options, what was left out
  std::vector<std::string> problems;  // one line each; empty where all is sound
};

}  // namespace pixelbert
